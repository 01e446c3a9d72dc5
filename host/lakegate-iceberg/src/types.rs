//! Iceberg's types and schemas, and their JSON.

use crate::error::{Error, excerpt};
use crate::limits::{MAX_DEPTH, MAX_FIELDS, MAX_NAME_BYTES};
use serde_json::{Map, Value, json};
use std::fmt;

/// A field of a struct, the element of a list, or the key or value of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its id in the table; 0 if it has none yet.
    pub id: i32,
    /// The name.
    pub name: String,
    /// Whether it has no nulls.
    pub required: bool,
    /// What it holds.
    pub kind: Type,
}

/// A type of Iceberg's second version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Type {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    /// At most 38 digits.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Date,
    /// Microseconds of the day.
    Time,
    /// Microseconds without a zone.
    Timestamp,
    /// Microseconds in UTC.
    Timestamptz,
    String,
    Uuid,
    /// So many bytes.
    Fixed(u32),
    Binary,
    Struct(Vec<Field>),
    List(Box<Field>),
    Map(Box<Field>, Box<Field>),
    /// A type of a later version, by its name. Tables may have it, files of ours do not.
    Other(String),
}

/// The most digits of a decimal.
pub(crate) const MAX_PRECISION: u8 = 38;

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Self::Fixed(bytes) => write!(f, "fixed[{bytes}]"),
            Self::Struct(_) => f.write_str("struct"),
            Self::List(element) => write!(f, "list<{}>", element.kind),
            Self::Map(key, value) => write!(f, "map<{}, {}>", key.kind, value.kind),
            Self::Other(name) => f.write_str(name),
            simple => f.write_str(simple.name().unwrap_or_default()),
        }
    }
}

/// The types whose JSON is their name.
const NAMED: [(&str, Type); 12] = [
    ("boolean", Type::Boolean),
    ("int", Type::Int),
    ("long", Type::Long),
    ("float", Type::Float),
    ("double", Type::Double),
    ("date", Type::Date),
    ("time", Type::Time),
    ("timestamp", Type::Timestamp),
    ("timestamptz", Type::Timestamptz),
    ("string", Type::String),
    ("uuid", Type::Uuid),
    ("binary", Type::Binary),
];

impl Type {
    fn name(&self) -> Option<&'static str> {
        NAMED.iter().find(|(_, kind)| kind == self).map(|(name, _)| *name)
    }

    /// Whether it has no fields.
    pub(crate) fn is_primitive(&self) -> bool {
        !matches!(self, Self::Struct(_) | Self::List(_) | Self::Map(..))
    }

    /// Whether a column of this type reads files that have the other one.
    pub(crate) fn reads(&self, file: &Self) -> bool {
        match (self, file) {
            (Self::Long, Self::Int) | (Self::Double, Self::Float) => true,
            (Self::Decimal { precision: wide, scale: one }, Self::Decimal { precision: narrow, scale: other }) => {
                wide >= narrow && one == other
            }
            (table, file) => table == file,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Decimal { precision, scale } => json!(format!("decimal({precision}, {scale})")),
            Self::Fixed(bytes) => json!(format!("fixed[{bytes}]")),
            Self::Struct(fields) => json!({"type": "struct", "fields": fields.iter().map(Field::to_json).collect::<Vec<_>>()}),
            Self::List(element) => json!({
                "type": "list", "element-id": element.id, "element-required": element.required, "element": element.kind.to_json(),
            }),
            Self::Map(key, value) => json!({
                "type": "map", "key-id": key.id, "key": key.kind.to_json(),
                "value-id": value.id, "value-required": value.required, "value": value.kind.to_json(),
            }),
            Self::Other(name) => json!(name),
            simple => json!(simple.name()),
        }
    }
}

impl Field {
    pub(crate) fn to_json(&self) -> Value {
        json!({"id": self.id, "name": self.name, "required": self.required, "type": self.kind.to_json()})
    }
}

/// The JSON of a schema that a table is created with.
pub(crate) fn schema_json(fields: &[Field]) -> Value {
    json!({"type": "struct", "schema-id": 0, "fields": fields.iter().map(Field::to_json).collect::<Vec<_>>()})
}

