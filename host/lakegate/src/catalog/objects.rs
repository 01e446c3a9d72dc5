//! The metadata of tables through a session's way out, as any record of a commit.

use super::TableObjects;
use crate::delivery::context::{RecordError, UploadContext};
use crate::storage::object::{ObjectKey, Purpose, PutObject};
use crate::store::answer::{StoreError, StoreErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// See [`TableObjects`].
#[derive(Debug, Clone)]
pub(crate) struct SessionObjects(pub(crate) Arc<UploadContext>);

#[async_trait]
impl TableObjects for SessionObjects {
    async fn create(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), StoreError> {
        let put = PutObject::parse(key, content_type).map_err(|error| invalid(error.0))?.with_purpose(Purpose::Record);
        match self.0.put_record(put, bytes.into()).await {
            Ok(_) | Err(RecordError::Exists) => Ok(()),
            Err(RecordError::Failed { failure, kind }) => Err(StoreError { kind, message: failure.message }),
        }
    }

    async fn read(&self, key: &str, most_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        let key = ObjectKey::parse(key).map_err(|error| invalid(error.0))?;
        self.0.read_record(key, most_bytes).await
    }
}

fn invalid(message: String) -> StoreError {
    StoreError { kind: StoreErrorKind::Rejected, message }
}
