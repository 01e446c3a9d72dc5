//! The JSON Schema of the spec (draft 2020-12): the rows of the form, and on top the rules that no single row can state.
//!
//! It is meant for `validate-config` and for editors, and is stricter than [`super::Spec::parse`] where the reference's schema is: unknown
//! fields are forbidden, limits must be positive, and empty texts stand only where they mean something.

use super::fields::{Definitions, Form};
use super::format::{FORMATS, FormatFacts};
use super::raw::{RawCsv, RawJson, RawParquet, RawSpec};
use serde_json::{Value, json};

/// The JSON Schema of a spec, draft 2020-12.
pub fn json_schema() -> String {
    let mut definitions = Definitions::new();
    let options = [
        ("csv", RawCsv::reference(&mut definitions)),
        ("json", RawJson::reference(&mut definitions)),
        ("parquet", json!({"allOf": [RawParquet::reference(&mut definitions), leveled("compression", &["gzip", "zstd"])]})),
    ];
    let mut schema = RawSpec::schema(&mut definitions);
    for (keyword, value) in [
        ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
        ("title", json!("S3 destination")),
        ("allOf", rules(&options)),
        ("$defs", Value::Object(definitions)),
    ] {
        schema.insert(keyword.to_owned(), value);
    }
    Value::Object(schema).to_string()
}

/// The rules across fields.
fn rules(options: &[(&str, Value)]) -> Value {
    let no_rotate = json!({"properties": {"no_rotate": {"const": true}}, "required": ["no_rotate"]});
    let has_uuid = json!({"properties": {"path": {"pattern": r"\{\{(UUID|SEQ)\}\}"}}});
    let absent = |field: &str| json!({"properties": {field: {"type": "null"}}});
    let profile = json!({"properties": {"local_profile": {"type": "string", "minLength": 1}}, "required": ["local_profile"]});
    let empty = json!({"const": ""});
    let mut rules = vec![
        json!({
            "$comment": "no_rotate: one object a table, so nothing that would make more of them",
            "if": no_rotate,
            "then": {"allOf": [{"not": has_uuid}, absent("batch_size"), absent("batch_size_bytes"), absent("batch_timeout")]},
            "else": has_uuid
        }),
        json!({
            "$comment": "local_profile is short for credentials.local_profile",
            "if": profile,
            "then": {"properties": {"credentials": {"anyOf": [{"type": "null"}, {"properties": {
                "local_profile": empty, "role_arn": empty, "role_session_name": empty, "external_id": empty
            }, "type": "object"}]}}}
        }),
        json!({
            "$comment": format!("only {} has an object without rows", names(|format| format.has_empty_object).join(", ")),
            "if": {"properties": {"write_empty_objects_for_empty_tables": {"const": true}}, "required": ["write_empty_objects_for_empty_tables"]},
            "then": is_format(&names(|format| format.has_empty_object))
        }),
        json!({
            "$comment": "an empty object is replaced by the first rows, and exactly-once delivery replaces nothing",
            "if": {"properties": {"delivery": {"const": "exactly_once"}}, "required": ["delivery"]},
            "then": {"properties": {"write_empty_objects_for_empty_tables": {"const": false}}}
        }),
    ];
    rules.extend(names(|format| !format.is_compressible()).into_iter().map(|name| {
        json!({
            "$comment": format!("{name} compresses inside"),
            "if": is_format(&[name]),
            "then": {"properties": {"compression": empty, "compression_level": {"type": "null"}, "content_encoding": {"const": "none"}}}
        })
    }));
    rules.push(leveled("compression", &["gzip", "zstd"]));
    rules.extend(["gzip", "zstd"].map(|codec| {
        json!({
            "$comment": format!("Content-Encoding tells what compression is: {codec}"),
            "if": {"properties": {"content_encoding": {"const": codec}}, "required": ["content_encoding"]},
            "then": {"properties": {"compression": {"const": codec}}, "required": ["compression"]}
        })
    }));
    rules.extend(options.iter().map(
        |(name, schema)| json!({"if": is_format(&[name]), "then": {"properties": {"format_spec": {"anyOf": [schema, {"type": "null"}]}}}}),
    ));
    rules.push(json!({
        "$comment": "a KMS algorithm needs a key",
        "if": {"properties": {"server_side_encryption_configuration": {
            "type": "object",
            "properties": {"server_side_encryption": {"enum": ["aws:kms", "aws:kms:dsse"]}},
            "required": ["server_side_encryption"]
        }}, "required": ["server_side_encryption_configuration"]},
        "then": {"properties": {"server_side_encryption_configuration": {
            "properties": {"sse_kms_key_id": {"type": "string", "minLength": 1}},
            "required": ["sse_kms_key_id"]
        }}}
    }));
    rules.push(json!({
        "$comment": "a bucket's own key is made with one of KMS",
        "properties": {"server_side_encryption_configuration": {
            "if": {"properties": {"bucket_key_enabled": {"type": "boolean"}}, "required": ["bucket_key_enabled"]},
            "then": {"properties": {"server_side_encryption": {"const": "aws:kms"}}}
        }}
    }));
    rules.push(json!({
        "$comment": "something is locked; for some time by mode and days",
        "properties": {"object_lock": {
            "dependentRequired": {"mode": ["retain_days"], "retain_days": ["mode"]},
            "anyOf": [
                {"type": "null"},
                {"required": ["mode"]},
                {"properties": {"legal_hold": {"const": true}}, "required": ["legal_hold"]}
            ]
        }}
    }));
    Value::Array(rules)
}

