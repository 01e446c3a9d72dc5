//! What a session needs of a store: a bucket that takes objects whole or in parts. S3 is one, [`MemoryStore`](crate::MemoryStore) another;
//! [`FaultyStore`] makes any of them fail.
//!
//! Implement [`Store`] and [`Multipart`] for the bucket, and [`Connect`] for the way from a target to it; then name it in
//! [`Options::store`](crate::Options::store).

pub(crate) mod answer;
pub(crate) mod create_only;
pub(crate) mod faulty;
pub(crate) mod memory;
pub(crate) mod retries;
pub(crate) mod traits;

pub use self::answer::{ObjectInfo, Part, Stored, UploadHandle};
pub use self::faulty::{Fault, FaultyStore, Operation};
pub use self::memory::MemoryObject;
pub use self::traits::{Connect, MAX_READ_BYTES, Multipart, Store, read_range, read_whole};
pub use crate::payload::body::Payload;
pub use crate::policy::authorize::Authorized;
pub use crate::storage::checksum::{Checksum, ChecksumAlgorithm};
pub use crate::storage::object::{ContentType, IfExists, InvalidObject, ObjectKey, OnExisting, Purpose, PutObject};
