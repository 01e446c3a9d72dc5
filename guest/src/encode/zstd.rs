//! zstd: around a text format, and for the pages of Parquet.
//!
//! Around text an object is one frame with a checksum of its content, or several if [`Encode::relieve`] had to end one: frames that follow each
//! other are one stream to every reader. Blocks are cut every 128 KiB of text, whatever pieces it comes in, so that one input always gives one
//! output. A page is one frame that names its length and has no checksum: Parquet has one of its own where anybody wants it.
//!
//! No frame refers further back than [`MOST_WINDOW_LOG`] says. That bounds the memory of a compressor at any level, and that of readers.

use super::Encode;
use super::compressed::{self, Shared, Stage, Stream};
use crate::host::PutError;
use crate::spec::{Codec, Compression};
use std::io::{Error, Write};
use structured_zstd::encoding::{CompressionContext, CompressionLevel, CompressionParameters, LevelParameters};

/// Two to this many bytes are how far back a frame refers: the window of levels 3 to 8, which higher levels have, too, here.
const MOST_WINDOW_LOG: u32 = 21;

/// Compressed bytes gathered before they are handed on.
const STAGING_BYTES: usize = 256 << 10;

/// Bytes of text compressed between two looks at what is staged: a block's.
const STEP_BYTES: usize = 128 << 10;

/// A compressor of frames.
type Context = CompressionContext;

/// A compressor at the start of a frame.
fn context(compression: Compression) -> Context {
    let level = i32::from(compression.level());
    let mut parameters = CompressionParameters::builder(CompressionLevel::from_level(level));
    let of_level = LevelParameters::for_level(level, None, 0);
    if of_level.window_log > MOST_WINDOW_LOG {
        // Tables for a larger window than there is would lie empty.
        let excess = of_level.window_log - MOST_WINDOW_LOG;
        parameters = parameters
            .window_log(MOST_WINDOW_LOG)
            .hash_log(of_level.hash_log.saturating_sub(excess))
            .chain_log(of_level.chain_log.saturating_sub(excess));
    }
    let mut context = Context::new(CompressionLevel::from_level(level));
    // Nothing has been written, and all of it is within the crate's own bounds (a test goes through the levels).
    if let Ok(parameters) = parameters.build() {
        let _ = context.set_parameters(&parameters);
    }
    context
}

/// What the zstd objects of a session share. A clone shares it too.
#[derive(Clone)]
pub struct ZstdShared(Shared<Compressors>);

impl ZstdShared {
    /// Compresses at this level.
    pub fn new(compression: Compression) -> Self {
        Self(Shared::new(Compressors { compression, spare: None }))
    }
}

impl Default for ZstdShared {
    fn default() -> Self {
        Self::new(Compression::usual(Codec::Zstd))
    }
}

struct Compressors {
    compression: Compression,
    /// Kept for the next object once its own has ended: freed at once, its memory would be broken up by small allocations.
    spare: Option<Box<Context>>,
}

impl Compressors {
    /// A compressor at the start of a frame, with a checksum.
    fn take(&mut self) -> Result<Box<Context>, PutError> {
        if let Some(context) = self.spare.take() {
            return Ok(context);
        }
        let mut context = Box::new(context(self.compression));
        context.set_content_checksum(true).map_err(failed)?;
        Ok(context)
    }
}

/// Begins a stream of zstd around the text of `inner`.
pub fn wrap(inner: Box<dyn Encode>, shared: &ZstdShared) -> Box<dyn Encode> {
    compressed::wrap::<FrameStream>(inner, &shared.0)
}

/// What the frames of an object have come to.
#[derive(Default)]
struct FrameStream {
    /// Absent between frames.
    context: Option<Box<Context>>,
    has_frame: bool,
}

impl Stream for FrameStream {
    type Compressors = Compressors;

    const STAGING_BYTES: usize = STAGING_BYTES + STEP_BYTES;

    fn held_bytes(&self) -> usize {
        self.context.as_ref().map_or(0, |context| context.heap_size() + size_of::<Context>())
    }

    fn write(&mut self, text: &[u8], stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
        self.begin(stage)?;
        for step in text.chunks(STEP_BYTES) {
            if let Some(context) = &mut self.context {
                write_all(context, stage.bytes(), step).map_err(failed)?;
            }
            make_room(stage)?;
        }
        Ok(())
    }

    /// Ends the frame, if there is one, and gives the compressor up.
    fn suspend(&mut self, stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
        let Some(mut context) = self.context.take() else { return Ok(()) };
        context.finish_frame(stage.bytes()).map_err(failed)?;
        stage.compressors().spare = Some(context);
        make_room(stage)
    }

