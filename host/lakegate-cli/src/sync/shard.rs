//! The `--shard N/M` option: one of several equal shares of a source.

use std::str::FromStr;

/// One of several equal shares of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// The number of the share, from 1.
    pub number: i32,
    /// The number of shares.
    pub total: i32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a share; write N/M with 1 <= N <= M");
        let (number, total) = text.split_once('/').ok_or_else(refused)?;
        let (number, total): (i32, i32) = (number.parse().map_err(|_| refused())?, total.parse().map_err(|_| refused())?);
        if number >= 1 && number <= total { Ok(Self { number, total }) } else { Err(refused()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards() {
        assert_eq!("2/3".parse(), Ok(Shard { number: 2, total: 3 }));
        for text in ["", "1", "0/1", "2/1", "a/b", "1/", "-1/2", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
