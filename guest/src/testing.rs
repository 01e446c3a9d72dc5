//! A host for tests: a clock that stands still, random bytes that count up, and objects kept in memory.

#[cfg(feature = "testing")]
pub mod fuzz;

use crate::host::{ColumnFacts, Host, Level, ObjectAttributes, ObjectFacts, PutError, WallTime};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a [`FakeHost`] has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// As it was opened.
    pub attributes: ObjectAttributes,
    /// What was written.
    pub body: Vec<u8>,
    /// The rows it was finished with; `None` if it never was.
    pub rows: Option<u64>,
    /// Where it can be split.
    pub split_offsets: Vec<u64>,
    /// What was said of its columns.
    pub columns: Vec<ColumnFacts>,
}

/// Keeps objects in memory; the time is always 2020-09-13T12:26:40Z, and random bytes count up. Cheap to clone: the clones share all.
#[derive(Debug, Clone, Default)]
pub struct FakeHost {
    objects: Rc<RefCell<Vec<Recorded>>>,
    lines: Rc<RefCell<Vec<(Level, String)>>>,
    random_calls: Rc<Cell<u128>>,
    /// Refuses every write from the one with this number on.
    refuse_from: Rc<Cell<Option<u32>>>,
    writes: Rc<Cell<u32>>,
}

impl FakeHost {
    /// Every object opened so far, in order, finished or not.
    pub fn objects(&self) -> Vec<Recorded> {
        self.objects.borrow().clone()
    }

    /// Every line logged so far.
    pub fn lines(&self) -> Vec<(Level, String)> {
        self.lines.borrow().clone()
    }

    /// From the write with this number (from 0) on, `write` answers `unavailable`.
    pub fn refuse_writes_from(&self, number: u32) {
        self.refuse_from.set(Some(number));
    }
}

impl Host for FakeHost {
    type Upload = usize;

    fn wall_time(&self) -> WallTime {
        WallTime { seconds: 1_600_000_000, nanoseconds: 0 }
    }

    fn random(&self) -> [u8; 16] {
        self.random_calls.set(self.random_calls.get() + 1);
        self.random_calls.get().to_be_bytes()
    }

    fn log(&self, level: Level, message: &str) {
        self.lines.borrow_mut().push((level, message.to_owned()));
    }

    fn open(&self, attributes: &ObjectAttributes) -> Result<usize, PutError> {
        let mut objects = self.objects.borrow_mut();
        objects.push(Recorded {
            attributes: attributes.clone(),
            body: Vec::new(),
            rows: None,
            split_offsets: Vec::new(),
            columns: Vec::new(),
        });
        Ok(objects.len() - 1)
    }

    fn write(&self, upload: &usize, chunk: &[u8]) -> Result<(), PutError> {
        let number = self.writes.replace(self.writes.get() + 1);
        if self.refuse_from.get().is_some_and(|from| number >= from) {
            return Err(PutError::Unavailable("the test refuses writes".to_owned()));
        }
        self.objects.borrow_mut()[*upload].body.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(&self, upload: usize, facts: &ObjectFacts) -> Result<(), PutError> {
        let object = &mut self.objects.borrow_mut()[upload];
        (object.rows, object.split_offsets, object.columns) = (Some(facts.rows), facts.split_offsets.clone(), facts.columns.clone());
        Ok(())
    }
}

/// The stream of a schema of so many numbers, all of which point at one name; and of as many pairs of metadata that point at it, too. No
/// writer makes such a stream.
#[must_use]
pub fn sharing_one_name(fields: usize, name_bytes: usize, pairs: usize) -> Vec<u8> {
    use arrow_ipc::{Endianness, Field, FieldArgs, Int, IntArgs, KeyValue, KeyValueArgs, Message, MessageArgs, MessageHeader};
    use arrow_ipc::{MetadataVersion, Schema, SchemaArgs, Type};
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let name = Some(builder.create_string(&"n".repeat(name_bytes)));
    let kind = Some(Int::create(&mut builder, &IntArgs { bitWidth: 64, is_signed: true }).as_union_value());
    let field = FieldArgs { name, type_type: Type::Int, type_: kind, ..FieldArgs::default() };
    let fields: Vec<_> = (0..fields).map(|_| Field::create(&mut builder, &field)).collect();
    let fields = Some(builder.create_vector(&fields));
    let mut pairs: Vec<_> = (0..pairs).map(|_| KeyValue::create(&mut builder, &KeyValueArgs { key: name, value: name })).collect();
    let (key, value) = (Some(builder.create_string("cq:table_name")), Some(builder.create_string("t")));
    pairs.push(KeyValue::create(&mut builder, &KeyValueArgs { key, value }));
    let custom_metadata = Some(builder.create_vector(&pairs));
    let schema = SchemaArgs { endianness: Endianness::Little, fields, custom_metadata, features: None };
    let header = Some(Schema::create(&mut builder, &schema).as_union_value());
    let (version, header_type) = (MetadataVersion::V5, MessageHeader::Schema);
    let message = Message::create(&mut builder, &MessageArgs { version, header_type, header, bodyLength: 0, custom_metadata: None });
    builder.finish(message, None);
    let frame = builder.finished_data();
    [&u32::MAX.to_le_bytes(), &(frame.len() as u32).to_le_bytes()[..], frame].concat()
}
