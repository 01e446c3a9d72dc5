//! A live Iceberg catalog: Apache's own REST servlet over SQLite, whose tables lie in a bucket of a live store.

use std::path::PathBuf;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use lakegate_iceberg::{Error, ErrorKind, Location, Objects};

use crate::process::{self, Server, on_path};
use crate::s3::{REGION, Store};
use crate::tiers::{Unavailable, repository};

/// The folder of the catalog's program.
const FOLDER: &str = "target/tools/iceberg-rest";

/// A catalog on a loopback port, stopped when this is dropped.
#[derive(Debug)]
pub struct RestCatalog {
    server: Server,
}

impl RestCatalog {
    /// Starts a catalog whose tables lie in `bucket` of `store`. `keeps_keys`: it says that it keeps idempotency keys, which it does.
    ///
    /// # Errors
    /// There is no Java, or no catalog: `tests/setup.sh` builds one.
    pub async fn start(store: &Store, bucket: &str, keeps_keys: bool) -> Result<Self, Unavailable> {
        let java = on_path("java").ok_or_else(|| Unavailable("no `java` on the PATH".to_owned()))?;
        let folder: PathBuf = repository().join(FOLDER);
        if !folder.join("classes").is_dir() {
            return Err(Unavailable(format!("no {FOLDER} (tests/setup.sh makes it)")));
        }
        let classes = format!("{0}/classes:{0}/lib/*", folder.display());
        let server = process::start(&java, |command, address, data| {
            command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &classes, "org.apache.iceberg.rest.Main"]);
            command.arg(format!("port={}", address.port())).arg(format!("idempotency={keeps_keys}"));
            command.arg(format!("uri=jdbc:sqlite:{}/catalog", data.display())).args(["jdbc.schema-version=V1", "clients=1"]);
            command.arg(format!("warehouse=s3://{bucket}/warehouse")).arg("io-impl=org.apache.iceberg.aws.s3.S3FileIO");
            command.arg(format!("s3.endpoint={}", store.endpoint)).arg("s3.path-style-access=true");
            command.arg(format!("s3.access-key-id={}", store.access_key)).arg(format!("s3.secret-access-key={}", store.secret_key));
            command.arg(format!("client.region={REGION}"));
        })
        .await?;
        Ok(Self { server })
    }

    /// Its address.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("http://{}", self.server.address)
    }
}

/// Metadata files through the AWS SDK.
#[derive(Debug, Clone)]
pub struct S3Objects(pub Client);

#[async_trait]
impl Objects for S3Objects {
    async fn create(&self, location: &Location, bytes: Bytes) -> Result<(), Error> {
        let put = self.0.put_object().bucket(location.bucket()).key(location.key()).if_none_match("*").body(ByteStream::from(bytes));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn read(&self, location: &Location, most_bytes: u64) -> Result<Option<Bytes>, Error> {
        match self.0.get_object().bucket(location.bucket()).key(location.key()).send().await {
            Ok(object) if u64::try_from(object.content_length().unwrap_or_default()).is_ok_and(|bytes| bytes <= most_bytes) => {
                let body =
                    object.body.collect().await.map_err(|error| Error { kind: ErrorKind::Unavailable, message: error.to_string() })?;
                Ok(Some(body.into_bytes()))
            }
            Ok(_) => Err(Error { kind: ErrorKind::Rejected, message: format!("{location} has more than {most_bytes} bytes") }),
            Err(error) if error.code() == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn failed<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Error {
    let kind = if error.code().is_none() { ErrorKind::Unavailable } else { ErrorKind::Rejected };
    Error { kind, message: format!("{:?}: {:?}", error.code(), error.message()) }
}
