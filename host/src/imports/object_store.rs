//! `lakegate:destination/object-store`: the one way out. The host believes nothing: key, type, size and moment are checked again.

use super::State;
use crate::bindings::lakegate::destination::object_store::{Host, HostUpload, ObjectAttributes, PutError};
use crate::limits::{MAX_CHUNK_BYTES, MAX_OPEN_OBJECTS};
use crate::upload::Upload;
use wasmtime::component::Resource;

impl Host for State {}

impl HostUpload for State {
    async fn open(&mut self, attributes: ObjectAttributes) -> wasmtime::Result<Result<Resource<Upload>, PutError>> {
        if self.open_objects >= MAX_OPEN_OBJECTS {
            return Ok(Err(PutError::Quota(format!("{MAX_OPEN_OBJECTS} objects are open, which is the limit of a lane"))));
        }
        let (Some(outlet), Some(call)) = (&self.context.outlet, &self.call) else {
            return Ok(Err(PutError::Invalid("an object can be opened only while rows or a schema are handed in".into())));
        };
        if let Err(error) = self.slot.aside(outlet.turn(&call.table, &call.ledger)).await {
            return Ok(Err(error));
        }
        let upload = match outlet.open(&attributes, call, self.context.lane) {
            Ok(upload) => upload,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match self.resources.push(upload) {
            Ok(resource) => {
                self.open_objects += 1;
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
        Ok(slot.aside(self.resources.get_mut(&this)?.write(chunk.into())).await)
    }

    async fn finish(&mut self, this: Resource<Upload>, rows: u64) -> wasmtime::Result<Result<(), PutError>> {
        let upload = self.resources.delete(this)?;
        self.open_objects -= 1;
        Ok(upload.finish(rows))
    }

    async fn drop(&mut self, this: Resource<Upload>) -> wasmtime::Result<()> {
        self.resources.delete(this)?;
        self.open_objects -= 1;
        Ok(())
    }
}
