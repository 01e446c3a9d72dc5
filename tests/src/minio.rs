//! A live S3 store: a MinIO process on a free loopback port, or the store that `S3_ENDPOINT` names.

use std::path::PathBuf;

use base64::Engine as _;

use crate::process::{self, Server, on_path};
use crate::python::Python;
use crate::s3::Store;
use crate::tiers::{Unavailable, repository};

const ACCESS_KEY: &str = "lakegate-test";
const SECRET_KEY: &str = "lakegate-test-secret";

/// Names the endpoint of a store that runs already; its keys come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
pub const ENDPOINT_VARIABLE: &str = "S3_ENDPOINT";

/// Starts a MinIO, or takes the store of [`ENDPOINT_VARIABLE`].
///
/// # Errors
/// There is no `minio`: `tests/setup.sh` builds one.
pub async fn start() -> Result<Store, Unavailable> {
    if let Ok(endpoint) = std::env::var(ENDPOINT_VARIABLE) {
        let variable = |name: &str| std::env::var(name).map_err(|_| Unavailable(format!("{ENDPOINT_VARIABLE} is set, {name} is not")));
        return Ok(Store::new(endpoint, variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?));
    }
    own(&[]).await
}

/// A MinIO of the test's own, with nothing in it.
///
/// # Errors
/// As [`start`].
pub async fn empty() -> Result<Store, Unavailable> {
    own(&[]).await
}

/// The name of the key that [`with_user`]'s store encrypts with.
pub const KMS_KEY: &str = "lakegate-test-key";

/// A MinIO of the test's own that encrypts when asked to, and a user of it who may do everything with objects, by access and secret key. The
/// owner of a MinIO cannot assume roles; a user can.
///
/// # Errors
/// There is no `minio`, or no Python to make the user with: `tests/setup.sh` sets up both.
pub async fn with_user() -> Result<(Store, [&'static str; 2]), Unavailable> {
    let python = Python::find()?;
    let secret = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    let store = own(&[("MINIO_KMS_SECRET_KEY", &format!("{KMS_KEY}:{secret}"))]).await?;
    let host = store.endpoint.trim_start_matches("http://").to_owned();
    let arguments = [host.as_str(), ACCESS_KEY, SECRET_KEY, USER[0], USER[1]];
    python.run(MAKE_USER, arguments).await.map_err(|error| Unavailable(format!("no user can be made: {error:#}")))?;
    Ok((store, USER))
}

/// A MinIO of the test's own, and a user of it who may put objects and abort uploads, and do nothing else.
///
/// # Errors
/// As [`with_user`].
pub async fn with_writer() -> Result<(Store, [&'static str; 2]), Unavailable> {
    let python = Python::find()?;
    let store = own(&[]).await?;
    let host = store.endpoint.trim_start_matches("http://").to_owned();
    let arguments = [host.as_str(), ACCESS_KEY, SECRET_KEY, USER[0], USER[1], WRITE_ONLY];
    python.run(MAKE_USER, arguments).await.map_err(|error| Unavailable(format!("no user can be made: {error:#}")))?;
    Ok((store, USER))
}

/// A MinIO of the test's own, and a user for each of these policies (JSON), who may do what it says and nothing else: by access and secret key.
///
/// # Errors
/// As [`with_user`].
pub async fn with_policies(policies: &[String]) -> Result<(Store, Vec<[String; 2]>), Unavailable> {
    let python = Python::find()?;
    let store = own(&[]).await?;
    let host = store.endpoint.trim_start_matches("http://").to_owned();
    let users: Vec<[String; 2]> = (0..policies.len()).map(|number| USER.map(|text| format!("{text}-{number}"))).collect();
    let mut arguments = vec![host, ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()];
    arguments.extend(users.iter().zip(policies).flat_map(|([user, secret], policy)| [user.clone(), secret.clone(), policy.clone()]));
    let made = python.run(MAKE_USERS, arguments.iter().map(String::as_str)).await;
    made.map_err(|error| Unavailable(format!("no users can be made: {error:#}")))?;
    Ok((store, users))
}

const WRITE_ONLY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource": ["arn:aws:s3:::*"]}]}"#;

const USER: [&str; 2] = ["lakegate-user", "lakegate-user-secret"];

/// MinIO's admin protocol uses its own encryption, which MinIO's Python library supports.
const MAKE_USER: &str = "
import json, sys
from minio import MinioAdmin
from minio.credentials import StaticProvider
host, owner, secret, user, user_secret, *policy = sys.argv[1:]
admin = MinioAdmin(endpoint=host, credentials=StaticProvider(owner, secret), secure=False)
admin.user_add(access_key=user, secret_key=user_secret)
for text in policy:
    admin.policy_add(policy_name='own', policy=json.loads(text))
admin.policy_set(policy_name='own' if policy else 'readwrite', user=user)
";

/// As [`MAKE_USER`], with users of policies of their own.
const MAKE_USERS: &str = "
import json, sys
from minio import MinioAdmin
from minio.credentials import StaticProvider
host, owner, secret, *users = sys.argv[1:]
admin = MinioAdmin(endpoint=host, credentials=StaticProvider(owner, secret), secure=False)
for user, user_secret, policy in zip(users[::3], users[1::3], users[2::3]):
    admin.user_add(access_key=user, secret_key=user_secret)
    admin.policy_add(policy_name=user, policy=json.loads(policy))
    admin.policy_set(policy_name=user, user=user)
";

async fn own(environment: &[(&str, &str)]) -> Result<Store, Unavailable> {
    let program =
        program().ok_or_else(|| Unavailable("no `minio` on the PATH or in target/tools/bin (tests/setup.sh builds it)".to_owned()))?;
    let server: Server = process::start(&program, |command, address, data| {
        command
            .arg("server")
            .arg("--quiet")
            .arg("--address")
            .arg(address.to_string())
            .arg("--console-address")
            .arg("127.0.0.1:0")
            .arg(data);
        command.env("MINIO_ROOT_USER", ACCESS_KEY).env("MINIO_ROOT_PASSWORD", SECRET_KEY).env("MINIO_BROWSER", "off");
        command.env("MINIO_CALLHOME_ENABLE", "off").env("MINIO_UPDATE", "off").envs(environment.iter().copied());
    })
    .await?;
    let mut store = Store::new(format!("http://{}", server.address), ACCESS_KEY.to_owned(), SECRET_KEY.to_owned());
    store.ready().await.map_err(|error| Unavailable(format!("MinIO does not answer: {error}")))?;
    store.keep(server);
    Ok(store)
}

fn program() -> Option<PathBuf> {
    let built = repository().join("target/tools/bin/minio");
    on_path("minio").or_else(|| built.is_file().then_some(built))
}
