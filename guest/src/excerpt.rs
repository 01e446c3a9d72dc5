//! The beginning of an untrusted text, as much of it as fits an error.

/// Characters of a name that an error quotes: names may be thousands of bytes long.
const NAME_CHARS: usize = 120;

/// The first so many characters of a text, and a sign if there are more.
pub(crate) fn beginning(text: &str, chars: usize) -> String {
    let (start, more) = cut(text, chars);
    format!("{start}{more}")
}

/// A name in quotes, escaped, and not longer than a line.
pub(crate) fn quoted(name: &str) -> String {
    let (start, more) = cut(name, NAME_CHARS);
    format!("{start:?}{more}")
}

fn cut(text: &str, chars: usize) -> (&str, &'static str) {
    match text.char_indices().nth(chars) {
        Some((end, _)) => (text.get(..end).unwrap_or_default(), "…"),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(beginning("", 0), "");
        assert_eq!(beginning("é日", 2), "é日");
        assert_eq!(beginning("é日𝄞", 2), "é日…");
        assert_eq!(quoted("a\n\""), r#""a\n\"""#);
        let longest = "é".repeat(NAME_CHARS);
        assert_eq!(quoted(&longest), format!("\"{longest}\""));
        assert_eq!(quoted(&format!("{longest}x")), format!("\"{longest}\"…"));
    }
}
