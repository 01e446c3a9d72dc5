//! Compression around a text format: what gzip and zstd have in common.
//!
//! The text of an inner encoder goes through the object's [`Stream`] into a buffer that the objects of a session share, and leaves in large pieces: all
//! of it by the end of each call, so that the buffer holds nothing between calls.

use super::{Encode, EncodeError, Output};
use crate::host::{ObjectFacts, PutError};
use arrow_array::RecordBatch;
use std::cell::{RefCell, RefMut};
use std::ops::Range;
use std::rc::Rc;

/// The compressed stream of one object.
pub(super) trait Stream: Default + 'static {
    /// What makes compressors, and keeps those of objects that have ended for the next ones.
    type Compressors: 'static;

    /// Room for compressed bytes that a call finds.
    const STAGING_BYTES: usize;

    /// Memory that the object holds between calls.
    fn held_bytes(&self) -> usize;

    /// Compresses some text.
    fn write(&mut self, text: &[u8], stage: &mut Stage<'_, Self::Compressors>) -> Result<(), PutError>;

    /// Gives the compressor up, so that another can go on with the same object.
    fn suspend(&mut self, stage: &mut Stage<'_, Self::Compressors>) -> Result<(), PutError>;

    /// Ends the stream, which may have had no text.
    fn end(&mut self, stage: &mut Stage<'_, Self::Compressors>) -> Result<(), PutError>;
}

/// What the compressed objects of a session share. A clone shares it too.
pub(super) struct Shared<C>(pub(super) Rc<RefCell<Resources<C>>>);

/// See [`Shared`].
pub(super) struct Resources<C> {
    pub(super) compressors: C,
    /// Holds nothing between calls.
    staging: Vec<u8>,
}

impl<C> Shared<C> {
    pub(super) fn new(compressors: C) -> Self {
        Self(Rc::new(RefCell::new(Resources { compressors, staging: Vec::new() })))
    }
}

impl<C> Clone for Shared<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Where the compressed bytes of a call are gathered, on their way out.
pub(super) struct Stage<'a, C> {
    shared: RefMut<'a, Resources<C>>,
    out: &'a mut dyn Output,
}

impl<C> Stage<'_, C> {
    pub(super) fn compressors(&mut self) -> &mut C {
        &mut self.shared.compressors
    }

    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.shared.staging
    }

    pub(super) fn hand_on(&mut self) -> Result<(), PutError> {
        if !self.shared.staging.is_empty() {
            self.out.write(&self.shared.staging)?;
            self.shared.staging.clear();
        }
        Ok(())
    }
}

/// Begins a stream around the text of `inner`.
pub(super) fn wrap<S: Stream>(inner: Box<dyn Encode>, shared: &Shared<S::Compressors>) -> Box<dyn Encode> {
    Box::new(Compressed { inner, stream: S::default(), shared: shared.clone() })
}

/// Compresses what its inner encoder writes.
struct Compressed<S: Stream> {
    inner: Box<dyn Encode>,
    stream: S,
    shared: Shared<S::Compressors>,
}

impl<S: Stream> Compressed<S> {
    /// Runs `work` with an output that compresses into `out`, and leaves nothing staged.
    fn through(
        &mut self,
        out: &mut dyn Output,
        work: impl FnOnce(&mut dyn Encode, &mut Packer<'_, S>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut packer = Packer::new(&mut self.stream, &self.shared, out);
        let worked = work(self.inner.as_mut(), &mut packer);
        // What came before a row that is refused is there to stay.
        if matches!(worked, Ok(()) | Err(EncodeError::Row { .. })) {
            packer.stage.hand_on()?;
        }
        worked
    }
}

impl<S: Stream> Encode for Compressed<S> {
    fn write(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut dyn Output) -> Result<(), EncodeError> {
        self.through(out, |inner, packer| inner.write(batch, rows, packer))
    }

    fn held_bytes(&self) -> usize {
        self.inner.held_bytes() + self.stream.held_bytes()
    }

    fn relief_bytes(&self) -> usize {
        self.inner.relief_bytes() + self.stream.held_bytes()
    }

    fn relieve(&mut self, out: &mut dyn Output) -> Result<(), EncodeError> {
        self.through(out, |inner, packer| {
            inner.relieve(packer)?;
            Ok(packer.stream.suspend(&mut packer.stage)?)
        })
    }

    fn finish(self: Box<Self>, out: &mut dyn Output) -> Result<ObjectFacts, EncodeError> {
        let Self { inner, mut stream, shared } = *self;
        let mut packer = Packer::new(&mut stream, &shared, out);
        inner.finish(&mut packer)?;
        packer.stream.end(&mut packer.stage)?;
        packer.stage.hand_on()?;
        // Offsets within what is compressed are none of the object's.
        Ok(ObjectFacts::default())
    }
}

/// One call's view of a stream.
struct Packer<'a, S: Stream> {
    stream: &'a mut S,
    stage: Stage<'a, S::Compressors>,
}

impl<'a, S: Stream> Packer<'a, S> {
    fn new(stream: &'a mut S, shared: &'a Shared<S::Compressors>, out: &'a mut dyn Output) -> Self {
        let mut shared = shared.0.borrow_mut();
        // An object that failed may have left bytes behind.
        shared.staging.clear();
        shared.staging.reserve_exact(S::STAGING_BYTES);
        Self { stream, stage: Stage { shared, out } }
    }
}

impl<S: Stream> Output for Packer<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.stream.write(bytes, &mut self.stage)
    }
}

/// What the tests of both compressions write and read with.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use arrow_array::{ArrayRef, BinaryArray};
    use std::sync::Arc;

    /// An inner encoder for tests: writes each cell of its one binary column as it stands, and this at the end.
    pub(in super::super) struct Verbatim(pub(in super::super) &'static [u8]);

    impl Encode for Verbatim {
        fn write(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut dyn Output) -> Result<(), EncodeError> {
            let column = batch.column(0).as_any().downcast_ref::<BinaryArray>().expect("a binary column");
            for row in rows {
                out.write(column.value(row))?;
            }
            Ok(())
        }
        fn held_bytes(&self) -> usize {
            7
        }
        fn relief_bytes(&self) -> usize {
            0
        }

        fn relieve(&mut self, _: &mut dyn Output) -> Result<(), EncodeError> {
            Ok(())
        }
        fn finish(self: Box<Self>, out: &mut dyn Output) -> Result<ObjectFacts, EncodeError> {
            if !self.0.is_empty() {
                out.write(self.0)?;
            }
            Ok(ObjectFacts::default())
        }
    }

    #[derive(Default)]
    pub(in super::super) struct Collected {
        pub(in super::super) bytes: Vec<u8>,
        pub(in super::super) calls: usize,
    }

    impl Output for Collected {
        fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
            assert!(!bytes.is_empty(), "an output takes at least one byte");
            self.bytes.extend_from_slice(bytes);
            self.calls += 1;
            Ok(())
        }
    }

    /// Takes nothing.
    pub(in super::super) struct Full;

    impl Output for Full {
        fn write(&mut self, _: &[u8]) -> Result<(), PutError> {
            Err(PutError::Quota("no room".into()))
        }
    }

    pub(in super::super) fn rows(cells: &[&[u8]]) -> RecordBatch {
        let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(cells));
        RecordBatch::try_from_iter([("cell", column)]).expect("one column makes a batch")
    }
}
