//! The S3 operations, each a translation: from S3's words to the folder's and back. The protocol itself (routes, XML, signatures, framing)
//! is the `s3s` crate's; what an operation does is in [`super::disk`] and [`super::multipart`].

use std::collections::BTreeMap;
use std::io::SeekFrom;
use std::sync::Arc;

use lakegate_base::hex::{from_hex, to_hex};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::disk::{COPY_BYTES, Disk, Listed, Overwrite, Page, check_key, modified};
use super::error::io_error;
use super::multipart::{CompletedPart as ClaimedPart, Completion, MAX_PARTS};
use super::receive::{Claims, Received};
use super::record::{Attributes, ObjectRecord, UploadRecord, from_unix_nanos, recorded_headers, unix_nanos};

/// The most lines of one listing, as in S3.
const MAX_PAGE: i32 = 1000;

/// The most bytes of user metadata, names and values together, as in S3.
const MAX_METADATA_BYTES: usize = 2048;

/// Answers S3 requests from a folder.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) disk: Arc<Disk>,
    pub(super) min_part_bytes: u64,
    /// Are its clients in this process? What they leave unfinished is then of no use to anybody after it.
    pub(super) in_process: bool,
}

impl Service {
    /// Runs `work`, which blocks on the file system, off the async threads.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Disk) -> S3Result<T> + Send + 'static) -> S3Result<T> {
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || work(&disk))
            .await
            .unwrap_or_else(|error| Err(s3_error!(InternalError, "The request was not carried out: {error}.")))
    }

    async fn require_bucket(&self, bucket: &str) -> S3Result<()> {
        let bucket = bucket.to_owned();
        self.blocking(move |disk| disk.require_bucket(&bucket)).await
    }
}

/// The checksum fields that many of S3's messages have, as a map by algorithm, and back.
macro_rules! checksums_of {
    ($message:expr) => {
        [
            ("crc32", $message.checksum_crc32.take()),
            ("crc32c", $message.checksum_crc32c.take()),
            ("crc64nvme", $message.checksum_crc64nvme.take()),
            ("sha1", $message.checksum_sha1.take()),
            ("sha256", $message.checksum_sha256.take()),
        ]
        .into_iter()
        .filter_map(|(algorithm, sum)| Some((algorithm, sum?)))
        .collect::<BTreeMap<&'static str, String>>()
    };
}

