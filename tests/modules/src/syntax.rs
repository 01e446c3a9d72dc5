//! The modules of a crate as parsed: which there are, what each defines and imports, and all paths in it.
//!
//! Code that is only compiled for tests is left out, since a test may use anything.

use anyhow::{Context, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Segments of a path: `crate::encode::EncodeError`.
pub(crate) type Names = Vec<String>;

/// A module, in its own file or inline.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// From the root of the crate, which is empty.
    pub(crate) path: Names,
    /// Its index among all modules.
    pub(crate) at: usize,
    /// The module whose file it is in: itself, unless it is written inside another.
    pub(crate) file: usize,
    /// The root is its own parent.
    pub(crate) parent: usize,
    pub(crate) children: HashMap<String, usize>,
    /// Names that it defines.
    pub(crate) items: HashSet<String>,
    /// Names that are imported, and whence; be it for others.
    pub(crate) aliases: HashMap<String, Names>,
    /// Modules all of whose names are imported.
    pub(crate) globs: Vec<Names>,
    /// Every path that the module's own code walks, imports among them.
    pub(crate) paths: Vec<Names>,
    /// What it re-exports.
    pub(crate) exports: Vec<Names>,
}

/// Reads a crate from its root file on.
///
/// # Errors
/// A file is not there, or is no Rust.
pub(crate) fn read(root: &Path) -> anyhow::Result<Vec<Module>> {
    let mut reader = Reader { modules: vec![Module::default()] };
    let folder = root.parent().context("a root file is in a folder")?;
    reader.file(0, root, folder)?;
    Ok(reader.modules)
}

struct Reader {
    modules: Vec<Module>,
}

impl Reader {
    /// Reads the file of a module whose children are in `folder`.
    fn file(&mut self, module: usize, file: &Path, folder: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let tokens = TokenStream::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        self.items(module, tokens, folder).with_context(|| file.display().to_string())
    }

