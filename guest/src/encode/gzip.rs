//! gzip around a text format: one deterministic member an object.
//!
//! The member's frame (header, CRC-32, length) is ours and its body is raw deflate, so that [`Encode::relieve`] can end the compressor with
//! a full flush, give it up, and let a fresh one go on in the same member: a full flush ends on a byte boundary, and the blocks that follow
//! refer to nothing before it. One input always gives one output: no time, no name, no operating system in the header.
//!
//! Pages of Parquet are members of their own ([`Members`]).

use super::Encode;
use super::compressed::{self, Shared, Stage, Stream};
use crate::host::PutError;
use crate::spec::{Codec, Compression};
use flate2::{Compress, FlushCompress, Status};
use std::io::{Error, Write};

/// Memory of one compressor: window, hash chains and pending output of deflate at its usual 32 KiB window.
pub const COMPRESSOR_BYTES: usize = 300 << 10;

/// Compressed bytes gathered before they are handed on. A compressor gives out at most 64 KiB at once; four of those make a call cheap.
const STAGING_BYTES: usize = 256 << 10;

/// Compressed bytes of a member of its own that are handed on at once.
const MEMBER_STAGING_BYTES: usize = 64 << 10;

/// Room a compressor finds in the staging buffer. More than the six bytes of a flush marker, or flushes would repeat.
const LEAST_ROOM_BYTES: usize = 1 << 10;

/// Magic, deflate, no flags, no time, no extra flags, unknown operating system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A final deflate block that holds nothing: ends a body whose compressor has been given up.
const EMPTY_FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// Compressors kept for the next object once theirs has ended. Dropped at once, the memory of each would be broken up by the small
/// allocations that follow, and the next compressor would need new memory: an instance would grow with the number of objects.
const MAX_SPARE_COMPRESSORS: usize = 4;

/// What the gzip objects of a session share. A clone shares it too.
#[derive(Clone)]
pub struct GzipShared(Shared<Compressors>);

impl GzipShared {
    /// Compresses at this level.
    pub fn new(compression: Compression) -> Self {
        Self(Shared::new(Compressors { compression, spare: Vec::new() }))
    }
}

impl Default for GzipShared {
    fn default() -> Self {
        Self::new(Compression::usual(Codec::Gzip))
    }
}

/// A compressor at the start of a stream.
fn compressor(compression: Compression) -> Compress {
    Compress::new(flate2::Compression::new(compression.level().into()), false)
}

struct Compressors {
    compression: Compression,
    spare: Vec<Compress>,
}

impl Compressors {
    /// A compressor at the start of a stream.
    fn take(&mut self) -> Compress {
        self.spare.pop().unwrap_or_else(|| compressor(self.compression))
    }

    /// Takes back a compressor whose stream has ended.
    fn keep(&mut self, mut compressor: Compress) {
        if self.spare.len() < MAX_SPARE_COMPRESSORS {
            compressor.reset();
            self.spare.push(compressor);
        }
    }
}

/// Begins a gzip member around the text of `inner`.
pub fn wrap(inner: Box<dyn Encode>, shared: &GzipShared) -> Box<dyn Encode> {
    compressed::wrap::<Member>(inner, &shared.0)
}

/// What a gzip member has come to.
#[derive(Default)]
struct Member {
    /// None before the first byte, and after a relief.
    compressor: Option<Compress>,
    has_header: bool,
    crc: crc32fast::Hasher,
    /// Length of the text modulo 2^32, as the trailer wants it.
    length: u32,
}

impl Stream for Member {
    type Compressors = Compressors;

    const STAGING_BYTES: usize = STAGING_BYTES;

    fn held_bytes(&self) -> usize {
        if self.compressor.is_some() { COMPRESSOR_BYTES } else { 0 }
    }