    /// Ends the stream; one without text is a frame without content.
    fn end(&mut self, stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
        if !self.has_frame {
            self.begin(stage)?;
        }
        self.suspend(stage)
    }
}

impl FrameStream {
    fn begin(&mut self, stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
        if self.context.is_none() {
            self.context = Some(stage.compressors().take()?);
            self.has_frame = true;
        }
        Ok(())
    }
}

fn make_room(stage: &mut Stage<'_, Compressors>) -> Result<(), PutError> {
    if stage.bytes().len() >= STAGING_BYTES { stage.hand_on() } else { Ok(()) }
}

/// Compresses all of `bytes` into `out`.
fn write_all(context: &mut Context, out: &mut impl Write, bytes: &[u8]) -> Result<(), Error> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match context.write(out, rest)? {
            0 => return Err(Error::other("no progress")),
            taken => rest = rest.get(taken..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// A compressor fails if its output does, and ours are in memory; or by a fault of its own.
fn failed(error: Error) -> PutError {
    PutError::Invalid(format!("the zstd compressor failed: {error}"))
}

/// Compresses frames of a known length, one after another.
pub(super) struct Frames(Box<Context>);

impl Frames {
    pub(super) fn new(compression: Compression) -> Self {
        Self(Box::new(context(compression)))
    }

    /// Appends a frame that holds these pieces, one after another.
    ///
    /// # Errors
    /// The output's, or a fault of the compressor.
    pub(super) fn write(&mut self, pieces: &[&[u8]], out: &mut impl Write) -> Result<(), Error> {
        self.0.set_pledged_content_size(pieces.iter().map(|piece| piece.len() as u64).sum())?;
        pieces.iter().try_for_each(|piece| write_all(&mut self.0, out, piece))?;
        self.0.finish_frame(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::compressed::testing::{Collected, Full, Verbatim, rows};
    use proptest::prelude::*;
    use std::io::Read;

    /// Memory of a compressor at the highest level, with all of a window behind it.
    const MOST_CONTEXT_BYTES: usize = 40 << 20;

    fn shared(level: u8) -> ZstdShared {
        ZstdShared::new(Compression::new(Codec::Zstd, level).expect("a level"))
    }

    /// Compresses cells one write each, relieved after those marked.
    fn packed(shared: &ZstdShared, cells: &[(&[u8], bool)]) -> Vec<u8> {
        let mut out = Collected::default();
        let mut zstd = wrap(Box::new(Verbatim(b"")), shared);
        for (cell, relieved) in cells {
            if !cell.is_empty() {
                zstd.write(&rows(&[cell]), 0..1, &mut out).expect("collected");
            }
            if *relieved {
                zstd.relieve(&mut out).expect("collected");
                assert_eq!(zstd.held_bytes(), 7, "a relieved stream holds no compressor");
            }
        }
        zstd.finish(&mut out).expect("collected");
        out.bytes
    }

    /// What the reference decoder makes of a stream, which it has to take to its last byte.
    fn unpacked(stream: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        zstd::stream::read::Decoder::new(stream).expect("a decoder").read_to_end(&mut text).expect("frames of zstd");
        text
    }

    /// Text that packs well, but not into nothing; and bytes that do not pack.
    fn text(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abcdefghij,\n0123"[(state >> 28) as usize]
        })
        .take(bytes)
        .collect()
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(bytes)
        .collect()
    }

    /// Pieces of what rows are made of: runs, words that come back near and far, noise.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..3_000),
            (any::<u8>(), 0_usize..200_000).prop_map(|(byte, length)| vec![byte; length]),
            (0_usize..300_000).prop_map(text),
            (0_usize..200_000).prop_map(noise),
            (0_u32..50_000)
                .prop_map(|rows| (0..rows).flat_map(|row| format!("{row},{},name {}\n", row % 7, row / 9).into_bytes()).collect()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn any_cutting_any_relief_and_any_level_give_the_input_back(
            pieces in proptest::collection::vec((piece(), any::<bool>()), 0..6), level in 1_u8..=12
        ) {
            let expected: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
            let cells: Vec<(&[u8], bool)> = pieces.iter().map(|(piece, relieved)| (piece.as_slice(), *relieved)).collect();
            let stream = packed(&shared(level), &cells);
            prop_assert_eq!(unpacked(&stream), expected);
            prop_assert!(stream == packed(&shared(level), &cells), "one input, one output");
        }

        #[test]
        fn the_pieces_do_not_show(text in piece(), cuts in proptest::collection::vec(1_usize..150_000, 1..8), level in 1_u8..=12) {
            let shared = shared(level);
            let whole = packed(&shared, &[(&text, false)]);
            let (mut cells, mut rest) = (Vec::new(), text.as_slice());
            for cut in cuts {
                let (cell, later) = rest.split_at(cut.min(rest.len()));
                cells.push((cell, false));
                rest = later;
            }
            cells.push((rest, false));
            prop_assert!(packed(&shared, &cells) == whole, "a compressor used before, and other pieces");
        }

        #[test]
        fn pages_come_back_from_one_compressor(pieces in proptest::collection::vec((piece(), 0_usize..5_000), 1..5), level in 1_u8..=12) {
            let mut frames = Frames::new(Compression::new(Codec::Zstd, level).expect("a level"));
            for (piece, cut) in pieces {
                let (head, tail) = piece.split_at(cut.min(piece.len()));
                let mut page = Vec::new();
                frames.write(&[head, tail], &mut page).expect("in memory");
                // As readers of Parquet do: the length is known.
                prop_assert!(zstd::bulk::decompress(&page, piece.len()).expect("a frame") == piece);
                let mut alone = Vec::new();
                Frames::new(Compression::new(Codec::Zstd, level).expect("a level")).write(&[&piece], &mut alone).expect("in memory");
                prop_assert!(alone == page, "one page, one frame");
            }
        }
    }

    #[test]
    fn an_object_without_text_is_a_frame_without_content() {
        let shared = ZstdShared::default();
        for cells in [&[][..], &[(&b""[..], true)], &[(&b""[..], true), (b"", true)]] {
            let stream = packed(&shared, cells);
            assert!(!stream.is_empty() && unpacked(&stream).is_empty());
        }
        let mut page = Vec::new();
        Frames::new(Compression::usual(Codec::Zstd)).write(&[], &mut page).expect("in memory");
        assert!(zstd::bulk::decompress(&page, 0).expect("a frame").is_empty());
    }

    #[test]
    fn what_does_not_pack_grows_by_little() {
        for bytes in [1, 1_000, (128 << 10) - 1, 128 << 10, (128 << 10) + 1, 1_000_000] {
            let noise = noise(bytes);
            let stream = packed(&ZstdShared::default(), &[(&noise, false)]);
            assert!(stream.len() <= bytes + bytes / 1_000 + 32, "{} of {bytes}", stream.len());
            assert_eq!(unpacked(&stream), noise);
        }
    }

    #[test]
    fn a_stream_is_checked_by_whoever_reads_it() {
        let mut stream = packed(&ZstdShared::default(), &[(&noise(1_000), false)]);
        let middle = stream.len() / 2;
        stream[middle] ^= 1;
        let mut text = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(stream.as_slice()).expect("a decoder").read_to_end(&mut text);
        assert!(decoder.is_err(), "the checksum does not fit");
    }

    #[test]
    fn every_level_is_taken_holds_no_more_than_is_said_and_packs_better_or_as_well() {
        let text: Vec<u8> = (0..600_000_u32).flat_map(|row| format!("{row},{},some name {}\n", row % 977, row / 9).into_bytes()).collect();
        let mut sizes = Vec::new();
        for level in 1..=Codec::Zstd.most() {
            let shared = shared(level);
            let mut out = Collected::default();
            let mut zstd = wrap(Box::new(Verbatim(b"")), &shared);
            zstd.write(&rows(&[&text]), 0..1, &mut out).expect("collected");
            assert!((1..MOST_CONTEXT_BYTES).contains(&zstd.held_bytes()), "level {level}: {} bytes", zstd.held_bytes());
            zstd.finish(&mut out).expect("collected");
            assert!(unpacked(&out.bytes) == text, "level {level}");
            sizes.push(out.bytes.len());
        }
        assert!(sizes.iter().all(|size| *size < text.len() / 3), "{sizes:?}");
        assert!(sizes.last() < sizes.first(), "{sizes:?}");
    }

    #[test]
    fn large_text_leaves_in_large_pieces() {
        let big = text(8_000_000);
        let cells: Vec<&[u8]> = big.chunks(100).collect();
        let mut out = Collected::default();
        let mut zstd = wrap(Box::new(Verbatim(b"")), &ZstdShared::default());
        zstd.write(&rows(&cells), 0..cells.len(), &mut out).expect("collected");
        assert!(out.calls <= 2 + out.bytes.len() / STAGING_BYTES, "{} calls for {} bytes", out.calls, out.bytes.len());
    }

    #[test]
    fn what_a_refused_object_left_never_reaches_the_next() {
        let shared = ZstdShared::default();
        let mut refused = wrap(Box::new(Verbatim(b"")), &shared);
        refused.write(&rows(&[&noise(300_000)]), 0..1, &mut Full).expect_err("refused");
        drop(refused);
        assert_eq!(unpacked(&packed(&shared, &[(b"kept", false)])), b"kept");
    }
}
