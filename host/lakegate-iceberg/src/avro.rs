//! Avro's object container files, as far as manifests need them: records written by a schema of ours, and read by whatever schema they have.
//!
//! Our own code rather than the `apache-avro` crate: a manifest list is a stranger's, and the crate (0.21) unpacks a block to whatever size it
//! claims and bounds allocations for the whole process only. Here every file is read within a budget of its own.

use crate::limits::{BLOCK_BYTES, MAX_DEPTH};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{Read, Write};

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_BYTES: usize = 16;

/// Bytes of the schema in a file's header. That of a manifest list has some 4 KiB.
const MAX_SCHEMA_BYTES: usize = 256 << 10;

/// Bytes of values, as Avro writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    /// An int or a long.
    pub(crate) fn long(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.0.push(rest.to_le_bytes()[0]);
    }

    /// A count, which is never near the end of its range.
    pub(crate) fn count(&mut self, value: u64) {
        self.long(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.0.push(value.into());
    }

    /// A value of a union of null and another type.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.long(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// An array, or a map written as one.
    pub(crate) fn array<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        if !values.is_empty() {
            self.count(values.len() as u64);
            values.iter().for_each(|value| write(self, value));
        }
        self.long(0);
    }
}

/// A container file that is being written. The same records make the same file.
pub(crate) struct Writer {
    header: Encoder,
    /// Compressed blocks, each with its count and length, without the marker that follows it.
    blocks: Vec<Vec<u8>>,
    block: Vec<u8>,
    records: u64,
    bytes: usize,
    digest: Sha256,
}

impl Writer {
    pub(crate) fn new(schema: &Json, metadata: &[(&str, String)]) -> Self {
        let mut header = Encoder(MAGIC.to_vec());
        let fixed = [("avro.schema", schema.to_string()), ("avro.codec", "deflate".to_owned())];
        let all: Vec<&(&str, String)> = fixed.iter().chain(metadata).collect();
        header.array(&all, |header, (name, value)| {
            header.text(name);
            header.text(value);
        });
        let digest = Sha256::new_with_prefix(&header.0);
        Self { header, blocks: Vec::new(), block: Vec::new(), records: 0, bytes: 0, digest }
    }

    pub(crate) fn push(&mut self, record: &Encoder) {
        self.digest.update(&record.0);
        self.block.extend_from_slice(&record.0);
        self.bytes += record.0.len();
        self.records += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.end_block();
        }
    }

    /// Bytes of the records before compression.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn end_block(&mut self) {
        if self.records == 0 {
            return;
        }
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
        // Memory takes everything.
        let _ = packed.write_all(&self.block);
        let packed = packed.finish().unwrap_or_default();
        let mut block = Encoder::default();
        block.count(self.records);
        block.bytes(&packed);
        self.blocks.push(block.0);
        self.block.clear();
        self.records = 0;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_block();
        let digest = self.digest.finalize();
        let sync = digest.get(..SYNC_BYTES).unwrap_or_default();
        let mut file = self.header.0;
        file.extend_from_slice(sync);
        for block in self.blocks {
            file.extend_from_slice(&block);
            file.extend_from_slice(sync);
        }
        file
    }
}

/// The type of values in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Null,
    Boolean,
    /// Also enums.
    Long,
    Float,
    Double,
    /// Also text.
    Bytes,
    Fixed(usize),
    Record(Vec<RecordField>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
}

/// A field of a record: its name, and its id in Iceberg's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RecordField {
    name: String,
    id: Option<i64>,
    shape: Shape,
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum {
    Null,
    Boolean(bool),
    Long(i64),
    /// A number that no metadata of Iceberg has.
    Float,
    Bytes(Vec<u8>),
    Record(Record),
    Array(Vec<Datum>),
    /// A map whose keys are text, which no metadata of Iceberg is.
    Map,
}

/// A record that was read: names and ids of fields, and their values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record(Vec<(String, Option<i64>, Datum)>);

impl Record {
    /// The field of this id; in a file without ids, of this name.
    pub(crate) fn get(&self, id: i64, name: &str) -> Option<&Datum> {
        let by_id = self.0.iter().find(|(_, it, _)| *it == Some(id));
        by_id.or_else(|| self.0.iter().find(|(it, has_id, _)| has_id.is_none() && it == name)).map(|(_, _, value)| value)
    }

