//! What a target asks of every object: headers that a put has in common with the creation of a multipart upload.

use crate::storage::target::StorageTarget;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption};

/// See the module.
pub(super) struct ObjectOptions {
    acl: Option<ObjectCannedAcl>,
    encryption: Option<ServerSideEncryption>,
    kms_key_id: Option<String>,
}

/// Two builders of the SDK with the same methods and no trait for them.
macro_rules! with_options {
    ($request:expr, $options:expr) => {
        $request
            .set_acl($options.acl.clone())
            .set_server_side_encryption($options.encryption.clone())
            .set_ssekms_key_id($options.kms_key_id.clone())
    };
}

impl ObjectOptions {
    pub(super) fn from_target(target: &StorageTarget) -> Self {
        let encryption = target.encryption.as_ref();
        Self {
            acl: target.acl.as_deref().map(ObjectCannedAcl::from),
            encryption: encryption.map(|encryption| encryption.algorithm.as_str().into()),
            kms_key_id: encryption.and_then(|encryption| encryption.kms_key_id.clone()).filter(|id| !id.is_empty()),
        }
    }

    /// The texts of a target that become headers, by their fields in a spec: they are checked before the SDK sees them.
    pub(super) fn texts(target: &StorageTarget) -> [(&'static str, Option<&String>); 3] {
        let encryption = target.encryption.as_ref();
        [
            ("acl", target.acl.as_ref()),
            ("server_side_encryption", encryption.map(|it| &it.algorithm)),
            ("sse_kms_key_id", encryption.and_then(|it| it.kms_key_id.as_ref())),
        ]
    }

    pub(super) fn on_put(&self, request: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        with_options!(request, self)
    }

    pub(super) fn on_create(&self, request: CreateMultipartUploadFluentBuilder) -> CreateMultipartUploadFluentBuilder {
        with_options!(request, self)
    }
}