/// Reads the fields of a schema of a table.
///
/// # Errors
/// `Rejected`: what the catalog says is no schema, or one beyond the bounds.
pub(crate) fn fields_of(schema: &Value) -> Result<Vec<Field>, Error> {
    let mut reader = Reader { fields: 0 };
    match reader.kind(schema, 0)? {
        Type::Struct(fields) => Ok(fields),
        _ => Err(no_schema("is no struct")),
    }
}

fn no_schema(why: &str) -> Error {
    Error::rejected(format!("the catalog's schema of the table {why}"))
}

struct Reader {
    fields: usize,
}

impl Reader {
    fn kind(&mut self, json: &Value, depth: usize) -> Result<Type, Error> {
        if depth > MAX_DEPTH {
            return Err(no_schema(&format!("has types within types more than {MAX_DEPTH} deep")));
        }
        match json {
            Value::String(name) => Ok(named(name)),
            Value::Object(object) => match object.get("type").and_then(Value::as_str) {
                Some("struct") => {
                    let fields = object.get("fields").and_then(Value::as_array).ok_or_else(|| no_schema("has a struct without fields"))?;
                    fields.iter().map(|field| self.field(field, depth)).collect::<Result<_, _>>().map(Type::Struct)
                }
                Some("list") => Ok(Type::List(Box::new(self.part(object, "element", depth)?))),
                Some("map") => Ok(Type::Map(Box::new(self.part(object, "key", depth)?), Box::new(self.part(object, "value", depth)?))),
                Some(other) => Ok(Type::Other(excerpt(other))),
                None => Err(no_schema("has a type without a name")),
            },
            _ => Err(no_schema("has a type that is neither a text nor an object")),
        }
    }

    fn field(&mut self, json: &Value, depth: usize) -> Result<Field, Error> {
        self.count()?;
        let name = json.get("name").and_then(Value::as_str).filter(|name| name.len() <= MAX_NAME_BYTES);
        let name = name.ok_or_else(|| no_schema("has a field without a name, or with one that is too long"))?;
        let required = json.get("required").and_then(Value::as_bool).unwrap_or_default();
        let kind = json.get("type").ok_or_else(|| no_schema("has a field without a type"))?;
        Ok(Field { id: id(json.get("id"))?, name: name.to_owned(), required, kind: self.kind(kind, depth + 1)? })
    }

    /// The element of a list, the key or the value of a map.
    fn part(&mut self, object: &Map<String, Value>, name: &str, depth: usize) -> Result<Field, Error> {
        self.count()?;
        let required = match name {
            "key" => true,
            _ => object.get(&format!("{name}-required")).and_then(Value::as_bool).unwrap_or_default(),
        };
        let kind = object.get(name).ok_or_else(|| no_schema(&format!("has a type without {name}")))?;
        let id = id(object.get(&format!("{name}-id")))?;
        Ok(Field { id, name: name.to_owned(), required, kind: self.kind(kind, depth + 1)? })
    }

    fn count(&mut self) -> Result<(), Error> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(no_schema(&format!("has more than {MAX_FIELDS} fields")));
        }
        Ok(())
    }
}

fn id(json: Option<&Value>) -> Result<i32, Error> {
    let id = json.and_then(Value::as_i64).and_then(|id| i32::try_from(id).ok()).filter(|id| *id >= 0);
    id.ok_or_else(|| no_schema("has a field without an id"))
}

fn named(name: &str) -> Type {
    if let Some((_, kind)) = NAMED.iter().find(|(known, _)| *known == name) {
        return kind.clone();
    }
    let inner = |start: &str, end: char| name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    if let Some((precision, scale)) = inner("decimal(", ')').and_then(|inner| inner.split_once(','))
        && let (Ok(precision @ 1..=MAX_PRECISION), Ok(scale)) = (precision.trim().parse(), scale.trim().parse())
    {
        return Type::Decimal { precision, scale };
    }
    match inner("fixed[", ']').and_then(|bytes| bytes.trim().parse().ok()) {
        Some(bytes) => Type::Fixed(bytes),
        None => Type::Other(excerpt(name)),
    }
}

