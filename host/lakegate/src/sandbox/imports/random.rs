//! `wasi:random/random`: the operating system's randomness, or a reproducible stream for tests and `load --seed`.

use crate::limits::MAX_RANDOM_BYTES;
use crate::sandbox::bindings::wasi::random::random::Host;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// Where random bytes come from.
#[derive(Debug)]
pub(crate) enum Random {
    System,
    /// SHA-256 of seed, lane, instance and a counter: no two lanes or instances make equal UUIDs.
    Seeded {
        seed: [u64; 3],
        counter: u64,
        ready: VecDeque<u8>,
    },
}

impl Random {
    pub(crate) fn new(seed: Option<u64>, lane: u64, instance: u64) -> Self {
        seed.map_or(Self::System, |seed| Self::Seeded { seed: [seed, lane, instance], counter: 0, ready: VecDeque::new() })
    }

    fn fill(&mut self, length: usize) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::System => {
                let mut bytes = vec![0; length];
                getrandom::fill(&mut bytes).map_err(|error| wasmtime::Error::msg(format!("no randomness: {error}")))?;
                Ok(bytes)
            }
            Self::Seeded { seed, counter, ready } => {
                while ready.len() < length {
                    let mut hash = Sha256::new();
                    for word in seed.iter().chain([&*counter]) {
                        hash.update(word.to_le_bytes());
                    }
                    *counter += 1;
                    ready.extend(hash.finalize());
                }
                Ok(ready.drain(..length).collect())
            }
        }
    }
}

impl Host for Random {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        if length > MAX_RANDOM_BYTES {
            return Err(wasmtime::Error::msg(format!(
                "{length} random bytes were asked for; at most {MAX_RANDOM_BYTES} are given at once"
            )));
        }
        self.fill(length as usize)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        let bytes = self.fill(8)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64, lane: u64, instance: u64) -> Vec<u8> {
        Random::new(Some(seed), lane, instance).fill(40).unwrap()
    }

    #[test]
    fn a_seed_is_reproducible_and_lanes_and_instances_differ() {
        assert_eq!(stream(1, 2, 3), stream(1, 2, 3));
        assert_ne!(stream(1, 2, 3), stream(1, 3, 3));
        assert_ne!(stream(1, 2, 3), stream(1, 2, 4));
        assert_ne!(stream(1, 2, 3), stream(2, 2, 3));
    }

    #[test]
    fn the_stream_goes_on_across_calls() {
        let mut random = Random::new(Some(7), 0, 0);
        let pieces = [random.fill(13).unwrap(), random.fill(27).unwrap()].concat();
        assert_eq!(pieces, stream(7, 0, 0));
    }
}
