//! Tests of the `:authority` repair with hand-made frames, and with a real server.

use super::*;
use crate::server::connection::ConnectionSlots;
use crate::server::listen::Serving;
use crate::server::service::Server;
use proptest::prelude::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const END_STREAM: u8 = 0x1;
const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const SOCKET: &[u8] = b"%2Ftmp%2Fcq-ABCDEFGHIJKLMNOP.sock";
/// `%2Ftmp` and `/tmp` in Huffman code: 6+5+7 bits `%2F`, then 5+6+6 bits `tmp`.
const HUFFMAN_BITS_PERCENT_2F_TMP: &str = "010101 00010 1100011 01001 101001 101011";
const HUFFMAN_BITS_LOCALHOST: &str = "101000 00111 00100 00011 101000 100111 00111 01000 01001";

fn huffman(bits: &str) -> Vec<u8> {
    let mut bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    bits.resize(bits.len().next_multiple_of(8), 1);
    bits.chunks(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

fn text(huffman: bool, bytes: &[u8]) -> Vec<u8> {
    let flag = if huffman { 0x80 } else { 0 };
    assert!(bytes.len() < 127, "one length byte is enough for these tests");
    [&[flag | bytes.len() as u8], bytes].concat()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(kind, flags, [0, 0, 0, stream], &[payload], &mut out);
    out
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[]), frames.concat()].concat()
}

fn repaired(input: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut repair, mut out, mut rest) = (Repair::default(), Vec::new(), input);
    for cut in cuts {
        let (now, later) = rest.split_at((*cut).min(rest.len()));
        repair.push(now, &mut out);
        rest = later;
    }
    repair.push(rest, &mut out);
    repair.give_up(&mut out);
    out
}

/// One HEADERS frame with this block comes out with that block.
fn check_block(block: &[u8], expected: &[u8]) {
    let input = connection(&[frame(HEADERS, END_HEADERS, 1, block)]);
    assert_eq!(repaired(&input, &[]), connection(&[frame(HEADERS, END_HEADERS, 1, expected)]), "{block:02x?}");
}

#[test]
fn every_form_of_the_literal_is_repaired() {
    let localhost = text(false, b"localhost");
    for first in [0x41, 0x01, 0x11] {
        // Name by index, value plain.
        check_block(&[&[first][..], &text(false, SOCKET)].concat(), &[&[first][..], &localhost].concat());
    }
    for first in [0x40, 0x00, 0x10] {
        for name in [text(false, b":authority"), text(true, AUTHORITY_IN_HUFFMAN)] {
            let head = [&[first][..], &name].concat();
            check_block(&[&head[..], &text(false, SOCKET)].concat(), &[&head[..], &localhost].concat());
            let coded = text(true, &huffman(HUFFMAN_BITS_PERCENT_2F_TMP));
            // Six characters: the replacement is no longer than that.
            check_block(&[&head[..], &coded].concat(), &[&head[..], &text(false, b"localh")].concat());
        }
    }
}

const AUTHORITY_IN_HUFFMAN: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

#[test]
fn fields_around_it_stay() {
    let (before, after) = ([0x83, 0x86].to_vec(), [&[0x40][..], &text(false, b"te"), &text(false, b"a%2Fb")].concat());
    let block = |value: &[u8]| [&before[..], &[0x41], &text(false, value), &after].concat();
    check_block(&block(SOCKET), &block(b"localhost"));
}

#[test]
fn what_needs_no_repair_is_untouched() {
    check_block(&[&[0x41][..], &text(false, b"localhost:7777")].concat(), &[&[0x41][..], &text(false, b"localhost:7777")].concat());
    let coded = [&[0x41][..], &text(true, &huffman(HUFFMAN_BITS_LOCALHOST))].concat();
    check_block(&coded, &coded);
    let other = [&[0x44][..], &text(false, b"/cloudquery.plugin.v3.Plugin/Init")].concat();
    check_block(&other, &other);
}

