//! Removes quoted values from error messages of TOML, YAML and JSON parsers, since they may be passwords.

/// What precedes a quoted value in serde's messages.
const BEFORE_A_VALUE: [&str; 3] = ["invalid type: ", "invalid value: ", "unknown variant"];
/// What follows it.
const AFTER_A_VALUE: &str = ", expected ";

/// The message with the type of the value instead of the value, and with what was expected. Field names are kept.
pub(super) fn unquoted(message: &str) -> String {
    let Some((at, before)) = BEFORE_A_VALUE.iter().filter_map(|before| Some((message.find(before)?, before))).min() else {
        return message.to_owned();
    };
    let (begin, rest) = message.split_at_checked(at + before.len()).unwrap_or((message, ""));
    // The type ends where the value begins.
    let kind = rest.split(['"', '`', '\'', ',']).next().unwrap_or_default().trim_end();
    // The value may contain this text: only what follows its last occurrence is serde's.
    let expected = rest.rfind(AFTER_A_VALUE).and_then(|at| rest.get(at..)).unwrap_or_default();
    format!("{begin}{kind}{expected}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_and_what_was_expected_stays() {
        for (said, expected) in [
            ("invalid type: string \"hunter2\", expected u64", "invalid type: string, expected u64"),
            ("invalid type: string \"a, expected b\", expected u64", "invalid type: string, expected u64"),
            ("invalid type: integer `7`, expected a string", "invalid type: integer, expected a string"),
            ("invalid type: floating point `7.5`, expected a string", "invalid type: floating point, expected a string"),
            ("invalid value: integer `0`, expected a nonzero usize", "invalid value: integer, expected a nonzero usize"),
            ("invalid type: map, expected a string", "invalid type: map, expected a string"),
            ("invalid type: sequence, expected a string at line 3", "invalid type: sequence, expected a string at line 3"),
            ("unknown variant `hunter2`, expected `a` or `b`", "unknown variant, expected `a` or `b`"),
            ("unknown field `max_bytes`, expected `a`", "unknown field `max_bytes`, expected `a`"),
            ("missing field `grant`", "missing field `grant`"),
            ("invalid type: string \"hunter2\"", "invalid type: string"),
        ] {
            assert_eq!(unquoted(said), expected, "{said}");
        }
    }
}
