//! The way from environment, shared files, spec and the answers of those who give credentials to the first signed request, with inputs that
//! nobody wrote. Whatever they hold: a request, or an error of one line, at once; never a panic, never a secret.
//!
//! The seeds are ways to credentials that work. Each case puts a few words from a list of bad ones somewhere into one of them.
//! `LAKEGATE_PROPERTY_CASES` and `LAKEGATE_PROPERTY_SEED` ask for other cases.

use super::*;
use crate::s3::clock::Clock;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const CASES: u64 = 3_000;

/// An answer out of memory.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn ok() -> Self {
        Self { headers: vec![("etag", "\"e\"".into())], ..Self::new(200, "") }
    }

    fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status.try_into().expect("a status"), SdkBody::from(self.body.clone()));
        for (name, value) in &self.headers {
            // What is no header never leaves a server.
            let _ = response.headers_mut().try_insert(*name, value.clone());
        }
        response
    }
}

/// What is answered to a method and a URL.
type Script = Arc<dyn Fn(&str, &str) -> Answer + Send + Sync>;

/// Where a way to credentials has one of its texts.
type TextOf = fn(&mut Way) -> &mut Option<String>;

/// Stands in for the network: answers by a script, and remembers what was asked.
#[derive(Clone)]
pub(super) struct Memory {
    seen: Arc<Mutex<Vec<String>>>,
    script: Script,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Memory {
    /// `script` gets method and URL.
    pub(super) fn new(script: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        Self { seen: Arc::default(), script: Arc::new(script) }
    }

    pub(super) fn client(&self) -> SharedHttpClient {
        let connector = self.clone();
        http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone()))
    }

    /// Method and URL of each request.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl HttpConnector for Memory {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (method, url) = (request.method().to_owned(), request.uri().to_owned());
        self.seen.lock().expect("no panic").push(format!("{method} {url}"));
        HttpConnectorFuture::ready(Ok((self.script)(&method, &url).response()))
    }
}