#[test]
fn a_name_in_the_dynamic_table_is_known() {
    let first = [&[0x40][..], &text(false, b":authority"), &text(false, SOCKET)].concat();
    let second = [&[0x40][..], &text(false, b"x"), &text(false, b"y")].concat();
    // 62 is `x`, the newest; 63 is the authority.
    let by_index = |value: &[u8]| [&[0x7f, 0x00][..], &text(false, value), &[0x0f, 0x30], &text(false, value)].concat();
    let input = connection(&[frame(HEADERS, END_HEADERS, 1, &[&first[..], &second, &by_index(b"%2Fa")].concat())]);
    let want_first = [&[0x40][..], &text(false, b":authority"), &text(false, b"localhost")].concat();
    // The first reference (index 63 with indexing) is repaired; it is then the newest itself, so 63 is `x`.
    let want_index = [&[0x7f, 0x00][..], &text(false, b"loca"), &[0x0f, 0x30], &text(false, b"%2Fa")].concat();
    let expected = connection(&[frame(HEADERS, END_HEADERS, 1, &[&want_first[..], &second, &want_index].concat())]);
    assert_eq!(repaired(&input, &[]), expected);
}

#[test]
fn padding_goes_and_priority_stays() {
    let block = [&[0x41][..], &text(false, SOCKET)].concat();
    let padded = [&[3][..], &[0, 0, 0, 0, 7], &block, &[0, 0, 0]].concat();
    let input = connection(&[frame(HEADERS, END_HEADERS | PADDED | PRIORITY | END_STREAM, 1, &padded)]);
    let want = [&[0, 0, 0, 0, 7, 0x41][..], &text(false, b"localhost")].concat();
    assert_eq!(repaired(&input, &[]), connection(&[frame(HEADERS, END_HEADERS | PRIORITY | END_STREAM, 1, &want)]));
}

#[test]
fn continuations_are_joined() {
    let block = [&[0x83, 0x41][..], &text(false, SOCKET), &[0x86]].concat();
    let (a, rest) = block.split_at(7);
    let (b, c) = rest.split_at(1);
    let input = connection(&[frame(HEADERS, END_STREAM, 1, a), frame(CONTINUATION, 0, 1, b), frame(CONTINUATION, END_HEADERS, 1, c)]);
    let want = [&[0x83, 0x41][..], &text(false, b"localhost"), &[0x86]].concat();
    assert_eq!(repaired(&input, &[]), connection(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &want)]));
}

#[test]
fn a_block_beyond_the_bound_passes_as_it_is() {
    let field = [&[0x41][..], &text(false, SOCKET)].concat();
    let check = |block_bytes: usize, changed: bool| {
        let mut block = field.clone();
        block.resize(block_bytes, 0x86);
        let input = connection(&[frame(HEADERS, END_HEADERS, 1, &block)]);
        assert_eq!(repaired(&input, &[]) != input, changed, "{block_bytes}");
    };
    check(MAX_BLOCK_BYTES - FRAME_HEADER_BYTES, true);
    check(MAX_BLOCK_BYTES - FRAME_HEADER_BYTES + 1, false);
}

#[test]
fn broken_sequences_pass_as_they_are() {
    let block = [&[0x41][..], &text(false, SOCKET)].concat();
    let truncated = [0x41, 0x7f];
    for frames in [
        vec![frame(CONTINUATION, END_HEADERS, 1, &block)],
        vec![frame(HEADERS, 0, 1, &block), frame(DATA, 0, 1, b"x")],
        vec![frame(HEADERS, 0, 1, &block), frame(CONTINUATION, END_HEADERS, 3, &[])],
        vec![frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 1, 2])],
        vec![frame(HEADERS, END_HEADERS, 1, &truncated)],
        vec![frame(HEADERS, END_HEADERS, 1, &[0x41, 0x84, 0xff, 0xff, 0xff, 0xff])],
    ] {
        let input = connection(&[frames, vec![frame(HEADERS, END_HEADERS, 5, &block)]].concat());
        assert_eq!(repaired(&input, &[]), input);
    }
    assert_eq!(repaired(b"GET / HTTP/1.1\r\nhost: %2F\r\n\r\n", &[]), b"GET / HTTP/1.1\r\nhost: %2F\r\n\r\n");
}

