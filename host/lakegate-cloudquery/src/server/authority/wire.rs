//! Property tests of the `:authority` repair with an independent HTTP/2 sender and receiver: connections in every form that HTTP/2 and HPACK allow
//! pass through the repair, and the receiver must decode what was sent, except for authorities that are paths.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const DATA: u8 = 0;
const END_STREAM: u8 = 0x1;
const TABLE_BYTES: usize = 4_096;
const ENTRY_OVERHEAD_BYTES: usize = 32;
const FIRST_DYNAMIC: usize = 62;

type Field = (String, String);

/// The entries of the static table that the sender uses.
const STATIC: [(usize, &str, &str); 8] = [
    (1, ":authority", ""),
    (3, ":method", "POST"),
    (4, ":path", "/"),
    (6, ":scheme", "http"),
    (8, ":status", "200"),
    (31, "content-type", ""),
    (58, "user-agent", ""),
    (15, "accept-charset", ""),
];

/// The characters with codes of 5, 6, 7 and 8 bits, in the order of their codes, and the first code of each length.
const CODES: [(usize, u32, &str); 4] =
    [(5, 0x0, "012aceiost"), (6, 0x14, " %-./3456789=A_bdfghlmnpru"), (7, 0x5c, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"), (8, 0xf8, "&*,;XZ")];

/// A dynamic table, as sender and receiver keep one each.
#[derive(Debug, Default)]
struct Entries {
    fields: VecDeque<Field>,
    max_bytes: usize,
}

impl Entries {
    fn new() -> Self {
        Self { max_bytes: TABLE_BYTES, ..Self::default() }
    }

    fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len() + ENTRY_OVERHEAD_BYTES).sum()
    }

    fn evict(&mut self, max_bytes: usize) {
        while self.bytes() > max_bytes {
            self.fields.pop_back();
        }
    }

    fn resize(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
        self.evict(max_bytes);
    }

    fn insert(&mut self, field: Field) {
        let bytes = field.0.len() + field.1.len() + ENTRY_OVERHEAD_BYTES;
        self.evict(self.max_bytes.saturating_sub(bytes));
        if bytes <= self.max_bytes {
            self.fields.push_front(field);
        }
    }

    fn at(&self, index: usize) -> Option<Field> {
        match index.checked_sub(FIRST_DYNAMIC) {
            Some(at) => self.fields.get(at).cloned(),
            None => STATIC.iter().find(|(known, ..)| *known == index).map(|(_, name, value)| ((*name).to_owned(), (*value).to_owned())),
        }
    }

    fn index(&self, matches: impl Fn(&str, &str) -> bool) -> Option<usize> {
        let fixed = STATIC.iter().find(|(_, name, value)| matches(name, value)).map(|(index, ..)| *index);
        fixed.or_else(|| self.fields.iter().position(|(name, value)| matches(name, value)).map(|at| at + FIRST_DYNAMIC))
    }
}

/// How a field is written.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// By index alone, where the table has it.
    whole: bool,
    /// Its name by index, where the table has it.
    name: bool,
    huffman_name: bool,
    huffman_value: bool,
    /// With indexing, without, never.
    literal: u8,
}

fn integer(prefix_bits: u32, first: u8, value: usize, out: &mut Vec<u8>) {
    let mask = (1_usize << prefix_bits) - 1;
    if value < mask {
        return out.push(first | value as u8);
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.push(rest as u8);
}

fn huffman(text: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for character in text.chars() {
        let (length, code) = CODES.iter().find_map(|(length, first, characters)| {
            characters.chars().position(|known| known == character).map(|at| (*length, first + at as u32))
        })?;
        bits.extend((0..length).rev().map(|at| (code >> at & 1) as u8));
    }
    bits.resize(bits.len().next_multiple_of(8), 1);
    Some(bits.chunks(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit)).collect())
}

fn string(text: &str, coded: bool, out: &mut Vec<u8>) {
    match huffman(text).filter(|_| coded) {
        Some(bytes) => {
            integer(7, 0x80, bytes.len(), out);
            out.extend(bytes);
        }
        None => {
            integer(7, 0, text.len(), out);
            out.extend(text.as_bytes());
        }
    }
}

fn encode(table: &mut Entries, field: &Field, form: Form, out: &mut Vec<u8>) {
    let whole = table.index(|name, value| name == field.0 && value == field.1).filter(|_| form.whole);
    if let Some(index) = whole {
        return integer(7, 0x80, index, out);
    }
    let (first, prefix_bits) = [(0x40, 6), (0, 4), (0x10, 4)][usize::from(form.literal % 3)];
    match table.index(|name, _| name == field.0).filter(|_| form.name) {
        Some(index) => integer(prefix_bits, first, index, out),
        None => {
            out.push(first);
            string(&field.0, form.huffman_name, out);
        }
    }
    string(&field.1, form.huffman_value, out);
    if first == 0x40 {
        table.insert(field.clone());
    }
}

