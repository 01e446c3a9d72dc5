//! Bytes as hexadecimal digits: the one place that writes them, and reads them.

/// Lower-case digits, two for each byte.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The bytes of digits in either case. [`None`] for anything else, and for half a byte.
pub fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_and_nothing_else_is_read() {
        let all: Vec<u8> = (0..=255).collect();
        let digits = to_hex(&all);
        assert!(digits.len() == 512 && digits.starts_with("00010203") && digits.ends_with("fdfeff"), "{digits}");
        assert_eq!(from_hex(&digits), Some(all.clone()));
        assert_eq!(from_hex(&digits.to_uppercase()), Some(all));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for text in ["0", "abc", "0g", "+1", " 1", "0x", "ä"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