    /// Reads what stands at the level of items.
    fn items(&mut self, module: usize, tokens: TokenStream, folder: &Path) -> anyhow::Result<()> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut public = false;
        while at < tokens.len() {
            if let Some(after) = after_test_code(&tokens, at) {
                at = after;
                continue;
            }
            match word(&tokens, at).as_deref() {
                Some("pub") => {
                    (at, public) = (after_visibility(&tokens, at), true);
                    continue;
                }
                Some("mod") => at = self.module(module, &tokens, at, folder)?,
                // A return type may say `use<>`.
                Some("use") if !is_punct(&tokens, at + 1, '<') => at = self.import(module, &tokens, at, public)?,
                Some("fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union") => {
                    if let Some(name) = word(&tokens, at + 1).filter(|name| name != "fn" && name != "mut") {
                        self.modules[module].items.insert(name);
                    }
                    at += 1;
                }
                Some("macro_rules") => {
                    self.modules[module].items.extend(word(&tokens, at + 2));
                    at += 3;
                }
                _ => at = self.code(module, &tokens, at)?,
            }
            public = false;
        }
        Ok(())
    }

    /// Parses `mod name;` or `mod name { … }`; returns the rest.
    fn module(&mut self, parent: usize, tokens: &[TokenTree], at: usize, folder: &Path) -> anyhow::Result<usize> {
        let name = word(tokens, at + 1).context("a module without a name")?;
        let child = self.modules.len();
        let mut path = self.modules[parent].path.clone();
        path.push(name.clone());
        self.modules[parent].children.insert(name.clone(), child);
        let inside = match tokens.get(at + 2) {
            Some(TokenTree::Group(group)) => Some(group.stream()),
            _ => None,
        };
        let file = if inside.is_some() { self.modules[parent].file } else { child };
        self.modules.push(Module { path, at: child, file, parent, ..Module::default() });
        let inner = folder.join(&name);
        match inside {
            Some(inside) => self.items(child, inside, &inner)?,
            None => self.file(child, &file_of(folder, &name)?, &inner)?,
        }
        Ok(at + 3)
    }

    /// Parses an import; returns what follows its semicolon.
    fn import(&mut self, module: usize, tokens: &[TokenTree], at: usize, public: bool) -> anyhow::Result<usize> {
        let end = (at..tokens.len()).find(|at| is_punct(tokens, *at, ';')).context("an import without an end")?;
        self.tree(module, &tokens[at + 1..end], &mut Vec::new(), public);
        Ok(end + 1)
    }

    /// Reads what follows `use`, or what stands in its braces.
    fn tree(&mut self, module: usize, tokens: &[TokenTree], prefix: &mut Names, public: bool) {
        for part in tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
            let depth = prefix.len();
            let mut alias = None;
            let mut at = 0;
            while at < part.len() {
                match &part[at] {
                    TokenTree::Ident(name) if name == "as" => {
                        alias = word(part, at + 1);
                        at += 1;
                    }
                    TokenTree::Ident(name) if name == "self" && !prefix.is_empty() => {}
                    TokenTree::Ident(name) => prefix.push(name.to_string()),
                    TokenTree::Punct(punct) if punct.as_char() == '*' => self.modules[module].globs.push(prefix.clone()),
                    TokenTree::Group(group) => {
                        let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                        self.tree(module, &inside, prefix, public);
                    }
                    _ => {}
                }
                at += 1;
            }
            let ends_in_name = matches!(part.last(), Some(TokenTree::Ident(_)));
            if let (true, Some(last)) = (ends_in_name, prefix.last()) {
                let name = alias.unwrap_or_else(|| last.clone());
                let module = &mut self.modules[module];
                module.aliases.entry(name).or_insert_with(|| prefix.clone());
                if public { module.exports.push(prefix.clone()) } else { module.paths.push(prefix.clone()) }
            }
            prefix.truncate(depth);
        }
    }

    /// Parses one token, a path, or a whole group; returns the rest.
    fn code(&mut self, module: usize, tokens: &[TokenTree], at: usize) -> anyhow::Result<usize> {
        match &tokens[at] {
            TokenTree::Group(group) => {
                let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                let mut next = 0;
                while next < inside.len() {
                    next = match (after_test_code(&inside, next), word(&inside, next).as_deref()) {
                        (Some(after), _) => after,
                        (None, Some("pub")) => after_visibility(&inside, next),
                        (None, Some("use")) if !is_punct(&inside, next + 1, '<') => self.import(module, &inside, next, false)?,
                        _ => self.code(module, &inside, next)?,
                    };
                }
                Ok(at + 1)
            }
            TokenTree::Ident(first) => {
                let mut names = vec![first.to_string()];
                let mut end = at + 1;
                while is_punct(tokens, end, ':') && is_punct(tokens, end + 1, ':') {
                    let Some(name) = word(tokens, end + 2) else { break };
                    names.push(name);
                    end += 3;
                }
                // What follows a type's parameters or a leading `::` is not a name of this module.
                let goes_on = at > 0 && is_punct(tokens, at - 1, ':') && at > 1 && is_punct(tokens, at - 2, ':');
                if names.len() > 1 && !goes_on {
                    self.modules[module].paths.push(names);
                }
                Ok(end)
            }
            _ => Ok(at + 1),
        }
    }
}

/// The file of a module that is declared by name.
fn file_of(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
    match candidates.iter().find(|file| file.is_file()) {
        Some(file) => Ok(file.clone()),
        None => bail!("module {name} has no file in {}", folder.display()),
    }
}

fn word(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, punct: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(it)) if it.as_char() == punct)
}

/// `pub`, `pub(crate)` …: what follows.
fn after_visibility(tokens: &[TokenTree], at: usize) -> usize {
    match tokens.get(at + 1) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => at + 2,
        _ => at + 1,
    }
}

/// If `#[cfg(test)]` stands here: what follows the item that it is about.
fn after_test_code(tokens: &[TokenTree], at: usize) -> Option<usize> {
    let Some(TokenTree::Group(attribute)) = tokens.get(at + 1).filter(|_| is_punct(tokens, at, '#')) else { return None };
    if attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
        return None;
    }
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    let rest = &tokens[at + 2..];
    // `use a::{b};` goes on behind its braces.
    let is_import = rest.iter().take(3).any(|token| matches!(token, TokenTree::Ident(word) if word == "use"));
    let end = rest.iter().position(|token| ends(token) && !(is_import && matches!(token, TokenTree::Group(_))));
    Some(at + 2 + end.map_or(rest.len(), |end| end + 1))
}
