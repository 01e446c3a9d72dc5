//! Spans: their identities, their parents, and how one is made.

use crate::limits::MAX_TEXT_BYTES;
use crate::proto::any_value::Value;
use crate::proto::{AnyValue, KeyValue, Span, SpanKind, Status, StatusCode};
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// The place of a span in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
}

impl Place {
    /// In the trace of `parent`, or in one of its own.
    pub(crate) fn below(parent: Option<Self>) -> Self {
        Self { trace: parent.map_or_else(random, |parent| parent.trace), span: random() }
    }

    /// The place of a span below this one that has a name of its own here. Whoever knows the name knows the place, so that nothing has to be kept
    /// of it.
    pub(crate) fn named(self, name: &str) -> Self {
        let digest = Sha256::new().chain_update(self.trace).chain_update(self.span).chain_update(name).finalize();
        Self { trace: self.trace, span: std::array::from_fn(|at| digest[at]) }
    }
}

/// The span that a process is started for, as `traceparent` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) place: Place,
    /// Whether its trace is recorded at all.
    pub(crate) sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`; [`None`] if it is not one: the trace then begins here, as W3C's Trace Context has it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version: [u8; 1] = bytes(parts.next()?)?;
        let (trace, span, flags): ([u8; 16], [u8; 8], [u8; 1]) = (bytes(parts.next()?)?, bytes(parts.next()?)?, bytes(parts.next()?)?);
        // Later versions may have more.
        let whole = version[0] != u8::MAX && (version[0] > 0 || parts.next().is_none());
        (whole && trace != [0; 16] && span != [0; 8]).then_some(Self { place: Place { trace, span }, sampled: flags[0] & SAMPLED != 0 })
    }
}

/// Lower-case hexadecimal digits, two a byte.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Random bytes, not all of them zero. Without entropy, what the time gives: an identity need not be secret.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() || bytes == [0; N] {
        let digest = Sha256::digest(nanos(lakegate_base::clock::now()).to_le_bytes());
        bytes = std::array::from_fn(|at| digest[at % digest.len()] | 1);
    }
    bytes
}

/// Nanoseconds since 1970.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or_default()
}

/// A text, as long as texts may be.
pub(crate) fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT_BYTES {
        return text.to_owned();
    }
    const ELLIPSIS: char = '…';
    let end = text.floor_char_boundary(MAX_TEXT_BYTES - ELLIPSIS.len_utf8());
    let mut cut = text.get(..end).unwrap_or_default().to_owned();
    cut.push(ELLIPSIS);
    cut
}

/// A text as the value of an attribute.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(cut(value)))
}

/// A number as the value of an attribute.
pub(crate) fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// A truth as the value of an attribute.
pub(crate) fn truth(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

/// A span that ends well, or as `error` says.
pub(crate) fn span(
    name: &str,
    place: Place,
    parent: Option<Place>,
    (start, end): (SystemTime, SystemTime),
    attributes: Vec<KeyValue>,
    error: Option<&str>,
) -> Span {
    let start = nanos(start);
    Span {
        trace_id: place.trace.to_vec(),
        span_id: place.span.to_vec(),
        parent_span_id: parent.map(|parent| parent.span.to_vec()).unwrap_or_default(),
        name: name.to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: start,
        // A clock may be set back.
        end_time_unix_nano: nanos(end).max(start),
        attributes,
        status: error.map(|error| Status { message: cut(error), code: StatusCode::Error.into() }),
        flags: SAMPLED.into(),
        ..Span::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        let place = Place { trace: *b"0123456789abcdef", span: *b"01234567" };
        let (trace, span) = ("30313233343536373839616263646566", "3031323334353637");
        for (text, sampled) in [
            (format!("00-{trace}-{span}-01"), Some(true)),
            (format!(" 00-{trace}-{span}-00 "), Some(false)),
            (format!("01-{trace}-{span}-03-more"), Some(true)),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{trace}-{span}"), None),
            (format!("00-{}-{span}-01", trace.replace('d', "D").replace('6', "A")), None),
            (format!("00-{span}-{trace}-01"), None),
            ("00-é".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(Parent::read(&text), sampled.map(|sampled| Parent { place, sampled }), "{text}");
        }
    }

    #[test]
    fn places_are_each_their_own_and_named_ones_can_be_found_again() {
        let (one, other) = (Place::below(None), Place::below(None));
        assert!(one.trace != other.trace && one.span != other.span);
        let below = Place::below(Some(one));
        assert!(below.trace == one.trace && below.span != one.span);
        assert_eq!(one.named("t"), one.named("t"));
        assert!(one.named("t") != one.named("u") && one.named("t") != below.named("t"));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut(&"é".repeat(512)).len(), MAX_TEXT_BYTES);
        let long = cut(&"é".repeat(513));
        assert!(long.ends_with('…') && long.len() <= MAX_TEXT_BYTES, "{}", long.len());
    }

    #[test]
    fn a_span_never_ends_before_it_begins() {
        let (early, late) = (UNIX_EPOCH + std::time::Duration::from_secs(1), UNIX_EPOCH + std::time::Duration::from_secs(2));
        let made = span("n", Place::below(None), None, (late, early), Vec::new(), None);
        assert_eq!((made.start_time_unix_nano, made.end_time_unix_nano), (2_000_000_000, 2_000_000_000));
    }
}
