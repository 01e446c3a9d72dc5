//! Checks the claimed decompressed size of Arrow IPC buffers: the decoder allocates that much memory at once, and a failed allocation would abort the
//! process.

use arrow_ipc::{Message, MessageHeader, RecordBatch};
use std::io;

/// Maximum decompressed bytes of one record batch, or [`MOST_GROWTH`] times its compressed size, if that is more. A batch is read as a whole, so a
/// larger one should be written as several.
const MAX_UNPACKED_BYTES: u64 = 512 << 20;

/// See [`MAX_UNPACKED_BYTES`]: tables compress to a fifth or a tenth of their size, and only extremely repetitive ones to less.
const MOST_GROWTH: u64 = 16;

/// Size of the messages that are in memory together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claim {
    packed: u64,
    unpacked: u64,
}

impl Claim {
    /// Adds two sizes.
    pub fn and(self, other: Self) -> Self {
        Self { packed: self.packed.saturating_add(other.packed), unpacked: self.unpacked.saturating_add(other.unpacked) }
    }

    /// Refuses messages that need memory out of proportion to the file.
    pub fn check(self) -> Result<(), String> {
        let most = MAX_UNPACKED_BYTES.max(self.packed.saturating_mul(MOST_GROWTH));
        check_unpacked(self.unpacked, most)
    }
}

fn check_unpacked(unpacked: u64, most: u64) -> Result<(), String> {
    if unpacked <= most {
        return Ok(());
    }
    Err(format!("the buffers of a record batch unpack to {unpacked} bytes; at most {most} are accepted; write its rows as several batches"))
}

/// Maximum expansion of a codec. A Zstandard block has at least 4 bytes and decompresses to at most 128 KiB; LZ4 stays below 256.
const MAX_RATIO: u64 = (128 << 10) / 4;

/// Length prefix of each buffer in a compressed body: its decompressed length, or −1 if it is stored uncompressed.
const CLAIM_BYTES: u64 = 8;

/// Whether the message has a compressed body.
pub fn is_compressed(message: &Message<'_>) -> bool {
    compressed(message).is_some()
}

fn compressed<'a>(message: &Message<'a>) -> Option<RecordBatch<'a>> {
    let batch = match message.header_type() {
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()),
        _ => message.header_as_record_batch(),
    };
    batch.filter(|batch| batch.compression().is_some())
}

/// Refuses a message whose buffers claim more than `max_bytes` in total, or more than their bytes can expand to.
pub fn check(
    message: &Message<'_>,
    max_bytes: u64,
    claim_at: impl FnMut(u64) -> io::Result<[u8; CLAIM_BYTES as usize]>,
) -> Result<(), String> {
    check_unpacked(claim(message, claim_at)?.unpacked, max_bytes)
}

/// The total claimed size of a message's buffers; an error if one claims more than its bytes can expand to. `claim_at` reads eight bytes at an offset
/// of the body.
pub fn claim(message: &Message<'_>, mut claim_at: impl FnMut(u64) -> io::Result<[u8; CLAIM_BYTES as usize]>) -> Result<Claim, String> {
    let mut sum = Claim::default();
    let Some(batch) = compressed(message) else { return Ok(sum) };
    for buffer in batch.buffers().iter().flatten() {
        let (Ok(offset), Ok(length)) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length())) else {
            return Err("a buffer of a record batch is out of bounds".to_owned());
        };
        let Some(packed) = length.checked_sub(CLAIM_BYTES) else { continue };
        let claim = claim_at(offset).map_err(|error| format!("a compressed buffer cannot be read: {error}"))?;
        // Negative values are uncompressed buffers, or refused by the decoder.
        let claim = u64::try_from(i64::from_le_bytes(claim)).unwrap_or(0);
        if claim > packed.saturating_mul(MAX_RATIO) {
            return Err(format!("a compressed buffer of {packed} bytes claims to unpack to {claim}, which cannot be"));
        }
        sum = sum.and(Claim { packed, unpacked: claim });
    }
    Ok(sum)
}

/// The eight bytes at an offset of a body in memory.
pub fn claim_in(body: &[u8], offset: u64) -> io::Result<[u8; CLAIM_BYTES as usize]> {
    let rest = usize::try_from(offset).ok().and_then(|offset| body.get(offset..));
    let claim = rest.and_then(|rest| rest.first_chunk());
    claim.copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