/// Gives ids to the fields that have none, from `next` on, in the order in which Iceberg's catalogs do it: the fields of a struct first, then
/// what is within each.
pub(crate) fn assign_ids<'a>(fields: impl Iterator<Item = &'a mut Field>, next: &mut i32) {
    let mut fields: Vec<&mut Field> = fields.collect();
    for field in fields.iter_mut().filter(|field| field.id == 0) {
        field.id = *next;
        *next = next.saturating_add(1);
    }
    for field in fields {
        match &mut field.kind {
            Type::Struct(children) => assign_ids(children.iter_mut(), next),
            Type::List(element) => assign_ids(std::iter::once(&mut **element), next),
            Type::Map(key, value) => assign_ids([&mut **key, &mut **value].into_iter(), next),
            _ => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn field(name: &str, kind: Type) -> Field {
        Field { id: 0, name: name.into(), required: false, kind }
    }

    #[test]
    fn schemas_read_what_they_write() {
        let mut fields: Vec<Field> = NAMED.into_iter().map(|(name, kind)| field(name, kind)).collect();
        fields.push(field("decimal", Type::Decimal { precision: 20, scale: 0 }));
        fields.push(field("fixed", Type::Fixed(7)));
        let inner = vec![field("a", Type::Long), Field { required: true, ..field("b.c", Type::String) }];
        fields.push(field("list", Type::List(Box::new(field("element", Type::Struct(inner))))));
        let key = Field { required: true, ..field("key", Type::String) };
        fields.push(field("map", Type::Map(Box::new(key), Box::new(field("value", Type::Int)))));
        assign_ids(fields.iter_mut(), &mut 1);
        assert_eq!(fields_of(&schema_json(&fields)).unwrap(), fields);
    }

    #[test]
    fn ids_go_to_the_fields_of_a_struct_before_what_is_within_them() {
        let inner = Type::Struct(vec![field("x", Type::Int), field("y", Type::Int)]);
        let mut fields = [
            field("a", Type::Map(Box::new(field("key", Type::String)), Box::new(field("value", inner.clone())))),
            field("b", Type::List(Box::new(field("element", inner)))),
            field("c", Type::Int),
        ];
        let mut next = 1;
        assign_ids(fields.iter_mut(), &mut next);
        let [a, b, c] = &fields[..] else { panic!() };
        let Type::Map(key, value) = &a.kind else { panic!() };
        let Type::List(element) = &b.kind else { panic!() };
        let ids = |field: &Field| match &field.kind {
            Type::Struct(fields) => fields.iter().map(|it| it.id).collect::<Vec<_>>(),
            _ => panic!(),
        };
        assert_eq!([a.id, b.id, c.id, key.id, value.id, element.id], [1, 2, 3, 4, 5, 8]);
        assert_eq!((ids(value), ids(element), next), (vec![6, 7], vec![9, 10], 11));
    }

    #[test]
    fn a_strangers_schema_is_refused_by_what_is_wrong_with_it() {
        let deep =
            (0..40).fold(json!("int"), |inner, _| json!({"type": "list", "element-id": 1, "element-required": false, "element": inner}));
        let wide: Vec<Value> = (0..=MAX_FIELDS).map(|id| json!({"id": id, "name": "a", "required": false, "type": "int"})).collect();
        let one = |field: Value| json!({"type": "struct", "fields": [field]});
        for (schema, expected) in [
            (json!(1), "neither a text nor an object"),
            (json!("int"), "no struct"),
            (json!({"type": "struct"}), "without fields"),
            (json!({"fields": []}), "without a name"),
            (one(json!(7)), "without a name"),
            (one(json!({"id": 1, "name": "a".repeat(2_000), "type": "int"})), "too long"),
            (one(json!({"id": 1, "name": "a"})), "without a type"),
            (one(json!({"id": "1", "name": "a", "type": "int"})), "without an id"),
            (one(json!({"id": 1_i64 << 40, "name": "a", "type": "int"})), "without an id"),
            (one(json!({"id": 1, "name": "a", "type": {"type": "list", "element-id": 2}})), "without element"),
            (one(json!({"id": 1, "name": "a", "type": deep})), "deep"),
            (json!({"type": "struct", "fields": wide}), "more than 10000 fields"),
        ] {
            let error = fields_of(&schema).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for (name, expected) in [("decimal(39, 2)", "decimal(39, 2)"), ("variant", "variant"), ("fixed[x]", "fixed[x]")] {
            assert_eq!(named(name), Type::Other(expected.into()));
        }
    }
}