/// A request's frames before and after repair.
fn requests() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let one = (any::<bool>(), any::<bool>(), 0_u8..20, proptest::collection::vec(any::<u8>(), 0..300));
    proptest::collection::vec(one, 0..8).prop_map(|requests| {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (at, (is_path, padded, padding, data)) in requests.into_iter().enumerate() {
            let stream = u8::try_from(2 * at + 1).expect("few");
            let block = |value: &[u8]| [&[0x83, 0x41][..], &text(false, value), &[0x86]].concat();
            let value = if is_path { SOCKET } else { b"localhost:1" };
            let want = if is_path { b"localhost".as_slice() } else { value };
            let sent = [&[padding][..], &block(value), &vec![0; padding.into()]].concat();
            let head = if padded {
                frame(HEADERS, END_HEADERS | PADDED, stream, &sent)
            } else {
                frame(HEADERS, END_HEADERS, stream, &block(value))
            };
            after.push(if is_path { frame(HEADERS, END_HEADERS, stream, &block(want)) } else { head.clone() });
            before.push(head);
            for side in [&mut before, &mut after] {
                side.push(frame(DATA, END_STREAM, stream, &data));
            }
        }
        (connection(&before), connection(&after))
    })
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same((input, expected) in requests(), cuts in proptest::collection::vec(0_usize..60, 0..80)) {
        prop_assert_eq!(repaired(&input, &cuts), expected);
    }

    #[test]
    fn a_broken_connection_is_the_same_in_any_chunking(
        (input, _) in requests(),
        changes in proptest::collection::vec((0_u8..4, any::<proptest::sample::Index>(), any::<u8>(), 0_usize..40), 1..8),
        cuts in proptest::collection::vec(0_usize..60, 0..80),
    ) {
        let mut input = input;
        for (change, at, byte, length) in changes {
            // The preface stays: without it nothing is looked at.
            let at = PREFACE.len() + at.index(input.len() - PREFACE.len() + 1);
            let to = (at + length).min(input.len());
            match change {
                0 => input.insert(at, byte),
                1 => drop(input.drain(at..to)),
                2 => input = [&input[..to], &input[at..]].concat(),
                _ if at < input.len() => input[at] = byte,
                _ => {}
            }
        }
        prop_assert_eq!(repaired(&input, &cuts), repaired(&input, &[]));
    }

    #[test]
    fn garbage_never_panics(input in proptest::collection::vec(any::<u8>(), 0..400), cuts in proptest::collection::vec(0_usize..40, 0..20)) {
        let whole = repaired(&input, &[]);
        prop_assert_eq!(repaired(&input, &cuts), whole);
        let framed = connection(&[frame(HEADERS, END_HEADERS, 1, &input), input.clone()]);
        let whole = repaired(&framed, &[]);
        prop_assert_eq!(&repaired(&framed, &cuts), &whole);
        prop_assert!(whole.len() <= framed.len());
    }
}

/// What a Go client sends to ask for the versions, on a unix socket.
fn captured_request() -> Vec<u8> {
    let literal = |name: &[u8], value: &[u8]| [&[0x40][..], &text(false, name), &text(false, value)].concat();
    let block = [
        vec![0x83, 0x86],
        [&[0x44][..], &text(false, b"/cloudquery.discovery.v1.Discovery/GetVersions")].concat(),
        [&[0x41][..], &text(false, SOCKET)].concat(),
        [&[0x5f][..], &text(false, b"application/grpc")].concat(),
        literal(b"user-agent", b"grpc-go/1.83.0"),
        literal(b"te", b"trailers"),
    ];
    let mut out = connection(&[frame(HEADERS, END_HEADERS, 1, &block.concat()), frame(DATA, END_STREAM, 1, &[0; 5])]);
    // The second request finds the authority in the dynamic table: newest first te, user-agent, content-type, authority, path.
    out.extend(frame(HEADERS, END_HEADERS, 3, &[0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]));
    out.extend(frame(DATA, END_STREAM, 3, &[0; 5]));
    out
}