macro_rules! set_checksums {
    ($message:expr, $checksums:expr) => {
        $message.checksum_crc32 = $checksums.get("crc32").cloned();
        $message.checksum_crc32c = $checksums.get("crc32c").cloned();
        $message.checksum_crc64nvme = $checksums.get("crc64nvme").cloned();
        $message.checksum_sha1 = $checksums.get("sha1").cloned();
        $message.checksum_sha256 = $checksums.get("sha256").cloned();
    };
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = req.input.bucket;
        let location = Some(format!("/{bucket}"));
        match self.blocking(move |disk| disk.create_bucket(&bucket).map_err(io_error)).await? {
            true => Ok(S3Response::new(CreateBucketOutput { location })),
            false => Err(s3_error!(BucketAlreadyOwnedByYou)),
        }
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.require_bucket(&req.input.bucket).await?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(&self, req: S3Request<GetBucketLocationInput>) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.require_bucket(&req.input.bucket).await?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn delete_bucket(&self, req: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.blocking(move |disk| disk.delete_bucket(&req.input.bucket)).await?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let buckets = self.blocking(|disk| disk.buckets().map_err(io_error)).await?;
        let buckets = buckets
            .into_iter()
            .map(|(name, created)| Bucket { name: Some(name), creation_date: Some(created.into()), ..Bucket::default() })
            .collect();
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), ..ListBucketsOutput::default() }))
    }

    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let headers = recorded_headers(&req.headers);
        let input = &mut req.input;
        check_key(&input.key)?;
        self.require_bucket(&input.bucket).await?;
        let attributes = Attributes {
            content_type: input.content_type.clone(),
            content_encoding: content_encoding(input.content_encoding.take()),
            acl: known_acl(input.acl.take())?,
            server_side_encryption: known_encryption(input.server_side_encryption.take())?,
            kms_key_id: input.ssekms_key_id.take(),
            storage_class: input.storage_class.take().map(|class| class.as_str().to_owned()),
            metadata: user_metadata(input.metadata.take())?,
            request_headers: headers,
        };
        let overwrite = overwrite(input.if_none_match.take())?;
        let claims = Claims {
            content_md5: input.content_md5.take(),
            length: length(input.content_length),
            checksums: checksums_of!(input),
            announced: announced(&req.headers),
        };
        let received = Received::read(self.disk.temp_folder(), req.input.body.take(), claims, trailer(req.trailing_headers)).await?;
        let (bucket, key) = (req.input.bucket, req.input.key);
        let record = self
            .blocking(move |disk| {
                let Received { file, size, md5, checksums } = received;
                let record = ObjectRecord { key, size, etag: to_hex(&md5), modified_unix_nanos: 0, attributes, checksums };
                disk.put(&bucket, file, record, overwrite)
            })
            .await?;
        let mut output = PutObjectOutput {
            e_tag: Some(ETag::Strong(record.etag)),
            server_side_encryption: record.attributes.server_side_encryption.map(ServerSideEncryption::from),
            ssekms_key_id: record.attributes.kms_key_id,
            ..PutObjectOutput::default()
        };
        set_checksums!(output, record.checksums);
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let HeadObjectInput { bucket, key, .. } = req.input;
        let record = self
            .blocking(move |disk| {
                disk.require_bucket(&bucket)?;
                disk.head(&bucket, &key)
            })
            .await?
            .ok_or_else(|| s3_error!(NoSuchKey))?;
        let mut output = HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed(record.size)),
            last_modified: Some(modified(&record).into()),
            e_tag: Some(ETag::Strong(record.etag)),
            content_type: record.attributes.content_type,
            content_encoding: record.attributes.content_encoding,
            metadata: Some(record.attributes.metadata.into_iter().collect()),
            server_side_encryption: record.attributes.server_side_encryption.map(ServerSideEncryption::from),
            ssekms_key_id: record.attributes.kms_key_id,
            storage_class: record.attributes.storage_class.map(StorageClass::from),
            ..HeadObjectOutput::default()
        };
        if req.input.checksum_mode.is_some() {
            set_checksums!(output, record.checksums);
        }
        Ok(S3Response::new(output))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, checksum_mode, .. } = req.input;
        let (record, file) = self
            .blocking(move |disk| {
                disk.require_bucket(&bucket)?;
                disk.open_object(&bucket, &key)
            })
            .await?
            .ok_or_else(|| s3_error!(NoSuchKey))?;
        let bytes = range.map_or(Ok(0..record.size), |range| range.check(record.size))?;
        let mut file = tokio::fs::File::from_std(file);
        file.seek(SeekFrom::Start(bytes.start)).await.map_err(io_error)?;
        let mut output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(stream(file, bytes.end - bytes.start)),
            content_length: Some(signed(bytes.end - bytes.start)),
            content_range: range.map(|_| format!("bytes {}-{}/{}", bytes.start, bytes.end.saturating_sub(1), record.size)),
            last_modified: Some(modified(&record).into()),
            e_tag: Some(ETag::Strong(record.etag)),
            content_type: record.attributes.content_type,
            content_encoding: record.attributes.content_encoding,
            metadata: Some(record.attributes.metadata.into_iter().collect()),
            server_side_encryption: record.attributes.server_side_encryption.map(ServerSideEncryption::from),
            ssekms_key_id: record.attributes.kms_key_id,
            storage_class: record.attributes.storage_class.map(StorageClass::from),
            ..GetObjectOutput::default()
        };
        // A client would hold the checksum of the whole against a part of it.
        if checksum_mode.is_some() && range.is_none() {
            set_checksums!(output, record.checksums);
        }
        Ok(S3Response::new(output))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.blocking(move |disk| {
            disk.require_bucket(&req.input.bucket)?;
            disk.delete(&req.input.bucket, &req.input.key)
        })
        .await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        let deleted = self
            .blocking(move |disk| {
                disk.require_bucket(&bucket)?;
                delete
                    .objects
                    .into_iter()
                    .map(|object| {
                        disk.delete(&bucket, &object.key)?;
                        Ok(DeletedObject { key: Some(object.key), ..DeletedObject::default() })
                    })
                    .collect::<S3Result<Vec<_>>>()
            })
            .await?;
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let max_keys = input.max_keys.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE);
        let limit = usize::try_from(max_keys).unwrap_or_default();
        let token = match &input.continuation_token {
            Some(token) => unhex_text(token).ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))?,
            None => String::new(),
        };
        let (bucket, prefix) = (input.bucket.clone(), input.prefix.clone().unwrap_or_default());
        let (delimiter, start_after) = (input.delimiter.clone().unwrap_or_default(), input.start_after.clone().unwrap_or_default());
        let mut lines = self
            .blocking(move |disk| {
                disk.require_bucket(&bucket)?;
                // One more than asked for shows whether there is more.
                disk.list(
                    &bucket,
                    &Page { prefix: &prefix, delimiter: &delimiter, start_after: &start_after, token: &token, limit: limit + 1 },
                )
            })
            .await?;
        let truncated = limit > 0 && lines.len() > limit;
        lines.truncate(limit);
        let next_token = lines.last().filter(|_| truncated).map(|line| match line {
            Listed::Object(record) => to_hex(record.key.as_bytes()),
            Listed::Prefix(prefix) => to_hex(prefix.as_bytes()),
        });
        let encode = encoder(input.encoding_type.as_ref());
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for line in lines {
            match line {
                Listed::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(encode(&prefix)) }),
                Listed::Object(record) => objects.push(Object {
                    key: Some(encode(&record.key)),
                    size: Some(signed(record.size)),
                    last_modified: Some(modified(&record).into()),
                    e_tag: Some(ETag::Strong(record.etag)),
                    ..Object::default()
                }),
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix.as_deref().map(encode),
            delimiter: input.delimiter.as_deref().map(encode),
            start_after: input.start_after.as_deref().map(encode),
            max_keys: Some(max_keys),
            key_count: i32::try_from(objects.len() + prefixes.len()).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(truncated),
            next_continuation_token: next_token,
            contents: Some(objects),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        mut req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let headers = recorded_headers(&req.headers);
        let input = &mut req.input;
        let record = UploadRecord {
            key: input.key.clone(),
            initiated_unix_nanos: unix_nanos(lakegate_base::clock::now()),
            owner: self.in_process.then(|| self.disk.session_name().to_owned()),
            checksum_algorithm: input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_owned()),
            checksum_type: input.checksum_type.as_ref().map(|kind| kind.as_str().to_owned()),
            attributes: Attributes {
                content_type: input.content_type.clone(),
                content_encoding: content_encoding(input.content_encoding.take()),
                acl: known_acl(input.acl.take())?,
                server_side_encryption: known_encryption(input.server_side_encryption.take())?,
                kms_key_id: input.ssekms_key_id.take(),
                storage_class: input.storage_class.take().map(|class| class.as_str().to_owned()),
                metadata: user_metadata(input.metadata.take())?,
                request_headers: headers,
            },
        };
        let mut output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            checksum_algorithm: input.checksum_algorithm.take(),
            checksum_type: input.checksum_type.take(),
            server_side_encryption: record.attributes.server_side_encryption.clone().map(ServerSideEncryption::from),
            ssekms_key_id: record.attributes.kms_key_id.clone(),
            ..CreateMultipartUploadOutput::default()
        };
        let bucket = req.input.bucket;
        output.upload_id = Some(self.blocking(move |disk| disk.create_upload(&bucket, &record)).await?);
        Ok(S3Response::new(output))
    }

    async fn upload_part(&self, mut req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = &mut req.input;
        let number = part_number(input.part_number)?;
        let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let upload = self.blocking(move |disk| disk.upload(&bucket, &key, &id)).await?;
        let claims = Claims {
            content_md5: input.content_md5.take(),
            length: length(input.content_length),
            checksums: checksums_of!(input),
            announced: announced(&req.headers).or(upload.checksum_algorithm),
        };
        let received = Received::read(self.disk.temp_folder(), req.input.body.take(), claims, trailer(req.trailing_headers)).await?;
        let UploadPartInput { bucket, key, upload_id, .. } = req.input;
        let part = self.blocking(move |disk| disk.put_part(&bucket, &key, &upload_id, number, received)).await?;
        let mut output = UploadPartOutput {
            e_tag: Some(ETag::Strong(part.etag)),
            server_side_encryption: upload.attributes.server_side_encryption.map(ServerSideEncryption::from),
            ssekms_key_id: upload.attributes.kms_key_id,
            ..UploadPartOutput::default()
        };
        set_checksums!(output, part.checksums);
        Ok(S3Response::new(output))
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let parts = self.blocking(move |disk| disk.parts(&bucket, &key, &id)).await?;
        let max_parts = input.max_parts.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE);
        let marker = input.part_number_marker.unwrap_or_default();
        let after = u32::try_from(marker).unwrap_or_default();
        let limit = usize::try_from(max_parts).unwrap_or_default();
        let remaining = parts.range(after.saturating_add(1)..).count();
        let page: Vec<Part> = parts
            .range(after.saturating_add(1)..)
            .take(limit)
            .map(|(number, record)| {
                let mut part = Part {
                    part_number: i32::try_from(*number).ok(),
                    size: Some(signed(record.size)),
                    e_tag: Some(ETag::Strong(record.etag.clone())),
                    last_modified: Some(from_unix_nanos(record.modified_unix_nanos).into()),
                    ..Part::default()
                };
                set_checksums!(part, record.checksums);
                part
            })
            .collect();
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(max_parts),
            part_number_marker: Some(marker),
            is_truncated: Some(remaining > page.len()),
            next_part_number_marker: page.last().and_then(|part| part.part_number),
            parts: Some(page),
            ..ListPartsOutput::default()
        }))
    }

    async fn list_multipart_uploads(&self, req: S3Request<ListMultipartUploadsInput>) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        let (bucket, prefix) = (input.bucket.clone(), input.prefix.clone().unwrap_or_default());
        let uploads = self
            .blocking(move |disk| {
                disk.require_bucket(&bucket)?;
                disk.uploads(&bucket, &prefix)
            })
            .await?;
        let max_uploads = input.max_uploads.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE);
        let limit = usize::try_from(max_uploads).unwrap_or_default();
        let (key_marker, id_marker) = (input.key_marker.as_deref().unwrap_or(""), input.upload_id_marker.as_deref());
        let mut rest: Vec<_> = uploads
            .into_iter()
            .filter(|upload| {
                let key = upload.record.key.as_str();
                key > key_marker || (key == key_marker && id_marker.is_some_and(|marker| upload.id.as_str() > marker))
            })
            .collect();
        let truncated = limit > 0 && rest.len() > limit;
        rest.truncate(limit);
        let encode = encoder(input.encoding_type.as_ref());
        let last = rest.last().filter(|_| truncated);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix.as_deref().map(encode),
            key_marker: input.key_marker.as_deref().map(encode),
            upload_id_marker: input.upload_id_marker.clone(),
            max_uploads: Some(max_uploads),
            is_truncated: Some(truncated),
            next_key_marker: last.map(|upload| encode(&upload.record.key)),
            next_upload_id_marker: last.map(|upload| upload.id.clone()),
            uploads: Some(
                rest.into_iter()
                    .map(|upload| MultipartUpload {
                        key: Some(encode(&upload.record.key)),
                        initiated: Some(from_unix_nanos(upload.record.initiated_unix_nanos).into()),
                        upload_id: Some(upload.id),
                        ..MultipartUpload::default()
                    })
                    .collect(),
            ),
            encoding_type: input.encoding_type,
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = &mut req.input;
        let mut parts = Vec::new();
        for mut part in input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default() {
            parts.push(ClaimedPart {
                number: part_number(part.part_number.unwrap_or_default())?,
                etag: part.e_tag.take().map(|etag| etag.value().to_owned()).unwrap_or_default(),
                checksums: checksums_of!(part),
            });
        }
        let completion = Completion {
            parts,
            size: length(input.mpu_object_size),
            checksums: checksums_of!(input),
            overwrite: overwrite(input.if_none_match.take())?,
        };
        let CompleteMultipartUploadInput { bucket, key, upload_id, .. } = req.input;
        let mut output = CompleteMultipartUploadOutput {
            bucket: Some(bucket.clone()),
            key: Some(key.clone()),
            location: Some(format!("/{bucket}/{key}")),
            ..CompleteMultipartUploadOutput::default()
        };
        let min_part_bytes = self.min_part_bytes;
        let record = self.blocking(move |disk| disk.complete_upload(&bucket, &key, &upload_id, &completion, min_part_bytes)).await?;
        output.e_tag = Some(ETag::Strong(record.etag));
        output.server_side_encryption = record.attributes.server_side_encryption.map(ServerSideEncryption::from);
        output.ssekms_key_id = record.attributes.kms_key_id;
        set_checksums!(output, record.checksums);
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(&self, req: S3Request<AbortMultipartUploadInput>) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = req.input;
        self.blocking(move |disk| disk.abort_upload(&bucket, &key, &upload_id)).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

