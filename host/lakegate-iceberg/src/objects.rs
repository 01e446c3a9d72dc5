//! Where manifests and manifest lists are put, and read again: a trait of two methods, and an implementation in memory.

use crate::error::{Error, ErrorKind};
use crate::location::Location;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

/// The objects of a bucket, as far as a commit needs them.
///
/// The name of every object has the digest of its content. So what is there already is what was to be written, and to write it again does no harm.
#[async_trait]
pub trait Objects: Debug + Send + Sync {
    /// Creates an object, and succeeds if it is there already. It is there, whole, when this returns.
    ///
    /// # Errors
    /// [`Error`]: `Unavailable` if another try may help.
    async fn create(&self, location: &Location, bytes: Bytes) -> Result<(), Error>;

    /// Reads an object of at most so many bytes. [`None`]: there is none.
    ///
    /// # Errors
    /// [`Error`]: `Unavailable` if another try may help, `Rejected` if it is larger.
    async fn read(&self, location: &Location, most_bytes: u64) -> Result<Option<Bytes>, Error>;
}

/// Objects in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryObjects(Mutex<BTreeMap<String, Bytes>>);

impl MemoryObjects {
    /// The locations of all objects.
    pub fn locations(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn create(&self, location: &Location, bytes: Bytes) -> Result<(), Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(location.as_str().to_owned()).or_insert(bytes);
        Ok(())
    }

    async fn read(&self, location: &Location, most_bytes: u64) -> Result<Option<Bytes>, Error> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(location.as_str()).cloned();
        match found {
            Some(bytes) if bytes.len() as u64 > most_bytes => Err(too_large(location, most_bytes)),
            found => Ok(found),
        }
    }
}

/// The error for an object that is larger than what is read of it.
pub(crate) fn too_large(location: &Location, most_bytes: u64) -> Error {
    Error::new(ErrorKind::Rejected, format!("the object {location} has more than {most_bytes} bytes"))
}
