//! What the text of a spec says that the component does not report to the host: the path with its placeholders, and the limits of an object.

use super::super::exit::CliError;
use super::keys::fixed_folder;
use lakegate::spec::Configuration;
use lakegate::{Destination, SyncContext};
use serde_json::{Map, Value};

/// The names that stand in the key of the test object for what they are.
const TEST_NAMES: [(&str, &str); 2] = [("TEST_TABLE", "{{TABLE}}"), ("TEST_UUID", "{{UUID}}")];

/// See the module. Of a component other than ours nothing is known but what it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SpecText {
    /// The path of objects, complete; empty if it is not known.
    pub(crate) key: String,
    /// What the component has appended to a path without `{{TABLE}}`.
    pub(super) appended: Option<String>,
    /// The folder that all keys share.
    pub(super) folder: String,
    /// The same of manifests.
    pub(super) manifest_folder: Option<String>,
    /// The path of rows that cannot be written, if they have a place.
    pub(super) quarantine: Option<String>,
    /// When an object ends.
    pub(super) limits: Limits,
}

/// When an object ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) age: String,
}

/// The value of a field. Names are case-insensitive, and the last one wins.
pub(crate) fn field<'a>(spec: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    spec.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

impl SpecText {
    /// Of a spec that `destination`, with our own component, accepts.
    ///
    /// # Errors
    /// It does not accept it.
    pub(crate) async fn accepted(destination: &Destination, spec: &str, sync: SyncContext) -> Result<Self, CliError> {
        let spec: Map<String, Value> = serde_json::from_str(spec).unwrap_or_default();
        let mut tested = spec.clone();
        tested.retain(|name, _| !name.eq_ignore_ascii_case("test_write"));
        tested.insert("test_write".to_owned(), true.into());
        let tested = destination.configure(&Value::Object(tested).to_string(), sync).await?;
        let schema = serde_json::from_str(&destination.spec_schema().await?).unwrap_or_default();
        Ok(Self::new(&spec, &tested, &schema))
    }

    /// Of a spec that our own component has checked. `tested` is what it made of the same spec with a test object; `schema` has the defaults.
    pub(super) fn new(spec: &Map<String, Value>, tested: &Configuration, schema: &Value) -> Self {
        let path = field(spec, "path").and_then(Value::as_str).unwrap_or_default();
        let test_key = tested.test_object.as_ref().map_or("", |object| object.key.as_str());
        let appended = (!path.contains(TEST_NAMES[0].1)).then(|| appended(test_key));
        let key = format!("{path}{}", appended.as_deref().unwrap_or_default());
        let quarantine = field(spec, "quarantine").and_then(Value::as_object).and_then(|quarantine| field(quarantine, "path"));
        let quarantine = quarantine.filter(|_| tested.quarantine_rows.is_some()).and_then(Value::as_str);
        let manifest = field(spec, "manifest").and_then(Value::as_object).and_then(|manifest| field(manifest, "path"));
        let value = |name: &str| {
            let default = schema.get("properties").and_then(|fields| fields.get(name)).and_then(|field| field.get("default"));
            field(spec, name).filter(|value| !value.is_null()).or(default)
        };
        let number = |name: &str| value(name).and_then(Value::as_u64).unwrap_or_default();
        let age = value("batch_timeout").and_then(Value::as_str).unwrap_or("0s").to_owned();
        Self {
            folder: fixed_folder(&key).to_owned(),
            key,
            appended,
            manifest_folder: manifest.and_then(Value::as_str).map(|path| fixed_folder(path).to_owned()),
            quarantine: quarantine.map(str::to_owned),
            limits: Limits { rows: number("batch_size"), bytes: number("batch_size_bytes"), age },
        }
    }
}

/// The last segment of a key, with placeholders for its names.
fn appended(test_key: &str) -> String {
    let segment = test_key.rfind('/').and_then(|slash| test_key.get(slash..)).unwrap_or_default();
    TEST_NAMES.iter().fold(segment.to_owned(), |text, (name, placeholder)| text.replace(name, placeholder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakegate::spec::ObjectAttributes;
    use serde_json::json;

    fn text(spec: Value, test_key: &str) -> SpecText {
        let test_object = Some(ObjectAttributes { key: test_key.to_owned(), ..ObjectAttributes::default() });
        let schema = json!({"properties": {"batch_size": {"default": 10_000}, "batch_timeout": {"default": "30s"}}});
        SpecText::new(spec.as_object().unwrap(), &Configuration { test_object, ..Configuration::default() }, &schema)
    }

    #[test]
    fn a_path_without_a_table_is_completed_as_the_component_does() {
        let whole = text(json!({"path": "raw/{{TABLE}}/{{UUID}}"}), "raw/TEST_TABLE/TEST_UUID");
        assert_eq!((whole.key.as_str(), whole.appended, whole.folder.as_str()), ("raw/{{TABLE}}/{{UUID}}", None, "raw/"));
        let lacking = text(json!({"Path": "a", "path": "raw/x"}), "raw/x/TEST_TABLE.csv.TEST_UUID");
        assert_eq!(lacking.appended.as_deref(), Some("/{{TABLE}}.csv.{{UUID}}"));
        assert_eq!((lacking.key.as_str(), lacking.folder.as_str()), ("raw/x/{{TABLE}}.csv.{{UUID}}", "raw/x/"));
    }

    #[test]
    fn limits_are_those_of_the_spec_or_the_defaults() {
        let limits = |spec: Value| text(spec, "k").limits;
        assert_eq!(limits(json!({})), Limits { rows: 10_000, bytes: 0, age: "30s".to_owned() });
        let given = json!({"Batch_Size": 7, "batch_size_bytes": 8, "batch_timeout": "1m"});
        assert_eq!(limits(given), Limits { rows: 7, bytes: 8, age: "1m".to_owned() });
        assert_eq!(limits(json!({"batch_size": -1, "batch_timeout": null})), Limits { rows: 0, bytes: 0, age: "30s".to_owned() });
    }

    #[test]
    fn manifests_have_a_folder_of_their_own() {
        assert_eq!(text(json!({"manifest": {"path": "_m/{{TABLE}}.json"}}), "k").manifest_folder.as_deref(), Some("_m/"));
        assert_eq!(text(json!({"manifest": null}), "k").manifest_folder, None);
    }
}