/// A way to credentials: all that is read on it.
#[derive(Debug, Clone)]
struct Way {
    variables: Vec<(&'static str, String)>,
    /// Names below the home folder.
    files: Vec<(&'static str, String)>,
    target: StorageTarget,
    /// What comes back from URLs that hold the text.
    answers: Vec<(&'static str, Answer)>,
}

impl Way {
    /// Every text that may be another one.
    fn texts(&mut self) -> Vec<&mut String> {
        let target = &mut self.target;
        let credentials = &mut target.credentials;
        let optional = [
            &mut target.endpoint,
            &mut target.acl,
            &mut target.storage_class,
            &mut target.expected_bucket_owner,
            &mut credentials.profile,
            &mut credentials.role_arn,
            &mut credentials.role_session_name,
            &mut credentials.external_id,
        ];
        let mut texts: Vec<&mut String> = vec![&mut target.bucket, &mut target.region];
        texts.extend(optional.into_iter().flatten());
        if let Some(encryption) = &mut target.encryption {
            texts.push(&mut encryption.algorithm);
            texts.extend(&mut encryption.kms_key_id);
        }
        texts.extend(target.tags.iter_mut().chain(&mut target.metadata).flat_map(|(name, value)| [name, value]));
        texts.extend(target.object_lock.iter_mut().flat_map(|lock| &mut lock.retention).map(|retention| &mut retention.mode));
        texts.extend(self.variables.iter_mut().map(|(_, value)| value));
        texts.extend(self.files.iter_mut().map(|(_, content)| content));
        for (_, answer) in &mut self.answers {
            texts.push(&mut answer.body);
            texts.extend(answer.headers.iter_mut().map(|(_, value)| value));
        }
        texts
    }

    /// Connects and puts an object, at this time; what was asked on the way.
    async fn go(&self, home: &Path, clock: fn() -> SystemTime) -> (Result<Stored, StoreError>, Vec<String>) {
        let path = |name: &str| home.join(name).to_str().expect("a plain name").to_owned();
        for (name, content) in &self.files {
            let file = home.join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("writable");
            std::fs::write(file, content).expect("writable");
        }
        let mut variables = self.variables.clone();
        variables.extend([("HOME", path("")), ("AWS_CONFIG_FILE", path("config")), ("AWS_SHARED_CREDENTIALS_FILE", path("credentials"))]);
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answers = self.answers.clone();
        let memory = Memory::new(move |method, url| {
            let of_store = || if method == "PUT" { Answer::ok() } else { Answer::new(404, "") };
            answers.iter().find(|(part, _)| url.contains(part)).map_or_else(of_store, |(_, answer)| answer.clone())
        });
        let options = ConnectOptions { answers: Some(memory.client()), clock: Clock(clock), ..options(&variables) };
        let outcome = match S3Client::check(&self.target, &options).await {
            Ok(()) => put(&self.target, &options).await,
            Err(error) => Err(error),
        };
        (outcome, memory.seen())
    }
}

const EXPIRES: &str = "2099-01-01T00:00:00Z";
const KEYS_OF_FILE: &str = "aws_access_key_id = AKIDFILE\naws_secret_access_key = canary-secret\naws_session_token = canary-token\n";

fn of_role(action: &str) -> Answer {
    Answer::new(
        200,
        format!(
            "<{action}Response><{action}Result><Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>canary-secret</SecretAccessKey>\
             <SessionToken>canary-token</SessionToken><Expiration>{EXPIRES}</Expiration></Credentials><AssumedRoleUser><Arn>\
             arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>x:s</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>"
        ),
    )
}

fn of_service() -> Answer {
    Answer::new(
        200,
        format!(
            r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIASERVICE","SecretAccessKey":"canary-secret","Token":"canary-token",
                "LastUpdated":"2024-01-01T00:00:00Z","Expiration":"{EXPIRES}"}}"#
        ),
    )
}

/// Every way that leads to a signed request.
fn ways() -> Vec<(&'static str, Way)> {
    let target = || StorageTarget { max_retries: Some(0), ..target("http://store.example:9000/c".into()) };
    let way = |variables: &[(&'static str, &str)], files: &[(&'static str, &str)], answers: Vec<(&'static str, Answer)>| Way {
        variables: variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        files: files.iter().map(|(name, content)| (*name, (*content).to_owned())).collect(),
        target: target(),
        answers,
    };
    let with = |way: Way, change: fn(&mut StorageTarget)| {
        let mut way = way;
        change(&mut way.target);
        way
    };
    let keys = [("AWS_ACCESS_KEY_ID", "AKIDENV"), ("AWS_SECRET_ACCESS_KEY", "canary-secret"), ("AWS_SESSION_TOKEN", "canary-token")];
    let no_instance = ("AWS_EC2_METADATA_DISABLED", "true");
    let of_file = format!("[default]\n{KEYS_OF_FILE}");
    let chained = "[default]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = b\nrole_session_name = s\nexternal_id = e\n";
    let in_file = format!("{chained}[profile b]\n{KEYS_OF_FILE}");
    let twice = format!("{chained}[profile b]\nrole_arn = arn:aws:iam::1:role/b\nsource_profile = c\n[profile c]\n{KEYS_OF_FILE}");
    let by_process =
        r#"printf %s '{"Version":1,"AccessKeyId":"AKIDPROCESS","SecretAccessKey":"canary-secret","SessionToken":"canary-token"}'"#;
    let sso = "sso_session = corp\nsso_account_id = 123456789012\nsso_role_name = writer\n\
               [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://portal.example/start\n";
    // The file that `aws sso login` leaves: named by the SHA-1 of the session's name.
    const CACHED_LOGIN: &str = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
    let login = format!(r#"{{"accessToken":"canary-token","expiresAt":"{EXPIRES}"}}"#);
    let portal = || {
        let body = r#"{"roleCredentials":{"accessKeyId":"ASIASSO","secretAccessKey":"canary-secret","sessionToken":"canary-token","expiration":4070908800000}}"#;
        vec![("/federation/credentials", Answer::new(200, body))]
    };
    let metadata = || {
        let token =
            Answer { headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".into())], ..Answer::new(200, "metadata-token") };
        vec![
            ("/latest/api/token", token),
            ("credentials/role-of-the-instance", of_service()),
            ("security-credentials-extended/role-of-the-instance", of_service()),
            ("security-credentials-extended/", Answer::new(200, "role-of-the-instance")),
            ("security-credentials/", Answer::new(200, "role-of-the-instance")),
            ("sts.", of_role("AssumeRole")),
        ]
    };
    let role = || vec![("sts.", of_role("AssumeRole"))];
    vec![
        ("environment", way(&keys, &[], vec![])),
        (
            "environment, with all that a spec can say",
            with(way(&keys, &[], role()), |target| {
                target.credentials.role_arn = Some("arn:aws:iam::1:role/r".into());
                target.credentials.role_session_name = Some("night".into());
                target.credentials.external_id = Some("ext-7".into());
                target.acl = Some("private".into());
                target.encryption = Some(crate::storage::target::Encryption {
                    algorithm: "aws:kms".into(),
                    kms_key_id: Some("arn:aws:kms:eu-west-1:1:key/k".into()),
                    bucket_key: Some(true),
                });
                target.storage_class = Some("GLACIER_IR".into());
                target.tags = vec![("team".into(), "a b".into())];
                target.metadata = vec![("owner".into(), "me".into())];
                let retention = Some(crate::storage::target::Retention { mode: "COMPLIANCE".into(), days: 7 });
                target.object_lock = Some(crate::storage::target::ObjectLock { retention, legal_hold: true });
                target.expected_bucket_owner = Some("123456789012".into());
                target.requester_pays = true;
            }),
        ),
        ("environment, at AWS", with(way(&keys, &[], vec![]), |target| (target.endpoint, target.path_style) = (None, false))),
        (
            "environment, with proxies and an endpoint",
            with(
                way(
                    &[
                        keys[0],
                        keys[1],
                        ("AWS_ENDPOINT_URL_S3", "http://store.example:9000/c"),
                        ("AWS_ENDPOINT_URL", "http://store.example:9000/c"),
                        ("HTTP_PROXY", "http://user:word@proxy.example:3128"),
                        ("NO_PROXY", "store.example:9000, 10.0.0.0/8"),
                        ("AWS_USE_FIPS_ENDPOINT", "false"),
                        ("AWS_USE_DUALSTACK_ENDPOINT", "false"),
                    ],
                    &[],
                    vec![],
                ),
                |target| target.endpoint = None,
            ),
        ),
        ("shared file", way(&[no_instance], &[("credentials", &of_file)], vec![])),
        (
            "named profile",
            with(way(&keys, &[("config", &format!("[profile p]\n{KEYS_OF_FILE}endpoint_url = http://x.example\n"))], vec![]), |target| {
                target.credentials.profile = Some("p".into());
            }),
        ),
        ("role of a profile", way(&[no_instance], &[("config", &in_file)], role())),
        ("role of a role of a profile", way(&[no_instance], &[("config", &twice)], role())),
        ("role on an instance", way(&[], &[("config", "[default]\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n")], metadata())),
        ("process", way(&[no_instance], &[("config", &format!("[default]\ncredential_process = {by_process}\n"))], vec![])),
        (
            "role by a process",
            way(&[no_instance], &[("config", &format!("{chained}[profile b]\ncredential_process = {by_process}\n"))], role()),
        ),
        ("single sign-on", way(&[no_instance], &[("config", &format!("[default]\n{sso}")), (CACHED_LOGIN, &login)], portal())),
        (
            "container",
            way(
                &[
                    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/creds"),
                    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary-token"),
                ],
                &[],
                vec![("/creds", of_service())],
            ),
        ),
        ("instance", way(&[], &[], metadata())),
    ]
}

/// What nobody should write, and some do.
const WORDS: [&str; 26] = [
    "\n",
    "\r\n",
    "\n  ",
    "\t",
    " ",
    "\u{0}",
    "\u{1}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "é",
    "\u{202e}",
    "\\n",
    "\\u0000",
    "&#10;",
    "&#0;",
    "/",
    "//",
    "?",
    "#",
    "%",
    "%0a",
    "\"",
    "99999999999999999999",
    "18446744073709551615",
    "<html>\n<body>",
];

/// Numbers that follow from a seed: xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or_default() % bound.max(1)
    }
}

fn mutated(way: &Way, numbers: &mut Numbers) -> Way {
    let mut way = way.clone();
    for _ in 0..=numbers.below(2) {
        let mut texts = way.texts();
        let count = texts.len();
        let text = &mut *texts[numbers.below(count)];
        let word = WORDS[numbers.below(WORDS.len())];
        let length = text.len();
        let at = if numbers.below(4) == 0 { length } else { text.floor_char_boundary(numbers.below(length + 1)) };
        match numbers.below(3) {
            0 if !text.is_empty() => *text = word.to_owned(),
            _ => text.insert_str(at, word),
        }
    }
    way
}

/// The clock of tokio moves by itself when all wait, so that no retry takes time; but not while a process is waited for.
fn runtime(way: &Way) -> tokio::runtime::Runtime {
    let has_process = way.files.iter().any(|(_, content)| content.contains("credential_process"));
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(!has_process).build().expect("a runtime")
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn each_way_leads_to_a_signed_request() {
    for (name, way) in ways() {
        let home = tempfile::tempdir().expect("a folder");
        let (outcome, seen) = runtime(&way).block_on(way.go(home.path(), SystemTime::now));
        assert!(outcome.is_ok() && seen.last().is_some_and(|last| last.starts_with("PUT ")), "{name}: {outcome:?} {seen:?}");
    }
}

#[test]
fn no_input_on_the_way_panics_or_is_waited_for() {
    let (seed, cases) = (number("LAKEGATE_PROPERTY_SEED", 1), number("LAKEGATE_PROPERTY_CASES", CASES));
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let ways = ways();
    let (mut stored, mut refused) = (0_u64, 0_u64);
    for case in 0..cases {
        let way = mutated(&ways[numbers.below(ways.len())].1, &mut numbers);
        let home = tempfile::tempdir().expect("a folder");
        let gone = catch_unwind(AssertUnwindSafe(|| runtime(&way).block_on(way.go(home.path(), SystemTime::now))));
        let (outcome, seen) = gone.unwrap_or_else(|_| panic!("case {case} of seed {seed}: {way:?}"));
        match outcome {
            Ok(_) => stored += 1,
            Err(StoreError { message, .. }) => {
                refused += 1;
                assert!(!message.contains(['\n', '\r']) && !message.contains("canary-secret"), "case {case}: {message:?} {way:?}");
                // An attempt that was tried again says so; none of these would be another the next time.
                let puts = seen.iter().filter(|line| line.starts_with("PUT ") && line.contains("a.csv")).count();
                assert!(puts <= 1, "case {case}: {seen:?}");
            }
        }
    }
    assert!(cases < CASES || stored > cases / 20 && refused > cases / 5, "the inputs reach nothing: {stored} stored, {refused} refused");
}

#[test]
fn a_clock_that_is_wrong_by_centuries_panics_nowhere() {
    let clocks: [fn() -> SystemTime; 5] = [
        || UNIX_EPOCH - Duration::from_secs(1),
        || UNIX_EPOCH - Duration::from_secs(1 << 40),
        || UNIX_EPOCH,
        || UNIX_EPOCH + Duration::from_secs(253_402_300_800),
        || UNIX_EPOCH + Duration::from_secs(1 << 55),
    ];
    let mut ways = ways();
    // Its session is named by the time.
    let dir = tempfile::tempdir().expect("a folder");
    let token = dir.path().join("token");
    std::fs::write(&token, "web-token").expect("writable");
    let (_, instance) = ways[ways.len() - 1].clone();
    let mut web = Way { answers: vec![("sts.", of_role("AssumeRoleWithWebIdentity"))], variables: Vec::new(), ..instance.clone() };
    web.variables.push(("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("a plain name").to_owned()));
    web.variables.push(("AWS_ROLE_ARN", "arn:aws:iam::1:role/web".into()));
    ways.push(("web identity", web));
    // Credentials of an instance that have expired are used for some time longer: by a number that is drawn from the time.
    let mut expired = instance;
    for (_, answer) in &mut expired.answers {
        answer.body = answer.body.replace(EXPIRES, "1960-01-01T00:00:00Z");
    }
    ways.push(("instance, expired", expired));
    for (name, way) in ways {
        for (number, clock) in clocks.into_iter().enumerate() {
            let home = tempfile::tempdir().expect("a folder");
            let gone = catch_unwind(AssertUnwindSafe(|| runtime(&way).block_on(way.go(home.path(), clock))));
            let (outcome, _) = gone.unwrap_or_else(|_| panic!("{name}, clock {number}"));
            assert!(outcome.as_ref().err().is_none_or(|error| !error.message.contains('\n')), "{name}, clock {number}: {outcome:?}");
        }
    }
}

/// One line that names the variable or the property, and no request.
#[test]
fn a_line_end_is_told_by_the_name_of_where_it_stands() {
    let all = ways();
    let way = |name: &str| all.iter().find(|(it, _)| *it == name).map(|(_, way)| way.clone()).expect(name);
    let check = |way: Way, words: &str| {
        let home = tempfile::tempdir().expect("a folder");
        let (outcome, seen) = runtime(&way).block_on(way.go(home.path(), SystemTime::now));
        let error = outcome.expect_err(words);
        assert!(error.message.contains(words) && !error.message.contains(['\n', '\r']), "{words}: {error}");
        assert!(!error.message.contains("canary"), "{error}");
        assert!(seen.iter().all(|line| !line.contains("a.csv")), "{seen:?}");
    };
    let with = |name: &str, change: &dyn Fn(&mut Way)| {
        let mut way = way(name);
        change(&mut way);
        way
    };
    for (index, variable) in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].into_iter().enumerate() {
        check(with("environment", &|way| way.variables[index].1.insert(3, '\n')), variable);
        check(with("environment", &|way| way.variables[index].1.insert(3, '\u{7f}')), variable);
    }
    check(with("environment", &|way| way.variables[0].1.push('\n')), "AWS_ACCESS_KEY_ID");
    check(with("environment", &|way| way.variables[0].1.push('é')), "AWS_ACCESS_KEY_ID");
    check(with("environment", &|way| way.target.region.push('\n')), "`region`");
    check(with("environment", &|way| way.target.bucket.push('\n')), "`bucket`");
    check(with("environment", &|way| way.target.credentials.profile = Some("p\n".into())), "`local_profile`");
    let all_of_a_spec = "environment, with all that a spec can say";
    let role: [(TextOf, &str); 6] = [
        (|way| &mut way.target.credentials.role_arn, "`role_arn`"),
        (|way| &mut way.target.credentials.role_session_name, "`role_session_name`"),
        (|way| &mut way.target.credentials.external_id, "`external_id`"),
        (|way| &mut way.target.acl, "`acl`"),
        (|way| &mut way.target.storage_class, "`storage_class`"),
        (|way| &mut way.target.expected_bucket_owner, "`expected_bucket_owner`"),
    ];
    for (field, words) in role {
        check(with(all_of_a_spec, &|way| field(way).get_or_insert_default().push('\n')), words);
    }
    check(with(all_of_a_spec, &|way| way.target.tags[0].1.push('\n')), "`tags`");
    check(with(all_of_a_spec, &|way| way.target.metadata[0].1.push('\n')), "`metadata`");
    for variable in ["AWS_PROFILE", "AWS_ROLE_ARN", "AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_AUTHORIZATION_TOKEN"] {
        check(with("environment", &|way| way.variables.push((variable, "x\n".into()))), variable);
    }
    check(with("environment", &|way| way.variables.push(("HTTP_PROXY", "http://p\n".into()))), "the proxy of HTTP_PROXY is not usable");
    check(
        with("shared file", &|way| way.files[0].1 = way.files[0].1.replace("AKIDFILE", "AKID\n  FILE")),
        "`aws_access_key_id` of the profile \"default\"",
    );
    check(
        with("role of a profile", &|way| way.files[0].1 = way.files[0].1.replace("AKIDFILE", "AKID\n  FILE")),
        "`aws_access_key_id` of the profile \"b\"",
    );
    check(with("process", &|way| way.files[0].1 = way.files[0].1.replace("AKIDPROCESS", "AKID\\n")), "the access key id that was found");
    check(
        with("role by a process", &|way| way.files[0].1 = way.files[0].1.replace("AKIDPROCESS", "AKID\\n")),
        "the access key id that was found",
    );
    check(
        with("container", &|way| way.answers[0].1.body = way.answers[0].1.body.replace("ASIASERVICE", "ASIA\\n")),
        "the access key id that was found",
    );
    check(with("instance", &|way| way.answers[4].1.body = "<html>\n".into()), "no role's name");
    check(
        with("single sign-on", &|way| way.answers[0].1.body = way.answers[0].1.body.replace("canary-token", "canary\\ntoken")),
        "the session token that was found",
    );
    check(
        with(all_of_a_spec, &|way| way.answers[0].1.body = way.answers[0].1.body.replace("ASIAROLE", "AS&#10;IA")),
        "the access key id that was found",
    );
}

#[test]
fn what_can_never_work_is_refused_before_any_request() {
    let (_, way) = ways().remove(0);
    let check = |change: &dyn Fn(&mut StorageTarget), words: &str| {
        let mut way = way.clone();
        change(&mut way.target);
        let home = tempfile::tempdir().expect("a folder");
        let (outcome, seen) = runtime(&way).block_on(way.go(home.path(), SystemTime::now));
        let error = outcome.expect_err(words);
        assert!(error.kind == StoreErrorKind::Rejected && error.message.contains(words) && seen.is_empty(), "{words}: {error} {seen:?}");
    };
    let at_aws =
        |target: &mut StorageTarget, bucket: &str| (target.bucket, target.endpoint, target.path_style) = (bucket.into(), None, false);
    check(&|target| target.bucket = "arn:aws:s3:::lake".into(), "`bucket`");
    check(&|target| at_aws(target, "arn:aws:s3:::lake"), "`bucket`");
    check(&|target| target.region = "us_east_1".into(), "`region`");
    check(&|target| target.region = "EU (Frankfurt)".into(), "`region`");
    for bucket in ["lake/prefix", "s3://lake", " lake", ".."] {
        check(&|target| target.bucket = bucket.into(), "`bucket`");
    }
    for bucket in ["Lake", "ab", "192.168.1.1", "xn--lake", "lake--x-s3"] {
        check(&|target| at_aws(target, bucket), "`bucket`");
    }
}

/// What is accepted of ARNs and of the names of directory buckets leads to a request.
#[test]
fn access_points_and_directory_buckets_are_asked_for_at_their_own_hosts() {
    let (_, mut way) = ways().remove(0);
    (way.target.endpoint, way.target.path_style) = (None, false);
    way.answers.push((
        "?session",
        Answer::new(
            200,
            format!(
                "<CreateSessionResult><Credentials><SessionToken>t</SessionToken><SecretAccessKey>s</SecretAccessKey><AccessKeyId>ASIAX</AccessKeyId>\
                 <Expiration>{EXPIRES}</Expiration></Credentials></CreateSessionResult>"
            ),
        ),
    ));
    for (bucket, host) in [
        ("arn:aws:s3:us-west-2:123456789012:accesspoint/lake", "https://lake-123456789012.s3-accesspoint.us-west-2.amazonaws.com/t/a.csv"),
        ("arn:aws:s3:us-west-2:123456789012:accesspoint:lake", "https://lake-123456789012.s3-accesspoint.us-west-2.amazonaws.com/t/a.csv"),
        ("lake--use1-az4--x-s3", "https://lake--use1-az4--x-s3.s3express-use1-az4.eu-west-1.amazonaws.com/t/a.csv"),
        ("my-ap-abcdefgh-s3alias", "https://my-ap-abcdefgh-s3alias.s3.eu-west-1.amazonaws.com/t/a.csv"),
    ] {
        way.target.bucket = bucket.into();
        let home = tempfile::tempdir().expect("a folder");
        let (outcome, seen) = runtime(&way).block_on(way.go(home.path(), SystemTime::now));
        assert!(
            outcome.is_ok() && seen.last().is_some_and(|last| last.starts_with(&format!("PUT {host}"))),
            "{bucket}: {outcome:?} {seen:?}"
        );
    }
}

#[test]
fn a_refusal_of_the_instance_is_one_line_with_a_remedy() {
    let (_, mut way) = ways().pop().expect("the instance");
    for status in [400, 401, 403, 404, 500] {
        way.answers =
            vec![("/latest/", Answer { headers: vec![("server", "EC2ws".into())], ..Answer::new(status, "<html>\nno\n</html>") })];
        let home = tempfile::tempdir().expect("a folder");
        let (outcome, _) = runtime(&way).block_on(way.go(home.path(), SystemTime::now));
        let message = outcome.expect_err("refused").message;
        assert!(message.contains("AWS_ACCESS_KEY_ID") && !message.contains('\n'), "{status}: {message}");
        assert!(!["Response", "StatusCode(", "SdkBody", "{"].iter().any(|it| message.contains(it)), "{status}: {message}");
    }
}