    pub(crate) fn long(&self, id: i64, name: &str) -> Option<i64> {
        match self.get(id, name) {
            Some(Datum::Long(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn bytes(&self, id: i64, name: &str) -> Option<&[u8]> {
        match self.get(id, name) {
            Some(Datum::Bytes(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn boolean(&self, id: i64, name: &str) -> Option<bool> {
        match self.get(id, name) {
            Some(Datum::Boolean(value)) => Some(*value),
            _ => None,
        }
    }
}

/// Reads a container file, and hands on one record after another. `most_bytes` is for what is unpacked, and for what values take beside.
///
/// # Errors
/// What is wrong with the file, as the end of a sentence that begins with its name.
pub(crate) fn read<E>(file: &[u8], most_bytes: u64, mut each: impl FnMut(Record) -> Result<(), E>) -> Result<Result<(), E>, String> {
    let mut input = Decoder { rest: file, budget: most_bytes };
    if input.take(MAGIC.len())? != MAGIC {
        return Err("is no Avro file".into());
    }
    let (mut schema, mut codec) = (None, Vec::new());
    loop {
        let count = input.block_count()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let (name, value) = (input.byte_string()?, input.byte_string()?);
            match name {
                b"avro.schema" => schema = Some(value),
                b"avro.codec" => codec = value.to_vec(),
                _ => {}
            }
        }
    }
    let schema = schema.filter(|schema: &&[u8]| schema.len() <= MAX_SCHEMA_BYTES);
    let schema = schema.and_then(|schema| serde_json::from_slice::<Json>(schema).ok()).ok_or("has no schema, or one that is too long")?;
    let Shape::Record(fields) = Schemas::default().shape(&schema, 0)? else { return Err("does not hold records".into()) };
    let sync = input.take(SYNC_BYTES)?;
    while !input.rest.is_empty() {
        let count = input.long()?;
        let packed = input.byte_string()?;
        let unpacked;
        let block = match codec.as_slice() {
            b"" | b"null" => packed,
            b"deflate" => {
                unpacked = unpack(packed, input.budget)?;
                unpacked.as_slice()
            }
            other => {
                let other = String::from_utf8_lossy(other.get(..20).unwrap_or(other)).into_owned();
                return Err(format!("is compressed with {other:?}; null and deflate are read"));
            }
        };
        input.spend(block.len())?;
        let mut block = Decoder { rest: block, budget: input.budget };
        for _ in 0..count {
            // A record may have no bytes.
            block.spend(VALUE_BYTES)?;
            if let Err(error) = each(block.record(&fields, 0)?) {
                return Ok(Err(error));
            }
        }
        if !block.rest.is_empty() {
            return Err("has bytes after the records of a block".into());
        }
        input.budget = block.budget;
        if input.take(SYNC_BYTES)? != sync {
            return Err("has a block without its marker".into());
        }
    }
    Ok(Ok(()))
}

const TOO_LARGE: &str = "holds more than is read of such a file";
const TRUNCATED: &str = "ends too early";

fn unpack(packed: &[u8], most_bytes: u64) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let mut decoder = DeflateDecoder::new(packed).take(most_bytes.saturating_add(1));
    decoder.read_to_end(&mut unpacked).map_err(|_| "has a block that cannot be unpacked".to_owned())?;
    if unpacked.len() as u64 > most_bytes {
        return Err(TOO_LARGE.into());
    }
    Ok(unpacked)
}

/// Types that a schema has named, by which it names them again.
#[derive(Default)]
struct Schemas(HashMap<String, Shape>);

impl Schemas {
    fn shape(&mut self, json: &Json, depth: usize) -> Result<Shape, String> {
        if depth > MAX_DEPTH {
            return Err("has a schema that is too deep".into());
        }
        match json {
            Json::String(name) => self.named(name),
            Json::Array(branches) => branches.iter().map(|it| self.shape(it, depth + 1)).collect::<Result<_, _>>().map(Shape::Union),
            Json::Object(object) => {
                let inner = |name: &str| object.get(name).ok_or_else(|| format!("has a schema whose type lacks {name}"));
                match inner("type")? {
                    Json::String(kind) => match kind.as_str() {
                        "record" => {
                            let fields = inner("fields")?.as_array().ok_or("has a schema whose fields are no list")?;
                            let mut shapes = Vec::new();
                            for field in fields {
                                let name = field.get("name").and_then(Json::as_str).ok_or("has a schema with a field without a name")?;
                                let kind = field.get("type").ok_or("has a schema with a field without a type")?;
                                let id = field.get("field-id").and_then(Json::as_i64);
                                shapes.push(RecordField { name: name.to_owned(), id, shape: self.shape(kind, depth + 1)? });
                            }
                            Ok(self.remember(object.get("name"), Shape::Record(shapes)))
                        }
                        "array" => Ok(Shape::Array(Box::new(self.shape(inner("items")?, depth + 1)?))),
                        "map" => Ok(Shape::Map(Box::new(self.shape(inner("values")?, depth + 1)?))),
                        "fixed" => {
                            let size = inner("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                            Ok(self
                                .remember(object.get("name"), Shape::Fixed(size.ok_or("has a schema with a fixed type without a size")?)))
                        }
                        "enum" => Ok(self.remember(object.get("name"), Shape::Long)),
                        name => self.named(name),
                    },
                    nested => self.shape(nested, depth + 1),
                }
            }
            _ => Err("has a schema that is none".into()),
        }
    }

    fn named(&self, name: &str) -> Result<Shape, String> {
        Ok(match name {
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "int" | "long" => Shape::Long,
            "float" => Shape::Float,
            "double" => Shape::Double,
            "bytes" | "string" => Shape::Bytes,
            // A record within itself is none of Iceberg's, and not known yet where it would be named.
            other => match self.0.get(other) {
                Some(fixed @ (Shape::Fixed(_) | Shape::Long)) => fixed.clone(),
                _ => return Err("has a schema with a type that is not known".into()),
            },
        })
    }

    fn remember(&mut self, name: Option<&Json>, shape: Shape) -> Shape {
        if let Some(name) = name.and_then(Json::as_str) {
            self.0.insert(name.to_owned(), shape.clone());
        }
        shape
    }
}

/// Bytes, and what may still be made of them.
struct Decoder<'a> {
    rest: &'a [u8],
    budget: u64,
}

/// What a value takes in memory at least, whatever it is.
const VALUE_BYTES: usize = 64;

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.budget = self.budget.checked_sub(bytes as u64).ok_or(TOO_LARGE)?;
        Ok(())
    }

    fn long(&mut self) -> Result<i64, String> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(TRUNCATED)?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("has a number that does not end".into())
    }

    fn byte_string(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| TRUNCATED)?)
    }

