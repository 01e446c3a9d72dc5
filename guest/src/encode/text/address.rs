//! UUIDs, hardware addresses and networks as text.

use super::append::push_word;
use super::digits::push_int;
use super::drain::ValueError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(byte: u8) -> [u8; 2] {
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Appends a UUID's 36 characters.
pub(crate) fn push_uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    let Ok(bytes) = <&[u8; 16]>::try_from(bytes) else { return };
    let hex = |at: usize, count: usize| {
        bytes[at..at + count].iter().rev().fold(0, |word, &byte| word << 16 | u64::from(u16::from_le_bytes(hex(byte))))
    };
    push_word(out, hex(0, 4), 8);
    for (at, count) in [(4, 2), (6, 2), (8, 2), (10, 4)] {
        out.push(b'-');
        push_word(out, hex(at, count), 2 * count);
    }
    push_word(out, hex(14, 2), 4);
}

/// Appends a hardware address: hexadecimal bytes with colons between.
pub(crate) fn push_mac(out: &mut Vec<u8>, bytes: &[u8]) {
    for (at, &byte) in bytes.iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        out.extend_from_slice(&hex(byte));
    }
}

/// The text is not an address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotCidr;

impl From<NotCidr> for ValueError {
    fn from(NotCidr: NotCidr) -> Self {
        Self::Inet
    }
}

/// Appends a network in its canonical form: IPv6 compressed, addresses mapped from IPv4 as IPv4, host bits kept. Nothing is `0.0.0.0/0`.
///
/// # Errors
/// [`NotCidr`]; nothing was appended.
pub(crate) fn push_cidr(out: &mut Vec<u8>, text: &[u8]) -> Result<(), NotCidr> {
    if text.is_empty() {
        out.extend_from_slice(b"0.0.0.0/0");
        return Ok(());
    }
    let slash = memchr::memchr(b'/', text).ok_or(NotCidr)?;
    let (address, length) = (std::str::from_utf8(&text[..slash]).map_err(|_| NotCidr)?, &text[slash + 1..]);
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(NotCidr);
    }
    let length = length.iter().fold(0u32, |sum, &digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    let (address, length) = match address.parse::<IpAddr>().map_err(|_| NotCidr)? {
        IpAddr::V4(address) if length <= 32 => (IpAddr::V4(address), length),
        IpAddr::V6(address) if length <= 128 => match address.to_ipv4_mapped() {
            Some(mapped) => (IpAddr::V4(mapped), length.saturating_sub(96)),
            None => (IpAddr::V6(address), length),
        },
        IpAddr::V4(_) | IpAddr::V6(_) => return Err(NotCidr),
    };
    match address {
        IpAddr::V4(address) => push_v4(out, address),
        IpAddr::V6(address) => push_v6(out, address),
    }
    out.push(b'/');
    push_int(out, length);
    Ok(())
}

fn push_v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        push_int(out, octet);
    }
}

/// The first longest run of two or more zero groups becomes `::`.
fn push_v6(out: &mut Vec<u8>, address: Ipv6Addr) {
    let groups = address.segments();
    let (mut longest, mut run) = (0..0, 0..0);
    for (at, &group) in groups.iter().enumerate() {
        run = match (group, run.end == at && !run.is_empty()) {
            (0, true) => run.start..at + 1,
            (0, false) => at..at + 1,
            _ => continue,
        };
        if run.len() > longest.len().max(1) {
            longest = run.clone();
        }
    }
    let mut at = 0;
    while at < groups.len() {
        if at == longest.start && !longest.is_empty() {
            out.extend_from_slice(b"::");
            at = longest.end;
            continue;
        }
        if at > 0 && at != longest.end {
            out.push(b':');
        }
        let digits = (4 - groups[at].leading_zeros() / 4).max(1);
        for digit in (0..digits).rev() {
            out.push(HEX[usize::from(groups[at] >> (4 * digit) & 15)]);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, NotCidr>) {
        let mut out = Vec::new();
        let result = push_cidr(&mut out, text.as_bytes()).map(|()| String::from_utf8_lossy(&out).into_owned());
        assert_eq!(result.as_deref().map_err(|error| *error), expected);
    }

    #[test]
    fn networks_are_read_and_written_anew() {
        check("1.2.3.4/8", Ok("1.2.3.4/8"));
        check("2001:DB8:0:0:0:0:0:1/64", Ok("2001:db8::1/64"));
        check("::ffff:1.2.3.4/120", Ok("1.2.3.4/24"));
        check("::ffff:1.2.3.4/64", Ok("1.2.3.4/0"));
        check("::/0", Ok("::/0"));
        check("::1/128", Ok("::1/128"));
        check("1::/16", Ok("1::/16"));
        check("1:0:0:2:0:0:0:3/128", Ok("1:0:0:2::3/128"));
        check("1:0:2:3:4:5:6:7/128", Ok("1:0:2:3:4:5:6:7/128"));
        check("1:2:3:4:5:6:7:8/128", Ok("1:2:3:4:5:6:7:8/128"));
        check("fe80:0:0:1::/64", Ok("fe80:0:0:1::/64"));
        check("::1.2.3.4/128", Ok("::102:304/128"));
        check("", Ok("0.0.0.0/0"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "1.2.3.4",
            "1.2.3.4/",
            "1.2.3.4/33",
            "::/129",
            "1.2.3/8",
            "01.2.3.4/8",
            "/8",
            "fe80::1%eth0/64",
            "1.2.3.4/+8",
            "1.2.3.4/99999999999",
        ] {
            check(text, Err(NotCidr));
        }
    }

    #[test]
    fn identifiers_are_lower_case() {
        let mut out = Vec::new();
        push_uuid(&mut out, &[0xAB; 16]);
        push_mac(&mut out, &[0x00, 0x1B, 0xFF]);
        assert_eq!(String::from_utf8_lossy(&out), "abababab-abab-abab-abab-abababababab00:1b:ff");
    }
}