struct Decoder<'a> {
    rest: &'a [u8],
}

impl Decoder<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().expect("a byte");
        self.rest = rest;
        *first
    }

    fn integer(&mut self, prefix_bits: u32) -> usize {
        let mask = (1_usize << prefix_bits) - 1;
        let mut value = usize::from(self.byte()) & mask;
        let mut shift = 0;
        while value >= mask {
            let byte = self.byte();
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn string(&mut self) -> String {
        let coded = self.rest[0] & 0x80 != 0;
        let length = self.integer(7);
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        if !coded {
            return String::from_utf8(bytes.to_vec()).expect("text");
        }
        let (mut text, mut code, mut bits) = (String::new(), 0, 0);
        for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
            (code, bits) = (code << 1 | bit, bits + 1);
            let known = CODES.iter().find(|(length, first, characters)| {
                *length == bits && code >= *first && ((code - first) as usize) < characters.chars().count()
            });
            if let Some((_, first, characters)) = known {
                text.extend(characters.chars().nth((code - first) as usize));
                (code, bits) = (0, 0);
            }
        }
        text
    }

    fn fields(mut self, table: &mut Entries) -> Vec<Field> {
        let mut fields = Vec::new();
        while let Some(&first) = self.rest.first() {
            let field = match first {
                0x80.. => table.at(self.integer(7)).expect("an entry that the sender has"),
                0x20..0x40 => {
                    let size = self.integer(5);
                    table.resize(size);
                    continue;
                }
                _ => {
                    let index = self.integer(if first & 0x40 != 0 { 6 } else { 4 });
                    let name = if index == 0 { self.string() } else { table.at(index).expect("a name that the sender has").0 };
                    let field = (name, self.string());
                    if first & 0x40 != 0 {
                        table.insert(field.clone());
                    }
                    field
                }
            };
            fields.push(field);
        }
        fields
    }
}

/// A frame, or a HEADERS frame with its CONTINUATIONs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Request { stream: u32, end_stream: bool, priority: Vec<u8>, fields: Vec<Field> },
    Other { kind: u8, flags: u8, stream: u32, payload: Vec<u8> },
}

/// Reads a connection as a server does.
fn parse(bytes: &[u8]) -> Vec<Seen> {
    let mut rest = bytes.strip_prefix(PREFACE).expect("a preface");
    let (mut seen, mut table) = (Vec::new(), Entries::new());
    let take = |rest: &mut &[u8]| {
        let (head, after) = rest.split_at(9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, after) = after.split_at(length);
        let frame = (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload.to_vec());
        *rest = after;
        frame
    };
    while !rest.is_empty() {
        let (kind, flags, stream, mut payload) = take(&mut rest);
        if kind != HEADERS {
            seen.push(Seen::Other { kind, flags, stream, payload });
            continue;
        }
        if flags & PADDED != 0 {
            let padding = usize::from(payload.remove(0));
            payload.truncate(payload.len() - padding);
        }
        let priority: Vec<u8> = payload.drain(..if flags & PRIORITY != 0 { 5 } else { 0 }).collect();
        let mut ended = flags & END_HEADERS != 0;
        while !ended {
            let (kind, flags, same, more) = take(&mut rest);
            assert_eq!((kind, same), (CONTINUATION, stream));
            payload.extend(more);
            ended = flags & END_HEADERS != 0;
        }
        let fields = Decoder { rest: &payload }.fields(&mut table);
        seen.push(Seen::Request { stream, end_stream: flags & END_STREAM != 0, priority, fields });
    }
    seen
}

/// One request as it is sent.
#[derive(Debug, Clone)]
struct Sent {
    fields: Vec<(Field, Form)>,
    resize: Option<usize>,
    padding: Option<u8>,
    priority: bool,
    cuts: Vec<usize>,
    others: Vec<(u8, Vec<u8>)>,
}

fn form() -> impl Strategy<Value = Form> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0_u8..3)
        .prop_map(|(whole, name, huffman_name, huffman_value, literal)| Form { whole, name, huffman_name, huffman_value, literal })
}

