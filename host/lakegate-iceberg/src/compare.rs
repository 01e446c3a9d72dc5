//! Does a table take rows of a schema? Columns are compared by name, at every level.

use crate::types::{Field, Type};

/// Columns that a table lacks: new fields of the table itself, or of a struct in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The id of the struct that they go to; [`None`]: the table.
    pub parent: Option<i32>,
    /// The field. Added fields are optional, since rows that are there have no value for them.
    pub field: Field,
    /// The names down to it, joined with dots.
    pub path: String,
}

/// What a table is to rows of a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The columns of the rows, with the ids that they have in the table; 0 where it lacks them.
    pub fields: Vec<Field>,
    /// What the table lacks.
    pub added: Vec<Addition>,
    /// Why the table cannot take the rows, by column.
    pub problems: Vec<String>,
}

/// Compares the columns of rows with those of a table.
pub fn compare(incoming: &[Field], table: &[Field]) -> Comparison {
    let mut comparison = Comparison::default();
    comparison.fields = comparison.structs(incoming, table, None, "");
    comparison
}

impl Comparison {
    /// Whether the table has all columns of the rows as they are.
    pub fn is_equal(&self) -> bool {
        self.added.is_empty() && self.problems.is_empty()
    }

    fn structs(&mut self, incoming: &[Field], table: &[Field], parent: Option<i32>, prefix: &str) -> Vec<Field> {
        for missing in table.iter().filter(|field| field.required && !incoming.iter().any(|it| it.name == field.name)) {
            self.problems.push(format!("column \"{prefix}{}\": the table requires it, and the rows do not have it", missing.name));
        }
        let mut fields = Vec::new();
        for field in incoming {
            let path = format!("{prefix}{}", field.name);
            match table.iter().find(|it| it.name == field.name) {
                Some(known) => fields.push(self.field(field, known, &path)),
                None => {
                    let field = Field { required: false, ..without_ids(field) };
                    fields.push(field.clone());
                    self.added.push(Addition { parent, field, path });
                }
            }
        }
        fields
    }

    fn field(&mut self, incoming: &Field, table: &Field, path: &str) -> Field {
        if table.required && !incoming.required {
            self.problems.push(format!("column {path:?}: the table takes no nulls, and the rows may have some"));
        }
        let kind = match (&incoming.kind, &table.kind) {
            (Type::Struct(incoming), Type::Struct(fields)) => {
                Type::Struct(self.structs(incoming, fields, Some(table.id), &format!("{path}.")))
            }
            (Type::List(incoming), Type::List(element)) => Type::List(Box::new(self.field(incoming, element, &format!("{path}.element")))),
            (Type::Map(key, value), Type::Map(table_key, table_value)) => {
                let key = self.field(key, table_key, &format!("{path}.key"));
                Type::Map(Box::new(key), Box::new(self.field(value, table_value, &format!("{path}.value"))))
            }
            (incoming, table) => {
                if !table.reads(incoming) {
                    self.problems.push(format!("column {path:?} is {table} in the table, and {incoming} in the rows"));
                }
                incoming.clone()
            }
        };
        Field { id: table.id, name: table.name.clone(), required: incoming.required, kind }
    }
}

fn without_ids(field: &Field) -> Field {
    let boxed = |field: &Field| Box::new(without_ids(field));
    let kind = match &field.kind {
        Type::Struct(fields) => Type::Struct(fields.iter().map(without_ids).collect()),
        Type::List(element) => Type::List(boxed(element)),
        Type::Map(key, value) => Type::Map(boxed(key), boxed(value)),
        other => other.clone(),
    };
    Field { id: 0, kind, ..field.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::tests::field;

    fn at(id: i32, name: &str, kind: Type) -> Field {
        Field { id, ..field(name, kind) }
    }

    fn required(field: Field) -> Field {
        Field { required: true, ..field }
    }

    #[test]
    fn a_table_takes_rows_of_its_columns_in_any_order() {
        let table = [at(1, "a", Type::Long), at(7, "b", Type::String), at(9, "unused", Type::Other("variant".into()))];
        let rows = [field("b", Type::String), required(field("a", Type::Int))];
        let found = compare(&rows, &table);
        assert!(found.is_equal(), "{found:?}");
        assert_eq!(found.fields.iter().map(|it| it.id).collect::<Vec<_>>(), [7, 1]);
    }

    #[test]
    fn what_the_table_lacks_is_added_at_its_place() {
        let table = [at(1, "s", Type::Struct(vec![at(2, "x", Type::Int)]))];
        let rows = [field("s", Type::Struct(vec![field("x", Type::Int), at(4, "y", Type::Int)])), required(at(5, "n", Type::Date))];
        let found = compare(&rows, &table);
        let added: Vec<_> = found.added.iter().map(|it| (it.parent, it.path.as_str(), it.field.required, it.field.id)).collect();
        assert_eq!(added, [(Some(1), "s.y", false, 0), (None, "n", false, 0)]);
        assert!(found.problems.is_empty());
    }

    #[test]
    fn what_cannot_be_is_named_by_column() {
        let list = |kind| Type::List(Box::new(field("element", kind)));
        for (table, rows, expected) in [
            (at(1, "a", Type::Int), field("a", Type::Long), "\"a\" is int in the table, and long"),
            (at(1, "a", Type::Int), field("a", Type::Struct(vec![])), "\"a\" is int"),
            (required(at(1, "a", Type::Int)), field("a", Type::Int), "\"a\": the table takes no nulls"),
            (required(at(1, "a", Type::Int)), field("b", Type::Int), "\"a\": the table requires it"),
            (at(1, "a", list(Type::Int)), field("a", list(Type::String)), "\"a.element\" is int"),
            (
                at(1, "a", Type::Decimal { precision: 5, scale: 2 }),
                field("a", Type::Decimal { precision: 6, scale: 2 }),
                "decimal(5, 2) in the table",
            ),
            (at(1, "a", Type::Timestamp), field("a", Type::Timestamptz), "timestamp in the table, and timestamptz"),
        ] {
            let found = compare(&[rows], &[table]);
            assert!(found.problems.iter().any(|it| it.contains(expected)), "{found:?}: {expected}");
        }
        for (table, rows) in [
            (Type::Long, Type::Int),
            (Type::Double, Type::Float),
            (Type::Decimal { precision: 9, scale: 2 }, Type::Decimal { precision: 5, scale: 2 }),
        ] {
            assert!(compare(&[field("a", rows)], &[at(1, "a", table)]).is_equal());
        }
    }
}