    fn write(&mut self, text: &[u8], stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
        self.begin(stage)?;
        self.crc.update(text);
        self.length = self.length.wrapping_add(text.len() as u32);
        let mut compressor = self.compressor.take().unwrap_or_else(|| stage.compressors().take());
        let mut rest = text;
        while !rest.is_empty() {
            make_room(stage)?;
            let before = compressor.total_in();
            pack(&mut compressor, rest, stage.bytes(), FlushCompress::None)?;
            let taken = (compressor.total_in() - before) as usize;
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.compressor = Some(compressor);
        Ok(())
    }

    /// Ends the deflate stream at a byte boundary and gives the compressor up.
    fn suspend(&mut self, stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
        let Some(mut compressor) = self.compressor.take() else { return Ok(()) };
        loop {
            make_room(stage)?;
            pack(&mut compressor, &[], stage.bytes(), FlushCompress::Full)?;
            if stage.bytes().len() < stage.bytes().capacity() {
                stage.compressors().keep(compressor);
                return Ok(());
            }
        }
    }

    /// Ends the body and writes the trailer.
    fn end(&mut self, stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
        self.begin(stage)?;
        match self.compressor.take() {
            Some(mut compressor) => loop {
                make_room(stage)?;
                if pack(&mut compressor, &[], stage.bytes(), FlushCompress::Finish)? == Status::StreamEnd {
                    stage.compressors().keep(compressor);
                    break;
                }
            },
            None => append(stage, &EMPTY_FINAL_BLOCK)?,
        }
        let crc = std::mem::take(&mut self.crc).finalize();
        append(stage, &crc.to_le_bytes())?;
        append(stage, &self.length.to_le_bytes())
    }
}

impl Member {
    fn begin(&mut self, stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
        if !std::mem::replace(&mut self.has_header, true) {
            append(stage, &HEADER)?;
        }
        Ok(())
    }
}

fn append(stage: &mut Stage<'_, Compressors>, bytes: &[u8]) -> Result<(), PutError> {
    make_room(stage)?;
    stage.bytes().extend_from_slice(bytes);
    Ok(())
}

fn make_room(stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
    if stage.bytes().capacity() - stage.bytes().len() < LEAST_ROOM_BYTES { stage.hand_on() } else { Ok(()) }
}

/// Compresses into the free part of `staging`. Fails only if the compressor's state is broken, which no input brings about.
fn pack(compressor: &mut Compress, input: &[u8], staging: &mut Vec<u8>, flush: FlushCompress) -> Result<Status, PutError> {
    let failed = || PutError::Invalid("the gzip compressor failed".into());
    let before = (compressor.total_in(), staging.len());
    let status = compressor.compress_vec(input, staging, flush).map_err(|_| failed())?;
    let stuck = (compressor.total_in(), staging.len()) == before;
    // Without progress a caller would loop for ever. A flush may find nothing left to do.
    if stuck && !matches!(flush, FlushCompress::Full) && status != Status::StreamEnd { Err(failed()) } else { Ok(status) }
}

/// Compresses members, one after another.
pub(super) struct Members {
    compressor: Compress,
    staging: Vec<u8>,
}

impl Members {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compressor: compressor(compression), staging: Vec::with_capacity(MEMBER_STAGING_BYTES) }
    }

    /// Appends a member that holds these pieces, one after another.
    ///
    /// # Errors
    /// The output's, or a fault of the compressor.
    pub(super) fn write(&mut self, pieces: &[&[u8]], out: &mut impl Write) -> Result<(), Error> {
        let Self { compressor, staging } = self;
        let mut crc = crc32fast::Hasher::new();
        let mut length = 0_u32;
        compressor.reset();
        out.write_all(&HEADER)?;
        for piece in pieces {
            crc.update(piece);
            length = length.wrapping_add(piece.len() as u32);
            let mut rest = *piece;
            while !rest.is_empty() {
                let before = compressor.total_in();
                staging.clear();
                pack(compressor, rest, staging, FlushCompress::None).map_err(Error::other)?;
                out.write_all(staging)?;
                rest = rest.get((compressor.total_in() - before) as usize..).unwrap_or_default();
            }
        }
        loop {
            staging.clear();
            let status = pack(compressor, &[], staging, FlushCompress::Finish).map_err(Error::other)?;
            out.write_all(staging)?;
            if status == Status::StreamEnd {
                break;
            }
        }
        out.write_all(&crc.finalize().to_le_bytes())?;
        out.write_all(&length.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::EncodeError;
    use crate::encode::compressed::testing::{Collected, Full, Verbatim, rows};
    use flate2::bufread::{GzDecoder, MultiGzDecoder};
    use proptest::prelude::*;
    use std::io::Read;

    /// Gzips cells one write each, relieved after those marked.
    fn gzipped(cells: &[(Vec<u8>, bool)]) -> Vec<u8> {
        gzipped_after(&GzipShared::default(), cells)
    }

    /// The same, with what earlier objects left behind.
    fn gzipped_after(shared: &GzipShared, cells: &[(Vec<u8>, bool)]) -> Vec<u8> {
        let mut out = Collected::default();
        let mut gzip = wrap(Box::new(Verbatim(b"end")), shared);
        for (cell, relieved) in cells {
            if !cell.is_empty() {
                gzip.write(&rows(&[cell]), 0..1, &mut out).expect("collected");
            }
            if *relieved {
                gzip.relieve(&mut out).expect("collected");
                assert_eq!(gzip.held_bytes(), 7, "a relieved member holds no compressor");
            }
        }
        gzip.finish(&mut out).expect("collected");
        out.bytes
    }

    fn gunzipped(member: &[u8]) -> Vec<u8> {
        let (mut one, mut all) = (Vec::new(), Vec::new());
        GzDecoder::new(member).read_to_end(&mut one).expect("a gzip member");
        MultiGzDecoder::new(member).read_to_end(&mut all).expect("gzip members");
        assert_eq!(one, all, "one member and nothing after it");
        all
    }

    /// Text that packs well, but not into nothing.
    fn text(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abcdefghij,\n0123"[(state >> 28) as usize]
        })
        .take(bytes)
        .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_cutting_and_any_relief_gives_the_input_back(
            cells in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..3_000), any::<bool>()), 0..12)
        ) {
            let mut expected: Vec<u8> = cells.iter().flat_map(|(cell, _)| cell.clone()).collect();
            expected.extend_from_slice(b"end");
            let member = gzipped(&cells);
            prop_assert_eq!(gunzipped(&member), expected);
            prop_assert_eq!(member, gzipped(&cells), "one input, one output");
        }
    }

    #[test]
    fn large_text_with_reliefs_comes_back_and_leaves_in_large_pieces() {
        let cells: Vec<_> = (0..9).map(|at| (text(1_000_000 + at), at % 3 == 0)).collect();
        let member = gzipped(&cells);
        assert_eq!(gunzipped(&member).len(), cells.iter().map(|(cell, _)| cell.len()).sum::<usize>() + 3);

        let mut out = Collected::default();
        let mut gzip = wrap(Box::new(Verbatim(b"end")), &GzipShared::default());
        let big = text(8_000_000);
        let cells: Vec<&[u8]> = big.chunks(100).collect();
        gzip.write(&rows(&cells), 0..cells.len(), &mut out).expect("collected");
        assert!(out.calls <= 2 + out.bytes.len() / (STAGING_BYTES - LEAST_ROOM_BYTES), "{} calls for {} bytes", out.calls, out.bytes.len());
    }

    #[test]
    fn a_compressor_used_before_gives_what_a_fresh_one_does() {
        let shared = GzipShared::default();
        for cells in [vec![(text(100_000), true), (text(90_000), false)], vec![(text(7), false)], vec![(text(200_000), false)]] {
            assert_eq!(gzipped_after(&shared, &cells), gzipped(&cells));
            assert_eq!(shared.0.0.borrow().compressors.spare.len(), 1, "one object after another needs one compressor");
        }
    }

    #[test]
    fn a_relief_before_the_first_byte_or_twice_changes_nothing() {
        let cell = || (text(5_000), true);
        assert_eq!(gzipped(&[(Vec::new(), true), cell(), (Vec::new(), true)]), gzipped(&[cell()]));
    }

    #[test]
    fn the_header_names_neither_time_nor_system() {
        let member = gzipped(&[]);
        assert_eq!(member.get(..10), Some(&HEADER[..]));
        assert_eq!(gunzipped(&member), b"end");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn members_come_back_from_one_compressor(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..3_000), 0_usize..200_000, 1_u8..=9), 1..4)
        ) {
            for (noise, length, level) in pieces {
                let compression = Compression::new(Codec::Gzip, level).expect("a level");
                let text = text(length);
                let mut members = Members::new(compression);
                for _ in 0..2 {
                    let mut member = Vec::new();
                    members.write(&[&noise, &text], &mut member).expect("in memory");
                    prop_assert!(gunzipped(&member) == [noise.as_slice(), &text].concat());
                }
            }
        }
    }

    #[test]
    fn a_higher_level_packs_better() {
        let text: Vec<u8> = (0..50_000_u32).flat_map(|row| format!("{row},{},some name {}\n", row % 977, row / 9).into_bytes()).collect();
        let sizes = [1, 4, 9].map(|level| {
            let shared = GzipShared::new(Compression::new(Codec::Gzip, level).expect("a level"));
            gzipped_after(&shared, &[(text.clone(), false)]).len()
        });
        assert!(sizes.is_sorted_by(|one, next| one > next), "{sizes:?}");
    }

    #[test]
    fn a_living_compressor_is_counted() {
        let mut gzip = wrap(Box::new(Verbatim(b"end")), &GzipShared::default());
        assert_eq!(gzip.held_bytes(), 7);
        gzip.write(&rows(&[b"x"]), 0..1, &mut Collected::default()).expect("collected");
        assert_eq!(gzip.held_bytes(), 7 + COMPRESSOR_BYTES);
    }

    #[test]
    fn what_a_refused_object_left_never_reaches_the_next() {
        let shared = GzipShared::default();
        let mut refused = wrap(Box::new(Verbatim(b"end")), &shared);
        assert_eq!(refused.write(&rows(&[b"lost"]), 0..1, &mut Full), Err(EncodeError::Put(PutError::Quota("no room".into()))));
        let mut out = Collected::default();
        wrap(Box::new(Verbatim(b"end")), &shared).finish(&mut out).expect("collected");
        assert_eq!(gunzipped(&out.bytes), b"end");
    }
}
