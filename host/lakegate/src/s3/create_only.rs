//! Puts and completions that replace nothing: the requests that [`CreateOnly`] decides on.

use super::bucket::{Bucket, random_token};
use super::digest::Digest;
use super::failure::{Failure, RetryClass};
use super::object_options::TOKEN_KEY;
use super::retry::Attempt;
use crate::payload::body::Payload;
use crate::storage::checksum::Checksum;
use crate::storage::object::{OnExisting, PutObject};
use crate::store::answer::{ObjectInfo, Part, StoreError, StoreErrorKind, Stored};
use crate::store::create_only::{Answer, Cause, CreateOnly, Outcome, Seen, Step};
use async_trait::async_trait;
use lakegate_base::hex::{from_hex, to_hex};
use md5::{Digest as _, Md5};

/// What the bytes of an object are known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    bytes: u64,
    /// As a store shows it.
    checksum: Option<Checksum>,
    /// As a store names it that takes the MD5 of the bytes.
    etag: Option<String>,
}

impl Identity {
    /// Of an object made of parts: its checksum by theirs, and the MD5 of their MD5s, with their number.
    pub(super) fn of_parts(bytes: u64, parts: &[Part]) -> Self {
        let checksum = Checksum::of_parts(parts.iter().map(|part| (part.checksum.as_ref(), part.bytes)));
        let md5s = parts.iter().map(|part| from_hex(part.etag.trim_matches('"'))).collect::<Option<Vec<_>>>();
        let etag = md5s.map(|md5s| format!("{}-{}", to_hex(&Md5::digest(md5s.concat())), parts.len()));
        Self { bytes, checksum, etag }
    }

    /// Whether an object is the one with our token, or has the same bytes.
    fn compare(&self, theirs: &ObjectInfo, token: &str) -> Seen {
        let same_size = theirs.bytes == Some(self.bytes);
        if same_size && theirs.metadata.get(TOKEN_KEY).is_some_and(|theirs| theirs == token) {
            return Seen::Ours;
        }
        if theirs.bytes.is_some() && !same_size {
            return Seen::Different;
        }
        // Sums of parts are only comparable with sums of as many parts.
        let comparable = |ours: &str, theirs: &str| ours.split_once('-').map(|it| it.1) == theirs.split_once('-').map(|it| it.1);
        let sums = self.checksum.as_ref().and_then(|ours| Some((ours.value.as_str(), theirs.checksums.get(&ours.algorithm)?.as_str())));
        let sums = sums.filter(|(ours, theirs)| comparable(ours, theirs));
        let theirs_etag = theirs.etag.trim_matches('"');
        let etags = self.etag.as_deref().map(|ours| (ours, theirs_etag)).filter(|(ours, theirs)| comparable(ours, theirs));
        let is_md5 =
            !theirs.is_kms_encrypted && from_hex(theirs_etag.split('-').next().unwrap_or_default()).is_some_and(|it| it.len() == 16);
        match sums.or(etags.filter(|_| is_md5)).filter(|_| same_size) {
            Some((ours, theirs)) if ours == theirs => Seen::Equal,
            Some(_) => Seen::Different,
            None => Seen::Incomparable,
        }
    }
}

/// One request that creates.
enum Request<'a> {
    Put { body: &'a Payload, digest: &'a Digest },
    Complete(&'a dyn Completion),
}

impl Request<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "PutObject",
            Self::Complete(_) => "CompleteMultipartUpload",
        }
    }

    /// [`None`] if the store takes it but names nothing that it could be known by.
    async fn send(&self, creation: &Creation<'_>, attempt: &Attempt) -> Result<Option<Stored>, Failure> {
        match self {
            Self::Put { body, digest } => creation.bucket.try_put(creation.put, body, digest, Some(creation.token), attempt).await,
            Self::Complete(completion) => completion.send(attempt).await.map(Some),
        }
    }
}

/// An object that is being created.
struct Creation<'a> {
    bucket: &'a Bucket,
    put: &'a PutObject,
    token: &'a String,
    identity: Identity,
    request: Request<'a>,
}

/// Puts a whole object where there is none.
pub(super) async fn put(bucket: &Bucket, put: &PutObject, body: &Payload, on_existing: OnExisting) -> Result<Stored, StoreError> {
    let digest = bucket.digest("PutObject", body).await?;
    let token = random_token()?;
    let identity = Identity { bytes: body.length(), checksum: digest.checksum().cloned(), etag: None };
    let request = Request::Put { body, digest: &digest };
    Creation { bucket, put, token: &token, identity, request }.run(CreateOnly::put(on_existing)).await
}