/// `length` bytes of `file`, a piece at a time.
fn stream(file: tokio::fs::File, length: u64) -> StreamingBlob {
    StreamingBlob::wrap(futures::stream::try_unfold((file.take(length), length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut chunk = bytes::BytesMut::with_capacity(COPY_BYTES);
        if file.read_buf(&mut chunk).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        }
        let left = left.saturating_sub(chunk.len() as u64);
        Ok::<_, std::io::Error>(Some((chunk.freeze(), (file, left))))
    }))
}

fn overwrite(if_none_match: Option<ETagCondition>) -> S3Result<Overwrite> {
    match if_none_match {
        None => Ok(Overwrite::Allowed),
        Some(ETagCondition::Any) => Ok(Overwrite::Refused),
        // As S3 itself: only the star has a meaning for a write.
        Some(ETagCondition::ETag(_)) => Err(s3_error!(NotImplemented, "If-None-Match of a write must be *.")),
    }
}

fn known_acl(acl: Option<ObjectCannedACL>) -> S3Result<Option<String>> {
    const KNOWN: [&str; 7] = [
        ObjectCannedACL::AUTHENTICATED_READ,
        ObjectCannedACL::AWS_EXEC_READ,
        ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL,
        ObjectCannedACL::BUCKET_OWNER_READ,
        ObjectCannedACL::PRIVATE,
        ObjectCannedACL::PUBLIC_READ,
        ObjectCannedACL::PUBLIC_READ_WRITE,
    ];
    known("x-amz-acl", acl.map(|acl| acl.as_str().to_owned()), &KNOWN)
}

