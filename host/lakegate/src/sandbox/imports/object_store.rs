//! `lakegate:destination/object-store`: the one way out. The host believes nothing: key, type, size and moment are checked again.

use crate::cpu::scheduler::GuestSlot;
use crate::delivery::context::UploadContext;
use crate::delivery::upload::{TableCall, Upload};
use crate::delivery::watch::Rotation;
use crate::limits::{MAX_CHUNK_BYTES, MAX_OPEN_OBJECTS, MAX_RESOURCES};
use crate::sandbox::bindings::lakegate::destination::object_store::{Host, HostUpload, ObjectAttributes, ObjectFacts, PutError};
use std::sync::Arc;
use wasmtime::component::{Resource, ResourceTable};

/// The view of the object store: the session's uploads, and what the instance has open.
#[derive(Debug)]
pub(crate) struct ObjectStore {
    /// [`None`] for an instance that only checks a spec.
    uploads: Option<Arc<UploadContext>>,
    lane: usize,
    slot: GuestSlot,
    handles: ResourceTable,
    open: u32,
    call: Option<TableCall>,
    /// Why objects end that are finished in the call.
    ends: Option<Rotation>,
}

impl ObjectStore {
    pub(crate) fn new(uploads: Option<Arc<UploadContext>>, lane: usize, slot: GuestSlot) -> Self {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(MAX_RESOURCES);
        Self { uploads, lane, slot, handles, open: 0, call: None, ends: None }
    }

    /// A call begins: objects that it opens belong to the table of `call`; without one it opens none.
    pub(crate) fn begin_call(&mut self, call: Option<TableCall>, ends: Option<Rotation>) {
        (self.call, self.ends) = (call, ends);
    }

    /// Objects that the guest has open.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// The tables of the open objects; some more than once.
    pub(crate) fn tables(&mut self) -> Vec<Arc<str>> {
        self.handles.iter_mut().filter_map(|entry| entry.downcast_ref::<Upload>().map(Upload::table)).collect()
    }

    /// Whether nobody waits for the session any more.
    pub(crate) fn is_left(&self) -> bool {
        self.uploads.as_ref().is_some_and(|uploads| uploads.is_left())
    }
}

impl Host for ObjectStore {}

impl HostUpload for ObjectStore {
    async fn open(&mut self, attributes: ObjectAttributes) -> wasmtime::Result<Result<Resource<Upload>, PutError>> {
        if self.open >= MAX_OPEN_OBJECTS {
            return Ok(Err(PutError::Quota(format!("{MAX_OPEN_OBJECTS} objects are open, which is the limit of a lane"))));
        }
        let (Some(uploads), Some(call)) = (&self.uploads, &self.call) else {
            return Ok(Err(PutError::Invalid("an object can be opened only while rows or a schema are handed in".into())));
        };
        if let Err(error) = self.slot.without_permit(uploads.wait_to_open(&call.table, &call.ledger)).await {
            return Ok(Err(error.into()));
        }
        let upload = match Upload::open(uploads, &attributes.into(), call, self.lane) {
            Ok(upload) => upload,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(match self.handles.push(upload) {
            Ok(resource) => {
                self.open += 1;
                Ok(resource)
            }
            Err(error) => Err(PutError::Quota(error.to_string())),
        })
    }

    async fn write(&mut self, this: Resource<Upload>, chunk: Vec<u8>) -> wasmtime::Result<Result<(), PutError>> {
        if chunk.is_empty() || chunk.len() > MAX_CHUNK_BYTES {
            return Ok(Err(PutError::Invalid(format!("a chunk has {} bytes; 1 to {MAX_CHUNK_BYTES} are accepted", chunk.len()))));
        }
        let slot = self.slot.clone();
        Ok(slot.without_permit(self.handles.get_mut(&this)?.write(chunk.into())).await.map_err(Into::into))
    }

    async fn finish(&mut self, this: Resource<Upload>, facts: ObjectFacts) -> wasmtime::Result<Result<(), PutError>> {
        let upload = self.handles.delete(this)?;
        self.open -= 1;
        upload.ends(self.ends);
        Ok(upload.finish(facts.into()).map_err(Into::into))
    }

    async fn drop(&mut self, this: Resource<Upload>) -> wasmtime::Result<()> {
        self.handles.delete(this)?;
        self.open -= 1;
        Ok(())
    }
}
