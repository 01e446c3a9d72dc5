//! Batches whose columns are all flat (numbers, booleans, bytes), made directly from their buffers.
//!
//! A source that sends rows as they come sends records of fifty, and on each column of such a record the crate's reader spends as much as the
//! encoders do on its cells. What is made here is what the reader makes. Whatever is out of the ordinary is left to the reader, which also
//! says what is wrong.

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{ArrayRef, BooleanArray, FixedSizeBinaryArray, GenericBinaryArray, OffsetSizeTrait, PrimitiveArray};
use arrow_array::{RecordBatch, RecordBatchOptions, downcast_primitive};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::FieldNode;
use arrow_schema::{DataType, Schema, SchemaRef};
use std::sync::Arc;

/// Are all columns of the kinds that are made here?
pub(super) fn is_flat(schema: &Schema) -> bool {
    schema.fields().iter().all(|field| match field.data_type() {
        DataType::Boolean | DataType::Binary | DataType::LargeBinary => true,
        DataType::FixedSizeBinary(width) => *width > 0,
        other => other.is_primitive(),
    })
}

/// The batch; none if anything in it is out of the ordinary. Its buffers have been checked against the length of its body.
pub(super) fn read(schema: &SchemaRef, batch: arrow_ipc::RecordBatch<'_>, body: &Buffer) -> Option<RecordBatch> {
    if batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return None;
    }
    let rows = usize::try_from(batch.length()).ok()?;
    let mut parts = Parts { body, rows, nodes: batch.nodes()?.iter(), buffers: batch.buffers()?.iter() };
    let columns = schema.fields().iter().map(|field| parts.column(field.data_type())).collect::<Option<_>>()?;
    RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows))).ok()
}

/// What is left of a batch's nodes and buffers.
struct Parts<'a, Nodes, Buffers> {
    body: &'a Buffer,
    rows: usize,
    nodes: Nodes,
    buffers: Buffers,
}

impl<'a, Nodes, Buffers> Parts<'_, Nodes, Buffers>
where
    Nodes: Iterator<Item = &'a FieldNode>,
    Buffers: Iterator<Item = &'a arrow_ipc::Buffer>,
{
    fn column(&mut self, data_type: &DataType) -> Option<ArrayRef> {
        let nulls = self.nulls()?;
        macro_rules! numbers {
            ($type:ty) => {
                self.numbers::<$type>(data_type, nulls)
            };
        }
        downcast_primitive! {
            data_type => (numbers),
            DataType::Boolean => {
                let bits = self.at_least(self.rows.div_ceil(8))?;
                Some(Arc::new(BooleanArray::new(BooleanBuffer::new(bits, 0, self.rows), nulls)))
            }
            DataType::Binary => self.bytes::<i32>(nulls),
            DataType::LargeBinary => self.bytes::<i64>(nulls),
            DataType::FixedSizeBinary(width) => {
                let length = usize::try_from(*width).ok()?.checked_mul(self.rows)?;
                let values = self.at_least(length)?.slice_with_length(0, length);
                Some(Arc::new(FixedSizeBinaryArray::try_new(*width, values, nulls).ok()?))
            }
            _ => None,
        }
    }

    /// Takes a column's node and its validity.
    fn nulls(&mut self) -> Option<Option<NullBuffer>> {
        let node = self.nodes.next().filter(|node| usize::try_from(node.length()) == Ok(self.rows))?;
        let bits = self.buffer()?;
        if node.null_count() == 0 {
            return Some(None);
        }
        let bits = Some(bits).filter(|bits| bits.len() >= self.rows.div_ceil(8))?;
        let nulls = NullBuffer::new(BooleanBuffer::new(bits, 0, self.rows));
        (usize::try_from(node.null_count()) == Ok(nulls.null_count())).then_some(Some(nulls))
    }

    fn numbers<T: ArrowPrimitiveType>(&mut self, data_type: &DataType, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
        let values = self.at_least(self.rows.checked_mul(size_of::<T::Native>())?)?;
        let array = PrimitiveArray::<T>::try_new(scalars(&values, self.rows), nulls).ok()?;
        // Decimals and timestamps have a precision or a zone of their own.
        Some(Arc::new(if T::DATA_TYPE == *data_type { array } else { array.with_data_type(data_type.clone()) }))
    }

    fn bytes<O: OffsetSizeTrait>(&mut self, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
        let offsets = self.at_least((self.rows + 1).checked_mul(size_of::<O>())?)?;
        let whole = offsets.len().is_multiple_of(size_of::<O>());
        let offsets = scalars::<O>(&offsets, self.rows + 1);
        let values = self.buffer()?;
        // `as_usize` would cut the sandbox's offset to 32 bits.
        let ends_inside = offsets[self.rows].to_usize().is_some_and(|end| end <= values.len());
        let ordinary = whole && offsets[0] >= O::zero() && ends_inside && rises(&offsets);
        if !ordinary {
            return None;
        }
        Some(Arc::new(GenericBinaryArray::<O>::try_new(OffsetBuffer::new(offsets), values, nulls).ok()?))
    }

    fn at_least(&mut self, length: usize) -> Option<Buffer> {
        self.buffer().filter(|buffer| buffer.len() >= length)
    }

    fn buffer(&mut self) -> Option<Buffer> {
        let range = self.buffers.next()?;
        let (offset, length) = (usize::try_from(range.offset()).ok()?, usize::try_from(range.length()).ok()?);
        let inside = offset.checked_add(length)? <= self.body.len();
        inside.then(|| self.body.slice_with_length(offset, length))
    }
}

/// The first `count` numbers of a buffer that has them; copied if they are not aligned.
fn scalars<T: ArrowNativeType>(bytes: &Buffer, count: usize) -> ScalarBuffer<T> {
    let aligned = bytes.as_ptr().align_offset(align_of::<T>()) == 0;
    ScalarBuffer::new(if aligned { bytes.clone() } else { Buffer::from(bytes.as_slice()) }, 0, count)
}

/// Is no offset less than the one before it? Looks at all of them: without a way out the loop is one of vectors.
fn rises<O: OffsetSizeTrait>(offsets: &[O]) -> bool {
    !offsets.windows(2).fold(false, |falls, pair| falls | (pair[1] < pair[0]))
}