    /// How many values a block of an array or a map has; 0 ends it.
    fn block_count(&mut self) -> Result<u64, String> {
        let count = self.long()?;
        if count < 0 {
            let _bytes = self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    fn record(&mut self, fields: &[RecordField], depth: usize) -> Result<Record, String> {
        let mut record = Vec::new();
        for field in fields {
            self.spend(VALUE_BYTES + field.name.len())?;
            record.push((field.name.clone(), field.id, self.value(&field.shape, depth)?));
        }
        Ok(Record(record))
    }

    fn value(&mut self, shape: &Shape, depth: usize) -> Result<Datum, String> {
        if depth > 2 * MAX_DEPTH {
            return Err("has values that are too deep".into());
        }
        Ok(match shape {
            Shape::Null => Datum::Null,
            Shape::Boolean => Datum::Boolean(self.take(1)? != [0]),
            Shape::Long => Datum::Long(self.long()?),
            Shape::Float => self.take(4).map(|_| Datum::Float)?,
            Shape::Double => self.take(8).map(|_| Datum::Float)?,
            Shape::Bytes => {
                let bytes = self.byte_string()?;
                self.spend(bytes.len())?;
                Datum::Bytes(bytes.to_vec())
            }
            Shape::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.spend(bytes.len())?;
                Datum::Bytes(bytes.to_vec())
            }
            Shape::Record(fields) => Datum::Record(self.record(fields, depth + 1)?),
            Shape::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|at| branches.get(at));
                self.value(branch.ok_or("has a value of a type that its schema does not have")?, depth + 1)?
            }
            Shape::Array(item) => {
                let mut items = Vec::new();
                loop {
                    let count = self.block_count()?;
                    if count == 0 {
                        break Datum::Array(items);
                    }
                    for _ in 0..count {
                        self.spend(VALUE_BYTES)?;
                        items.push(self.value(item, depth + 1)?);
                    }
                }
            }
            Shape::Map(item) => loop {
                let count = self.block_count()?;
                if count == 0 {
                    break Datum::Map;
                }
                for _ in 0..count {
                    self.spend(VALUE_BYTES)?;
                    self.byte_string()?;
                    self.value(item, depth + 1)?;
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn schema() -> Json {
        json!({"type": "record", "name": "r", "fields": [
            {"name": "n", "type": "long", "field-id": 1},
            {"name": "text", "type": ["null", "string"], "field-id": 2},
            {"name": "flag", "type": "boolean"},
            {"name": "list", "type": {"type": "array", "items": {"type": "record", "name": "e", "fields": [
                {"name": "id", "type": {"type": "fixed", "name": "four", "size": 4}}, {"name": "again", "type": "four"}]}}},
        ]})
    }

    fn record(number: i64, text: Option<&str>) -> Encoder {
        let mut record = Encoder::default();
        record.long(number);
        record.optional(text, Encoder::text);
        record.boolean(true);
        record.array(&[[1; 8], [2; 8]], |record, bytes| record.0.extend_from_slice(bytes));
        record
    }

    fn file(records: i64) -> Vec<u8> {
        let mut writer = Writer::new(&schema(), &[("format-version", "2".into())]);
        (0..records).for_each(|number| writer.push(&record(number, (number % 2 == 0).then_some("even"))));
        writer.finish()
    }

    fn count(file: &[u8], most_bytes: u64) -> Result<usize, String> {
        let mut count = 0;
        read::<()>(file, most_bytes, |_| {
            count += 1;
            Ok(())
        })?
        .unwrap();
        Ok(count)
    }

    #[test]
    fn what_is_written_is_read_and_equal_records_make_equal_files() {
        let mut read_back = Vec::new();
        let written = file(20_000);
        read::<()>(&written, 64 << 20, |record| {
            read_back.push((record.long(1, "n"), record.bytes(2, "text").map(<[u8]>::to_vec), record.boolean(9, "flag")));
            Ok(())
        })
        .unwrap()
        .unwrap();
        assert_eq!(read_back.len(), 20_000);
        assert_eq!(read_back[6], (Some(6), Some(b"even".to_vec()), Some(true)));
        assert_eq!(read_back[7], (Some(7), None, Some(true)));
        assert_eq!(written, file(20_000));
        assert_ne!(file(1), file(2));
    }

    #[test]
    fn a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() {
        let written = file(20_000);
        assert!(count(&written, 100_000).unwrap_err().contains(TOO_LARGE));
        // A block of zeros, a thousand times its size.
        let mut bomb = Writer::new(&json!({"type": "record", "name": "r", "fields": [{"name": "b", "type": "bytes"}]}), &[]);
        let mut record = Encoder::default();
        record.bytes(&vec![0; 10 << 20]);
        bomb.push(&record);
        let bomb = bomb.finish();
        assert!(bomb.len() < 100_000 && count(&bomb, 1 << 20).unwrap_err().contains(TOO_LARGE));
    }

    #[test]
    fn counts_that_no_bytes_stand_for_cost_nothing() {
        let nulls = json!({"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]});
        let mut writer = Writer::new(&nulls, &[]);
        let mut record = Encoder::default();
        record.long(i64::MAX);
        record.long(0);
        writer.push(&record);
        assert!(count(&writer.finish(), 1 << 20).unwrap_err().contains(TOO_LARGE));
        let mut empty = Writer::new(&json!({"type": "record", "name": "r", "fields": []}), &[]);
        empty.push(&Encoder::default());
        let mut file = empty.finish();
        // The count of the only block.
        let at = file.len() - SYNC_BYTES - 1 - 2 - 1;
        assert_eq!(count(&file, 1 << 20), Ok(1));
        file[at] = 126;
        assert_eq!(count(&file, 1 << 20), Ok(63));
        assert!(count(&file, 63 * VALUE_BYTES as u64 - 1).unwrap_err().contains(TOO_LARGE));
    }

    #[test]
    fn strangers_files_are_refused_by_what_is_wrong_with_them() {
        let with_schema = |schema: &Json| Writer::new(schema, &[]).finish();
        let deep = (0..80).fold(json!("int"), |inner, _| json!({"type": "array", "items": inner}));
        let mut other_codec = file(1);
        let at = other_codec.windows(7).position(|it| it == b"deflate").unwrap();
        other_codec[at..at + 7].copy_from_slice(b"bzip2xx");
        for (file, expected) in [
            (b"PAR1".to_vec(), "no Avro file"),
            (b"Obj\x01".to_vec(), TRUNCATED),
            (with_schema(&json!("long")), "does not hold records"),
            (with_schema(&json!({"type": "record", "name": "r", "fields": [{"name": "a", "type": "r"}]})), "not known"),
            (with_schema(&json!({"type": "record", "name": "r", "fields": [{"name": "a", "type": deep}]})), "too deep"),
            (with_schema(&json!(7)), "is none"),
            (other_codec, "\"bzip2xx\""),
        ] {
            let error = count(&file, 1 << 20).unwrap_err();
            assert!(error.contains(expected), "{error}: {expected}");
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in any::<i64>()) {
            let mut encoder = Encoder::default();
            encoder.long(value);
            prop_assert_eq!(Decoder { rest: &encoder.0, budget: 0 }.long(), Ok(value));
        }

        #[test]
        fn a_broken_file_is_an_error_or_some_records(at in 0_usize..4_000, byte in any::<u8>(), cut in 0_usize..4_000) {
            let mut broken = file(60);
            let at = at % broken.len();
            broken[at] = byte;
            broken.truncate(broken.len() - cut % 10);
            let _ = count(&broken, 1 << 20);
        }
    }
}