/// The frames of an answer: kind and payload of each on a stream.
async fn answers(mut socket: impl tokio::io::AsyncRead + Unpin, streams: usize) -> Vec<(u8, u8, Vec<u8>)> {
    let (mut frames, mut ended) = (Vec::new(), 0);
    while ended < streams {
        let mut head = [0; FRAME_HEADER_BYTES];
        socket.read_exact(&mut head).await.expect("a frame");
        let header = FrameHeader::at(&head, 0).expect("nine bytes");
        let mut payload = vec![0; header.length];
        socket.read_exact(&mut payload).await.expect("its payload");
        // RST_STREAM, or the end of a stream by DATA or HEADERS.
        ended += usize::from(header.kind == 3 || (header.kind <= HEADERS && header.has(END_STREAM)));
        frames.push((header.kind, header.stream[3], payload));
    }
    frames
}

async fn served(repair: bool) -> Vec<(u8, u8, Vec<u8>)> {
    let (mut client, socket) = tokio::net::UnixStream::pair().expect("a pair");
    let stop = CancellationToken::new();
    let server = Server::new(crate::server::service::compiling(|| anyhow::bail!("not needed")), stop.clone());
    let slots = ConnectionSlots::new(1, stop.clone(), false);
    let serving = Serving::new(&server, stop.clone());
    if repair {
        serving.all(futures::stream::iter(slots.admit(super::repaired(socket)))).await;
    } else {
        serving.all(futures::stream::iter(slots.admit(socket))).await;
    }
    client.write_all(&captured_request()).await.expect("sent");
    let frames = tokio::time::timeout(Duration::from_secs(20), answers(&mut client, 2)).await.expect("answered in time");
    stop.cancel();
    frames
}

#[tokio::test]
async fn a_go_client_on_a_unix_socket_gets_its_answer() {
    let frames = served(true).await;
    for stream in [1, 3] {
        // Uncompressed, three bytes: field 1, packed, one varint of 3.
        assert!(frames.contains(&(DATA, stream, vec![0, 0, 0, 0, 3, 0x0a, 1, 3])), "{frames:?}");
    }
}

#[tokio::test]
async fn without_the_repair_it_would_not() {
    let frames = served(false).await;
    assert!(frames.iter().all(|(kind, ..)| *kind != DATA), "{frames:?}");
}

/// Frames cost nothing to send: what is looked at and held for them is bounded, too.
#[test]
fn a_block_of_many_frames_passes_as_it_is() {
    let block = |value: &[u8]| [&[0x83, 0x41][..], &text(false, value)].concat();
    let sent = |empty: usize| {
        let more = vec![frame(CONTINUATION, 0, 1, &[]); empty];
        connection(&[vec![frame(HEADERS, END_STREAM, 1, &block(SOCKET))], more, vec![frame(CONTINUATION, END_HEADERS, 1, &[])]].concat())
    };
    let joined = connection(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(b"localhost"))]);
    assert_eq!(repaired(&sent(MAX_BLOCK_FRAMES - 2), &[]), joined);
    for empty in [MAX_BLOCK_FRAMES - 1, MAX_BLOCK_FRAMES, 7_000] {
        assert_eq!(repaired(&sent(empty), &[]), sent(empty), "{empty}");
    }
    let (mut repair, mut out) = (Repair::default(), Vec::new());
    sent(7_000).chunks(FRAME_HEADER_BYTES).take(MAX_BLOCK_FRAMES + 10).for_each(|piece| repair.push(piece, &mut out));
    assert_eq!((repair.state, repair.held.len()), (State::Raw, 0));
}