/// The last request of an upload.
#[async_trait]
pub(super) trait Completion: Send + Sync {
    /// Sends it.
    async fn send(&self, attempt: &Attempt) -> Result<Stored, Failure>;
}

/// Completes an upload where there is no object. `decisions` are those of a completion.
pub(super) async fn complete(
    bucket: &Bucket,
    (put, token): (&PutObject, &String),
    completion: &dyn Completion,
    identity: Identity,
    decisions: CreateOnly,
) -> Result<Stored, StoreError> {
    Creation { bucket, put, token, identity, request: Request::Complete(completion) }.run(decisions).await
}

impl Creation<'_> {
    async fn run(&self, mut decisions: CreateOnly) -> Result<Stored, StoreError> {
        let operation = self.request.name();
        let mut course = self.bucket.retry.course();
        let mut step = Step::Send;
        let mut etag = String::new();
        let mut last = None;
        loop {
            step = match step {
                Step::Send => match self.request.send(self, &course.attempt()).await {
                    Ok(Some(stored)) => {
                        etag = stored.etag;
                        decisions.answered(Answer::Created, true)
                    }
                    Ok(None) => decisions.answered(Answer::Unclear, false),
                    Err(mut failure) => {
                        let answer = answer_of(&failure);
                        if failure.is_conflict() {
                            // What was in the way is soon over.
                            failure.class = RetryClass::Transient;
                        }
                        let paused = course.pause(operation, failure).await;
                        let again = paused.is_ok();
                        last = paused.err().or(last);
                        decisions.answered(answer, again)
                    }
                },
                Step::Look => {
                    let found = self.bucket.find(self.put.key.as_str()).await;
                    let seen = match &found {
                        Ok(Some(info)) => self.compare(info).await?,
                        Ok(None) => Seen::Nothing,
                        Err(error) if error.kind == StoreErrorKind::Denied => Seen::Forbidden,
                        Err(_) => Seen::Unclear,
                    };
                    if let Ok(Some(info)) = found {
                        etag = info.etag;
                    }
                    let gone = Failure::transient("the key had an object, which was gone when it was looked at");
                    let again = seen == Seen::Nothing
                        && match course.pause(operation, gone).await {
                            Ok(()) => true,
                            Err(error) => {
                                last.get_or_insert(error);
                                false
                            }
                        };
                    decisions.looked(seen, again)
                }
                Step::Done(outcome) => {
                    let checksum = self.identity.checksum.clone();
                    return Ok(Stored { etag, checksum, was_there: outcome == Outcome::WasThere });
                }
                Step::Fail(cause) => return Err(error(operation, cause, last)),
            }
        }
    }

    /// The MD5 is taken only if the store shows nothing else.
    async fn compare(&self, theirs: &ObjectInfo) -> Result<Seen, StoreError> {
        let seen = self.identity.compare(theirs, self.token);
        match &self.request {
            Request::Put { body, .. } if seen == Seen::Incomparable => {
                let md5 = body.md5().await.map_err(|error| StoreError {
                    kind: StoreErrorKind::Unavailable,
                    message: format!("the spill file cannot be read: {error}"),
                })?;
                Ok(Identity { etag: Some(to_hex(&md5)), ..self.identity.clone() }.compare(theirs, self.token))
            }
            _ => Ok(seen),
        }
    }
}

/// What a failed attempt says.
fn answer_of(failure: &Failure) -> Answer {
    if failure.is_precondition() {
        return Answer::Exists;
    }
    if failure.is("NoSuchUpload") {
        return Answer::NoSuchUpload;
    }
    if failure.is_conflict() {
        return Answer::Postponed;
    }
    match failure.class {
        RetryClass::Final => Answer::Refused,
        RetryClass::Transient | RetryClass::Throttled | RetryClass::Doubtful | RetryClass::Lost => Answer::Unclear,
        RetryClass::Unreachable | RetryClass::Credentials | RetryClass::Clock(_) | RetryClass::Redirected(_) => Answer::Postponed,
    }
}

