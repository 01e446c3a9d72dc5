//! Reading configuration files and splitting them into YAML documents. A directory stands for the `.yml` and `.yaml` files directly inside it.

use super::ConfigProblem;
use lakegate_base::file;
use std::path::{Path, PathBuf};

/// A file's content, with `\n` line ends.
pub(super) struct Text {
    pub(super) file: PathBuf,
    pub(super) content: String,
}

/// Reads the files of all arguments, each file once.
pub(super) fn read(paths: &[PathBuf], problems: &mut Vec<ConfigProblem>) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    for path in paths {
        match expand(path) {
            Ok(files) => {
                for file in files {
                    if texts.iter().any(|it| it.file == file) {
                        continue;
                    }
                    match content(&file) {
                        Ok(content) => texts.push(Text { file, content }),
                        Err(message) => problems.push(about(&file, message)),
                    }
                }
            }
            Err(message) => problems.push(about(path, message)),
        }
    }
    texts
}

fn about(path: &Path, message: impl std::fmt::Display) -> ConfigProblem {
    ConfigProblem { origin: None, field: String::new(), message: format!("{}: {message}", path.display()) }
}

/// A directory's files are sorted, so that they are always read in the same order.
fn expand(path: &Path) -> Result<Vec<PathBuf>, String> {
    let metadata = path.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = path.read_dir().and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| error.to_string())?;
    let mut files: Vec<_> = entries.iter().map(std::fs::DirEntry::path).filter(|it| is_yaml(it) && it.is_file()).collect();
    files.sort();
    if files.is_empty() { Err("the directory has no .yml or .yaml file".to_owned()) } else { Ok(files) }
}

fn is_yaml(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|it| it.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|it| it == "yml" || it == "yaml")
}

/// The text of a file, limited to the size of a configuration.
pub(in super::super) fn content(file: &Path) -> Result<String, String> {
    let text = file::read_argument(file).map_err(|error| error.to_string())?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n"))
}

/// Splits a text at the lines that separate YAML documents: three hyphens, alone or before a comment. Documents without content are skipped.
pub(super) fn documents(content: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let (mut start, mut position) = (0, 0);
    for line in content.split_inclusive('\n') {
        let next = position + line.len();
        if is_separator(line) {
            documents.extend(content.get(start..position));
            start = next;
        }
        position = next;
    }
    documents.extend(content.get(start..));
    documents.retain(|it| it.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#')));
    documents
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .map(str::trim_end)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']) && rest.trim_start().starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_documents() {
        let check = |content: &str, expected: &[&str]| assert_eq!(documents(content), expected, "{content:?}");
        check("", &[]);
        check("\n# only words\n", &[]);
        check("a: 1", &["a: 1"]);
        check("---\na: 1\n", &["a: 1\n"]);
        check("a: 1\n---\nb: 2\n", &["a: 1\n", "b: 2\n"]);
        check("a: 1\n--- # second\nb: 2\n---  \n", &["a: 1\n", "b: 2\n"]);
        check("a: |\n  ---\n  x\n", &["a: |\n  ---\n  x\n"]);
        check("----\n", &["----\n"]);
        check("--- a\n", &["--- a\n"]);
    }

    #[test]
    fn reads_files_and_directories() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, content) in [("b.yml", "b: 1\r\nc: 2\r\n"), ("a.yaml", "\u{feff}a: 1"), (".hidden.yml", "h"), ("x.json", "{}")] {
            std::fs::write(path(name), content).unwrap();
        }
        std::fs::create_dir(path("inner.yml")).unwrap();
        let mut problems = Vec::new();
        let texts = read(&[directory.path().to_owned(), path("b.yml"), path("x.json")], &mut problems);
        let found: Vec<_> = texts.iter().map(|it| (it.file.clone(), it.content.as_str())).collect();
        assert_eq!(found, [(path("a.yaml"), "a: 1"), (path("b.yml"), "b: 1\nc: 2\n"), (path("x.json"), "{}")]);
        assert_eq!(problems, []);
    }

    #[test]
    fn says_which_file_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let (empty, binary, missing) = (directory.path().join("empty"), directory.path().join("b.yml"), directory.path().join("no.yml"));
        std::fs::create_dir(&empty).unwrap();
        std::fs::write(&binary, b"a: \xff").unwrap();
        let mut problems = Vec::new();
        assert!(read(&[empty.clone(), binary.clone(), missing.clone()], &mut problems).is_empty());
        let found: Vec<_> = problems.iter().map(|it| it.message.as_str()).collect();
        assert_eq!(found[0], format!("{}: the directory has no .yml or .yaml file", empty.display()));
        assert_eq!(found[1], format!("{}: not UTF-8 text (byte 3)", binary.display()));
        assert!(found[2].starts_with(&format!("{}: ", missing.display())) && found.len() == 3);
    }
}