fn field() -> impl Strategy<Value = Field> {
    let authority = prop_oneof![
        "%2Ftmp%2Fcq-[A-Z]{16}\\.sock",
        "/[a-z]{0,4}(/[a-z.]{1,9}){0,3}",
        "(%2F[a-z0-9]{1,30}){1,12}",
        "localhost:[0-9]{1,5}",
        "127\\.0\\.0\\.1:[0-9]{4}",
        "\\[::1\\]:[0-9]{4}",
        "",
    ];
    let fixed = [(":method", "POST"), (":scheme", "http"), ("content-type", "application/grpc"), ("te", "trailers")];
    prop_oneof![
        3 => authority.prop_map(|value| (":authority".to_owned(), value)),
        1 => "(/[A-Za-z0-9%.]{1,20}){1,3}".prop_map(|value| (":path".to_owned(), value)),
        1 => proptest::sample::select(fixed.to_vec()).prop_map(|(name, value)| (name.to_owned(), value.to_owned())),
        1 => ("[a-z]{1,12}", "[ -~]{0,40}"),
        // Large ones push the others out of the table.
        1 => ("[a-z]{1,3}", "[a-z/%]{900,1500}"),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let fields = proptest::collection::vec((field(), form()), 1..8);
    let resize = proptest::option::weighted(0.1, proptest::sample::select(vec![0, 60, 300, TABLE_BYTES]));
    let others = proptest::collection::vec(
        (proptest::sample::select(vec![DATA, 4, 6, 8, 200]), proptest::collection::vec(any::<u8>(), 0..40)),
        0..3,
    );
    let cuts = proptest::collection::vec(0_usize..60, 0..4);
    (fields, resize, proptest::option::of(0_u8..40), any::<bool>(), cuts, others)
        .prop_map(|(fields, resize, padding, priority, cuts, others)| Sent { fields, resize, padding, priority, cuts, others })
}

/// The bytes on the wire.
fn wire(requests: &[Sent]) -> Vec<u8> {
    let (mut out, mut table) = (PREFACE.to_vec(), Entries::new());
    for (number, request) in requests.iter().enumerate() {
        let stream = (2 * number as u32 + 1).to_be_bytes();
        let mut block = Vec::new();
        if let Some(bytes) = request.resize {
            table.resize(bytes);
            integer(5, 0x20, bytes, &mut block);
        }
        for (field, form) in &request.fields {
            encode(&mut table, field, *form, &mut block);
        }
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for cut in &request.cuts {
            let rest = block.split_off((*cut).min(block.len()));
            pieces.push(std::mem::replace(&mut block, rest));
        }
        pieces.push(block);
        let last = pieces.len() - 1;
        for (at, piece) in pieces.iter().enumerate() {
            let end = if at == last { END_HEADERS } else { 0 };
            if at > 0 {
                write_frame(CONTINUATION, end, stream, &[piece], &mut out);
                continue;
            }
            let flags = END_STREAM | end | request.padding.map_or(0, |_| PADDED) | if request.priority { PRIORITY } else { 0 };
            let length: Vec<u8> = request.padding.into_iter().collect();
            let priority: &[u8] = if request.priority { &[0, 0, 0, 0, 15] } else { &[] };
            let padding = vec![0; request.padding.unwrap_or(0).into()];
            write_frame(HEADERS, flags, stream, &[&length, priority, piece, &padding], &mut out);
        }
        for (kind, payload) in &request.others {
            write_frame(*kind, 0, stream, &[payload], &mut out);
        }
    }
    out
}

/// The field that the server should see.
fn expected((name, value): Field) -> Field {
    let is_path = name == ":authority" && value.contains(['%', '/']);
    let value = if is_path { "localhost".chars().take(value.len()).collect() } else { value };
    (name, value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn the_server_sees_what_was_sent_but_for_paths(requests in proptest::collection::vec(sent(), 1..10), cuts in proptest::collection::vec(0_usize..200, 0..40)) {
        let input = wire(&requests);
        let (mut repair, mut out, mut rest) = (Repair::default(), Vec::new(), input.as_slice());
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            repair.push(now, &mut out);
            rest = later;
        }
        repair.push(rest, &mut out);
        prop_assert!(repair.held.is_empty(), "all frames are whole");
        prop_assert!(repair.state != State::Raw, "nothing in it is malformed");
        let mut want = parse(&input);
        for seen in &mut want {
            if let Seen::Request { fields, .. } = seen {
                *fields = std::mem::take(fields).into_iter().map(expected).collect();
            }
        }
        prop_assert_eq!(parse(&out), want);
    }

    #[test]
    fn a_sender_and_a_receiver_without_the_repair_agree(requests in proptest::collection::vec(sent(), 1..10)) {
        let seen = parse(&wire(&requests));
        let fields: Vec<Vec<Field>> =
            seen.into_iter().filter_map(|seen| if let Seen::Request { fields, .. } = seen { Some(fields) } else { None }).collect();
        let sent: Vec<Vec<Field>> = requests.into_iter().map(|request| request.fields.into_iter().map(|(field, _)| field).collect()).collect();
        prop_assert_eq!(fields, sent);
    }
}
