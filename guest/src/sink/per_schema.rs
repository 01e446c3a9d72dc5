//! What was made of a schema, for as long as the same one comes again.

use crate::ipc::TableSchema;
use crate::limits::MAX_OPEN_FIELDS;
use std::collections::HashMap;
use std::rc::Rc;

/// Schemas that are kept at most; past it, or past so many fields of all of them as open objects may have, all are forgotten and made anew.
const MAX_SCHEMAS: usize = 1_024;

/// Values by the address of their schema, which is kept with them, so that the address is not another's.
#[derive(Debug)]
pub(super) struct PerSchema<T> {
    known: HashMap<*const TableSchema, (Rc<TableSchema>, T)>,
    fields: usize,
}

impl<T> Default for PerSchema<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), fields: 0 }
    }
}

impl<T: Clone> PerSchema<T> {
    /// What was made of this schema, or is now.
    ///
    /// # Errors
    /// As `make` answers.
    pub(super) fn get<E>(&mut self, schema: &Rc<TableSchema>, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if let Some((_, value)) = self.known.get(&Rc::as_ptr(schema)) {
            return Ok(value.clone());
        }
        let value = make()?;
        self.fields += schema.logical.flattened_fields().len();
        if self.known.len() >= MAX_SCHEMAS || self.fields > MAX_OPEN_FIELDS {
            self.known.clear();
            self.fields = schema.logical.flattened_fields().len();
        }
        self.known.insert(Rc::as_ptr(schema), (schema.clone(), value.clone()));
        Ok(value)
    }
}
