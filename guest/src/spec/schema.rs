//! The JSON Schema of the spec (draft 2020-12): the raw types as schemars sees them, and on top the rules that no single field can state.
//!
//! It is meant for `validate-config` and for editors, and is stricter than [`super::Spec::parse`] where the reference's schema is: unknown
//! fields are forbidden, limits must be positive, and empty texts stand only where they mean something.

use super::raw::{RawCsv, RawJson, RawParquet, RawSpec};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Every field of the spec that cannot be left out.
const REQUIRED: [&str; 4] = ["bucket", "region", "path", "format"];

/// No empty, `.` or `..` segment, no slash at either end, no control character; and, as in the reference's schema, no dot before a slash, which
/// a sync would take. Looking ahead is left out: not every validator can.
const CLEAN_PATH: &str = {
    // Segments and a slash after each, no dot in front of it. The last: no dot in front; or one dot and then none; or two and then something.
    r"^([^/\x00-\x1f\x7f-\x9f]*[^/.\x00-\x1f\x7f-\x9f]/)*([^/.\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*|\.[^/.\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*|\.\.[^/\x00-\x1f\x7f-\x9f]+)$"
};

/// The JSON Schema of a spec, draft 2020-12.
pub fn json_schema() -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let csv = generator.subschema_for::<RawCsv>().to_value();
    let json = generator.subschema_for::<RawJson>().to_value();
    let parquet = generator.subschema_for::<RawParquet>().to_value();
    let mut schema = generator.into_root_schema_for::<RawSpec>().to_value();
    tidy(&mut schema);
    if let Value::Object(root) = &mut schema {
        root.insert("title".to_owned(), json!("S3 destination"));
        root.insert("required".to_owned(), json!(REQUIRED));
        root.insert("allOf".to_owned(), rules(&csv, &json, &parquet));
        if let Some(path) = root.get_mut("properties").and_then(|it| it.get_mut("path")).and_then(Value::as_object_mut) {
            path.insert("pattern".to_owned(), json!(CLEAN_PATH));
        }
    }
    schema.to_string()
}

/// The rules across fields.
fn rules(csv: &Value, json: &Value, parquet: &Value) -> Value {
    let no_rotate = json!({"properties": {"no_rotate": {"const": true}}, "required": ["no_rotate"]});
    let has_uuid = json!({"properties": {"path": {"pattern": r"\{\{UUID\}\}"}}});
    let absent = |field: &str| json!({"properties": {field: {"type": "null"}}});
    let profile = json!({"properties": {"local_profile": {"type": "string", "minLength": 1}}, "required": ["local_profile"]});
    let is_format = |name: &str| json!({"properties": {"format": {"const": name}}, "required": ["format"]});
    let options = |name: &str, schema: &Value| json!({"if": is_format(name), "then": {"properties": {"format_spec": {"anyOf": [schema, {"type": "null"}]}}}});
    let empty = json!({"const": ""});
    json!([
        {
            "$comment": "no_rotate: one object a table, so nothing that would make more of them",
            "if": no_rotate,
            "then": {"allOf": [{"not": has_uuid}, absent("batch_size"), absent("batch_size_bytes"), absent("batch_timeout")]},
            "else": has_uuid
        },
        {
            "$comment": "local_profile is short for credentials.local_profile",
            "if": profile,
            "then": {"properties": {"credentials": {"anyOf": [{"type": "null"}, {"properties": {
                "local_profile": empty, "role_arn": empty, "role_session_name": empty, "external_id": empty
            }, "type": "object"}]}}}
        },
        {
            "$comment": "only parquet has an object without rows",
            "if": {"properties": {"write_empty_objects_for_empty_tables": {"const": true}}, "required": ["write_empty_objects_for_empty_tables"]},
            "then": is_format("parquet")
        },
        {
            "$comment": "parquet compresses inside",
            "if": is_format("parquet"),
            "then": {"properties": {"compression": empty}}
        },
        options("csv", csv),
        options("json", json),
        options("parquet", parquet),
        {
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
        }
    ])
}

/// schemars takes a field that is no `Option` for a required one and notes the width of integers; neither is meant here.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            tidy_object(members);
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn tidy_object(members: &mut Map<String, Value>) {
    if members.get("format").is_some_and(Value::is_string) {
        members.remove("format");
    }
    let is_encryption = members.get("properties").is_some_and(|it| it.get("server_side_encryption").is_some());
    if members.contains_key("properties") {
        members.remove("required");
        if is_encryption {
            members.insert("required".to_owned(), json!(["server_side_encryption"]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;

    /// What the schema accepts and refuses is promised in the integration tests, which have a validator.
    #[test]
    fn names_exactly_the_fields_that_are_read() {
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), 26);
        for (name, property) in properties {
            assert!(property["description"].is_string(), "{name} is not explained");
            // An array is wrong wherever it stands, and what is unknown is not looked at.
            let problems = Spec::parse(&json!({name: []}).to_string(), "s").unwrap_err();
            assert!(problems.iter().any(|it| it.field == *name && it.message.contains("not an array")), "{name} is unknown to the reader");
        }
        for nested in ["Credentials", "ServerSideEncryption", "CsvSpec", "JsonSpec", "ParquetSpec"] {
            assert_eq!(schema["$defs"][nested]["additionalProperties"], json!(false), "{nested}");
        }
    }
}