/// A level is for compression that has levels, and within those of its codec.
fn leveled(field: &str, codecs: &[&str]) -> Value {
    json!({
        "$comment": "a level is one of the codec's",
        "if": {"properties": {"compression_level": {"type": "integer"}}, "required": ["compression_level"]},
        "then": {
            "properties": {field: {"enum": codecs}},
            "required": [field],
            "if": {"properties": {field: {"const": "gzip"}}},
            "then": {"properties": {"compression_level": {"maximum": 9}}}
        }
    })
}

/// The names of the formats of which something holds.
fn names(holds: impl Fn(&FormatFacts) -> bool) -> Vec<&'static str> {
    FORMATS.iter().filter(|format| holds(format)).map(|format| format.name).collect()
}

fn is_format(names: &[&str]) -> Value {
    let one_of = if let [name] = names { json!({"const": name}) } else { json!({"enum": names}) };
    json!({"properties": {"format": one_of}, "required": ["format"]})
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;
    use crate::partition::PARTS;
    use crate::path::PLACEHOLDERS;

    fn schema() -> Value {
        serde_json::from_str(&json_schema()).unwrap()
    }

    /// What the schema accepts and refuses is promised in the integration tests, which have a validator.
    #[test]
    fn names_exactly_the_fields_that_are_read() {
        let schema = schema();
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name} is not explained");
            // An array is wrong wherever it stands, and what is unknown is not looked at.
            let problems = Spec::parse(&json!({name: []}).to_string(), "s").unwrap_err();
            assert!(problems.iter().any(|it| it.field == *name && it.message.contains("not an array")), "{name} is unknown to the reader");
        }
        assert_eq!(schema["required"], json!(["bucket", "region", "path", "format"]));
        let nested = [
            "Credentials",
            "ServerSideEncryption",
            "ObjectLock",
            "Commit",
            "Manifest",
            "Partition",
            "Iceberg",
            "CsvSpec",
            "JsonSpec",
            "ParquetSpec",
        ];
        for nested in nested {
            assert_eq!(schema["$defs"][nested]["additionalProperties"], json!(false), "{nested}");
        }
    }

    /// The page for users.
    const README: &str = include_str!("../../../README.md");

    /// The rows of the page's table of fields: names, defaults, meaning.
    fn documented() -> Vec<[&'static str; 3]> {
        let table = README.split("| Field | Default | Meaning |\n|---|---|---|\n").nth(1).expect("a table of fields");
        let rows = table.lines().map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        rows.map(|row| {
            let mut cells = row.splitn(3, '|').map(str::trim);
            std::array::from_fn(|_| cells.next().expect("three cells"))
        })
        .collect()
    }

    fn is_quoted(name: &str, text: &str) -> bool {
        text.contains(&format!("`{name}`"))
    }

    /// A default, as the page writes it.
    fn shown(default: &Value) -> String {
        match default {
            Value::Number(number) => match number.as_u64().filter(|it| *it >= 1 << 20 && it % (1 << 20) == 0) {
                Some(bytes) => format!("{} MiB", bytes >> 20),
                None => number.to_string(),
            },
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        }
    }

    #[test]
    fn the_page_names_every_field_once_with_its_default() {
        let schema = schema();
        let mut named = Vec::new();
        for [names, defaults, meaning] in documented() {
            let names = names.split(", ").map(|name| name.trim_matches('`'));
            // One default for all fields of a row, or one for each.
            let mut defaults = defaults.split(", ").cycle();
            for name in names {
                let (property, default) = (&schema["properties"][name], defaults.next().unwrap_or_default());
                assert!(property.is_object(), "the spec has no field {name}");
                let is_required = schema["required"].as_array().unwrap().iter().any(|it| it == name);
                match property.get("default") {
                    Some(expected) => assert_eq!(default, shown(expected), "the default of {name}"),
                    None if is_required => assert_eq!(default, "required", "{name}"),
                    None => assert!(
                        default != "required" && !default.contains(|c: char| c == '`' || c.is_ascii_digit()),
                        "{name} has no default, and not {default}"
                    ),
                }
                let form = property["anyOf"][0]["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/"));
                for field in form.iter().filter_map(|form| schema["$defs"][form]["properties"].as_object()).flat_map(|it| it.keys()) {
                    assert!(is_quoted(field, meaning), "the row of {name} does not name {field}");
                }
                named.push(name);
            }
        }
        let mut fields: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        named.sort_unstable();
        fields.sort_unstable();
        assert_eq!(named, fields);
    }

    #[test]
    fn the_page_and_the_descriptions_name_every_format_option_and_placeholder() {
        let schema = schema();
        let rows = documented();
        let row = |name: &str| rows.iter().find(|[names, ..]| is_quoted(name, names)).expect("a row").join(" ");
        for form in ["CsvSpec", "JsonSpec", "ParquetSpec"] {
            for (option, property) in schema["$defs"][form]["properties"].as_object().into_iter().flatten() {
                assert!(is_quoted(option, &row("format_spec")), "the row of format_spec does not name {option}");
                if let Some(default) = property["default"].as_str() {
                    assert!(is_quoted(default, &row("format_spec")), "the row of format_spec does not name {default}");
                }
            }
        }
        for format in FORMATS {
            assert!(is_quoted(format.name, &row("format")), "the row of format does not name {}", format.name);
        }
        let described = schema["properties"]["path"]["description"].as_str().unwrap();
        let of_columns = PARTS.map(|(prefix, _)| format!("{prefix}name}}}}"));
        for placeholder in PLACEHOLDERS.map(|(name, _)| name.to_owned()).into_iter().chain(of_columns) {
            let placeholder = placeholder.as_str();
            assert!(is_quoted(placeholder, &row("path")) && described.contains(placeholder), "{placeholder} is not explained");
        }
    }

    #[test]
    fn every_row_of_the_formats_is_a_format() {
        for facts in FORMATS {
            let spec = json!({"bucket": "b", "region": "r", "path": "{{UUID}}", "format": facts.name});
            assert_eq!(Spec::parse(&spec.to_string(), "s").unwrap().settings.format.facts(), &facts);
        }
    }
}