fn error(operation: &str, cause: Cause, last: Option<StoreError>) -> StoreError {
    let kind = match cause {
        Cause::LastAnswer => {
            let message = || format!("operation error S3: {operation}, {}", cause.message());
            return last.unwrap_or_else(|| StoreError { kind: StoreErrorKind::Unavailable, message: message() });
        }
        Cause::Taken | Cause::Different | Cause::Incomparable => StoreErrorKind::Exists,
        Cause::Forbidden => StoreErrorKind::Denied,
        Cause::Unknown => StoreErrorKind::Unknown,
    };
    let after = last.filter(|_| cause == Cause::Unknown).map(|last| format!(" ({})", last.message)).unwrap_or_default();
    StoreError { kind, message: format!("operation error S3: {operation}, {}{after}", cause.message()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::checksum::{ChecksumAlgorithm, Hasher};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn part(bytes: &[u8], number: u32) -> Part {
        let mut hasher = Hasher::new(ChecksumAlgorithm::Crc32);
        hasher.update(bytes);
        let etag = format!("\"{}\"", to_hex(&Md5::digest(bytes)));
        Part { number, bytes: bytes.len() as u64, etag, checksum: Some(hasher.finish()) }
    }

    fn info(bytes: u64, crc32: Option<&str>, etag: &str, token: Option<&str>) -> ObjectInfo {
        let metadata = token.map(|token| (TOKEN_KEY.to_owned(), token.to_owned())).into_iter().collect();
        let checksums = crc32.map(|sum| (ChecksumAlgorithm::Crc32, sum.to_owned())).into_iter().collect();
        ObjectInfo { bytes: Some(bytes), checksums, etag: etag.to_owned(), metadata, ..ObjectInfo::default() }
    }

    /// What S3 answers for an object of the parts `a` and `bc`.
    #[test]
    fn parts_are_known_by_the_sums_of_their_sums() {
        let identity = Identity::of_parts(3, &[part(b"a", 1), part(b"bc", 2)]);
        let sums = [crc32fast::hash(b"a").to_be_bytes(), crc32fast::hash(b"bc").to_be_bytes()].concat();
        let expected = format!("{}-2", STANDARD.encode(crc32fast::hash(&sums).to_be_bytes()));
        assert_eq!(identity.checksum.as_ref().map(|sum| sum.value.clone()), Some(expected));
        assert!(identity.etag.as_ref().is_some_and(|etag| etag.ends_with("-2") && etag.len() == 34), "{identity:?}");
        let nameless = Identity::of_parts(1, &[Part { checksum: None, etag: "opaque".into(), ..part(b"a", 1) }]);
        assert_eq!((nameless.checksum, nameless.etag), (None, None));
    }

    #[test]
    fn an_object_is_ours_equal_different_or_not_to_be_compared() {
        let (etag, other) = ("900150983cd24fb0d6963f7d28e17f72", "00000000000000000000000000000000");
        let sum = |algorithm| Some(Checksum { algorithm, value: "abc=".into() });
        let ours = Identity { bytes: 3, checksum: sum(ChecksumAlgorithm::Crc32), etag: None };
        let other_sum = Identity { checksum: sum(ChecksumAlgorithm::Sha256), ..ours.clone() };
        let by_md5 = Identity { checksum: None, etag: Some(etag.into()), ..ours.clone() };
        let check = |identity: &Identity, theirs: &ObjectInfo, expected| assert_eq!(identity.compare(theirs, "t"), expected, "{theirs:?}");
        check(&ours, &info(3, None, "", Some("t")), Seen::Ours);
        check(&ours, &info(4, None, "", Some("t")), Seen::Different);
        check(&ours, &info(3, Some("abc="), "", Some("u")), Seen::Equal);
        check(&ours, &info(3, Some("xyz="), "", None), Seen::Different);
        check(&ours, &info(4, Some("abc="), "", None), Seen::Different);
        check(&ours, &info(3, Some("abc=-2"), "", None), Seen::Incomparable);
        check(&other_sum, &info(3, Some("xyz="), "", None), Seen::Incomparable);
        check(&ours, &info(3, None, etag, None), Seen::Incomparable);
        check(&by_md5, &info(3, None, &format!("\"{etag}\""), None), Seen::Equal);
        check(&by_md5, &info(3, None, other, None), Seen::Different);
        check(&by_md5, &info(3, None, &format!("{other}-1"), None), Seen::Incomparable);
        check(&by_md5, &info(3, None, "opaque", None), Seen::Incomparable);
        check(&by_md5, &ObjectInfo { is_kms_encrypted: true, ..info(3, None, other, None) }, Seen::Incomparable);
        check(&by_md5, &ObjectInfo { bytes: None, ..info(3, None, etag, None) }, Seen::Incomparable);
    }
}