fn known_encryption(encryption: Option<ServerSideEncryption>) -> S3Result<Option<String>> {
    const KNOWN: [&str; 3] = [ServerSideEncryption::AES256, ServerSideEncryption::AWS_KMS, ServerSideEncryption::AWS_KMS_DSSE];
    known("x-amz-server-side-encryption", encryption.map(|encryption| encryption.as_str().to_owned()), &KNOWN)
}

fn known(header: &str, value: Option<String>, known: &[&str]) -> S3Result<Option<String>> {
    match value {
        Some(value) if !known.contains(&value.as_str()) => {
            Err(s3_error!(InvalidArgument, "The value of {header} is not one of {}.", known.join(", ")))
        }
        value => Ok(value),
    }
}

fn user_metadata(metadata: Option<Metadata>) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<String, String> = metadata.unwrap_or_default().into_iter().collect();
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_METADATA_BYTES {
        return Err(s3_error!(MetadataTooLarge));
    }
    Ok(metadata)
}

/// `aws-chunked` is the framing of one request, not a property of the object.
fn content_encoding(encoding: Option<String>) -> Option<String> {
    let kept: Vec<String> =
        encoding?.split(',').map(|one| one.trim().to_owned()).filter(|one| one != "aws-chunked" && !one.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The checksum that a request announces without giving it in a header: one in the trailer, or one that the store is to take.
fn announced(headers: &http::HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    text("x-amz-trailer")
        .and_then(|name| name.strip_prefix("x-amz-checksum-").map(str::to_owned))
        .or_else(|| text("x-amz-sdk-checksum-algorithm"))
}

/// Looks up a checksum in the trailer, which is there once the body has been read.
fn trailer(headers: Option<TrailingHeaders>) -> impl Fn(&str) -> Option<String> {
    move |name| headers.as_ref()?.read(|headers| headers.get(name)?.to_str().ok().map(str::to_owned))?
}

fn length(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

/// A size as the protocol's messages carry it.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=MAX_PARTS).contains(number))
        .ok_or_else(|| s3_error!(InvalidArgument, "Part number must be an integer between 1 and {MAX_PARTS}, inclusive"))
}

/// How keys are written into a listing: as they are, or percent-encoded when the client asks for it.
fn encoder(encoding: Option<&EncodingType>) -> fn(&str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    match encoding {
        Some(encoding) if encoding.as_str() == EncodingType::URL => |key| percent_encoding::utf8_percent_encode(key, KEPT).to_string(),
        _ => str::to_owned,
    }
}

fn unhex_text(token: &str) -> Option<String> {
    String::from_utf8(from_hex(token)?).ok()
}
