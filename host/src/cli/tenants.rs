//! The file of tenants: who listens where, under which grant, with whose credentials. Strict: what is not known is refused.

mod losses;
mod seal;

use super::exit::{CliError, Exit};
use super::unquoted::unquoted;
use crate::bindings::CredentialSource;
use crate::grpc::listen::Listener;
use crate::grpc::tls::{Files, Fingerprint, Gate, fingerprint};
use crate::limits::TENANT_SPILL_BYTES;
use crate::policy::resources::Resources;
use crate::policy::{Grant, Tenant};
use crate::session::Options;
use crate::{plain_file, small_file};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
pub use seal::Seal;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Who may connect to a socket unless the file says otherwise: its owner.
const SOCKET_MODE: &str = "0600";

/// Bytes of a tenant's name: it stands in every audit line.
const MAX_NAME_BYTES: usize = 64;

/// Bytes of the file: thousands of tenants have a few.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// How long a file has to stay as it is to be read: whoever writes one in place writes it in one go.
const SETTLED: Duration = Duration::from_millis(300);

/// How often it is read until it does.
const MAX_READS: u32 = 10;

/// What AWS takes for the policy of a role's session.
const MAX_SESSION_POLICY_BYTES: usize = 2_048;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tenants: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    listen: Listen,
    grant: Grant,
    /// Runs instead of the embedded component.
    component: Option<PathBuf>,
    #[serde(default)]
    machine: MachineShare,
    #[serde(default)]
    credentials: Source,
}

/// A unix socket, a port with certificates on both sides, or a plain port of the loopback interface.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "`listen` has `socket`, `tls` or `plain_tcp`, with what goes with it")]
enum Listen {
    Socket {
        socket: PathBuf,
        #[serde(default = "default_mode")]
        socket_mode: String,
        socket_owner: Option<String>,
    },
    Tls {
        tls: SocketAddr,
        certificate: PathBuf,
        key: PathBuf,
        client_authority: PathBuf,
        client_sha256: Vec<String>,
    },
    Plain {
        plain_tcp: SocketAddr,
    },
}

fn default_mode() -> String {
    SOCKET_MODE.to_owned()
}

/// A tenant's share of the machine. All but the last two are of each of its sessions.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineShare {
    lanes: Option<NonZeroUsize>,
    memory_bytes: Option<u64>,
    in_flight_bytes: Option<u64>,
    guest_memory_bytes: Option<u64>,
    /// On disk.
    spill_bytes: Option<u64>,
    /// Memory of guests and host over all sessions.
    budget_bytes: Option<u64>,
    /// Processor time beside the other tenants'; 1 unless set.
    cpu_weight: Option<NonZeroU32>,
}

/// Where a tenant's credentials come from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    /// Of the shared files, or of `file`.
    profile: Option<String>,
    file: Option<PathBuf>,
    role_arn: Option<String>,
    role_session_name: Option<String>,
    external_id: Option<String>,
    web_identity_token_file: Option<PathBuf>,
    access_key_id_env: Option<String>,
    secret_access_key_env: Option<String>,
    session_token_env: Option<String>,
}

/// Where a tenant's clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A unix socket.
    Socket {
        /// Its path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// User and group, by number.
        owner: Option<(u32, u32)>,
    },
    /// TCP without encryption, on the loopback interface.
    Loopback(SocketAddr),
    /// TCP with certificates on both sides.
    Tls {
        /// The port.
        address: SocketAddr,
        /// The server's certificate.
        certificate: PathBuf,
        /// The server's key.
        key: PathBuf,
        /// The authorities of clients.
        client_authority: PathBuf,
        /// The clients' certificates.
        clients: Vec<Fingerprint>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { path, .. } => path.display().fmt(f),
            Self::Loopback(address) | Self::Tls { address, .. } => address.fmt(f),
        }
    }
}

/// Names of environment variables that hold keys.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyNames {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// A tenant and where it is served.
#[derive(Debug)]
pub struct TenantEntry {
    /// Who, and what it may do.
    pub tenant: Arc<Tenant>,
    /// Where.
    pub place: Place,
    keys: Option<KeyNames>,
    /// As it stands in the file.
    entry: Entry,
    /// The same field by field, whatever they mean.
    fields: toml::Table,
}

impl TenantEntry {
    /// Whether nothing of it has changed in the file.
    pub fn is_as(&self, other: &Self) -> bool {
        self.tenant.name == other.tenant.name && self.entry == other.entry
    }

    /// The file of the component that runs instead of the common one.
    pub fn component(&self) -> Option<&Path> {
        self.entry.component.as_deref()
    }

    /// Takes over what the tenant has used and done so far.
    pub fn follow(&mut self, earlier: &Tenant) {
        if let Some(tenant) = Arc::get_mut(&mut self.tenant) {
            tenant.follow(earlier);
        }
    }

    /// The options of the tenant's destination: `common`, with its share and its credentials.
    ///
    /// # Errors
    /// As [`TenantEntry::machine`], or a variable that should hold a key is not set.
    pub fn options(&self, common: &Options) -> Result<Options, CliError> {
        let mut options = self.machine(common)?;
        if let Some(names) = &self.keys {
            let value = |field: &str, name: &String| {
                std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| self.not_set(field, name))
            };
            let token = names.session_token.as_ref().map(|name| value("session_token_env", name)).transpose()?;
            let id = value("access_key_id_env", &names.access_key_id)?;
            let keys = Credentials::new(id, value("secret_access_key_env", &names.secret_access_key)?, token, None, "tenant");
            options.connect.credentials = Some(SharedCredentialsProvider::new(keys));
        }
        options.connect.credentials_file = self.entry.credentials.file.clone();
        options.connect.web_identity_token_file = self.entry.credentials.web_identity_token_file.clone();
        Ok(options)
    }

    /// Names the variable if it has a name as variables have; else the field, since what stands there may be the key itself.
    fn not_set(&self, field: &str, name: &str) -> CliError {
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let what = if name.bytes().all(plain) && name.contains('_') {
            format!("the variable {name} is not set")
        } else {
            format!("`credentials.{field}`: the variable that it names is not set")
        };
        CliError::new(Exit::Spec, format!("tenant {:?}: {what}", self.tenant.name))
    }

    /// `common` with the tenant's share of the machine.
    ///
    /// # Errors
    /// Its budget holds no session.
    pub fn machine(&self, common: &Options) -> Result<Options, CliError> {
        let mut options = Options { tenant: Some(self.tenant.clone()), ..common.clone() };
        let machine = &self.entry.machine;
        options.lanes = machine.lanes.unwrap_or(options.lanes);
        options.memory_bytes = machine.memory_bytes.unwrap_or(options.memory_bytes);
        options.in_flight_bytes = machine.in_flight_bytes.unwrap_or(options.in_flight_bytes);
        options.guest_memory_bytes = machine.guest_memory_bytes.unwrap_or(options.guest_memory_bytes);
        options.spill_bytes = Some(machine.spill_bytes.or(options.spill_bytes).unwrap_or(TENANT_SPILL_BYTES));
        if let Some(budget) = machine.budget_bytes
            && budget <= options.host_bytes()
        {
            let text = format!(
                "tenant {:?}: `machine.budget_bytes`: {budget} leave nothing for guests: one session takes {} besides (parts, in flight, \
                 queues, and messages, of which `grant.max_message_bytes` is the bound)",
                self.tenant.name,
                options.host_bytes()
            );
            return Err(CliError::new(Exit::Spec, text));
        }
        Ok(options)
    }
}

/// What a file says, as far as it can be told that it is all.
#[derive(Debug)]
pub struct Loaded {
    /// Whom it names.
    pub tenants: Vec<TenantEntry>,
    /// Whether it is known to be whole.
    pub seal: Seal,
    /// Whether its last line has an end.
    ends_with_a_line: bool,
}

impl Loaded {
    /// What is served and no longer in the file, in words; nothing if the file is sealed.
    pub fn losses<'a>(&self, served: impl Iterator<Item = &'a TenantEntry>) -> Vec<String> {
        if self.seal == Seal::Whole {
            return Vec::new();
        }
        let mut losses = losses::of(served, &self.tenants);
        if !self.ends_with_a_line {
            losses.push("the end of the last line".to_owned());
        }
        losses
    }
}

/// Reads the file once.
///
/// # Errors
/// Everything that is wrong with it, one problem a line.
pub fn read(file: &Path) -> Result<Loaded, CliError> {
    // Read once: a pipe is as good as a file here.
    let text = small_file::read_argument(file).map_err(|error| refused(file, &format!("cannot be read: {error}")))?;
    loaded(file, &text)
}

/// Reads the file when it stays as it is for a moment: one that is written in place is not to be caught halfway. A sealed one that is right
/// is taken at once.
///
/// # Errors
/// As [`read`], or it does not stay as it is.
pub async fn settled(file: &Path) -> Result<Loaded, CliError> {
    let mut text = text_of(file)?;
    for _ in 0..MAX_READS {
        if seal::check(&text) == Ok(Seal::Whole) {
            return loaded(file, &text);
        }
        tokio::time::sleep(SETTLED).await;
        let again = text_of(file)?;
        if again == text {
            return loaded(file, &text);
        }
        text = again;
    }
    Err(refused(file, "it is being written: write it beside, and rename it"))
}

/// Reads the file whatever its seal says, and puts it back with one that is right.
///
/// # Errors
/// As [`read`], or it cannot be written.
pub fn read_and_seal(file: &Path) -> Result<Loaded, CliError> {
    let text = text_of(file)?;
    let sealed = seal::applied(&text);
    let loaded = loaded(file, &sealed)?;
    let replaced = seal::replace(file, &text, &sealed);
    replaced.map_err(|error| CliError::new(Exit::Usage, format!("{}: cannot be sealed: {error}", file.display())))?;
    Ok(loaded)
}

fn refused(file: &Path, problem: &str) -> CliError {
    CliError::new(Exit::Spec, format!("{}: {problem}", file.display()))
}

fn text_of(file: &Path) -> Result<String, CliError> {
    let read = plain_file::read(file, MAX_FILE_BYTES)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8")));
    read.map_err(|error| refused(file, &format!("cannot be read: {error}")))
}

fn loaded(file: &Path, text: &str) -> Result<Loaded, CliError> {
    let seal = seal::check(text).map_err(|problem| refused(file, problem))?;
    let tenants = parse(text).map_err(|problems| refused(file, &problems.join("\n")))?;
    Ok(Loaded { tenants, seal, ends_with_a_line: text.ends_with('\n') })
}

fn parse(text: &str) -> Result<Vec<TenantEntry>, Vec<String>> {
    let file: File = toml::from_str(text).map_err(|error| vec![said_of(text, &error)])?;
    let mut fields = losses::fields(text);
    let mut problems = Vec::new();
    if file.tenants.is_empty() {
        problems.push("there are no tenants".to_owned());
    }
    let mut tenants: Vec<TenantEntry> = Vec::new();
    for (name, entry) in file.tenants {
        match entry.hosted(&name) {
            Ok(mut hosted) => {
                hosted.fields = fields.remove(&name).unwrap_or_default();
                if let Some(other) = tenants.iter().find(|other| same_place(&other.place, &hosted.place)) {
                    problems.push(format!("tenants {:?} and {name:?} both listen on {}", &*other.tenant.name, hosted.place));
                }
                tenants.push(hosted);
            }
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| format!("tenant {name:?}: {problem}"))),
        }
    }
    if problems.is_empty() { Ok(tenants) } else { Err(problems) }
}

/// A mistake by its line, which is not shown: it may hold what is not for a log.
fn said_of(text: &str, error: &toml::de::Error) -> String {
    let message = unquoted(error.message().trim_end());
    match error.span().and_then(|span| text.as_bytes().get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.iter().filter(|byte| **byte == b'\n').count() + 1),
        None => message,
    }
}

/// Whether only one of the two can listen.
pub fn same_place(one: &Place, other: &Place) -> bool {
    match (one, other) {
        (Place::Socket { path: one, .. }, Place::Socket { path: other, .. }) => one == other,
        (Place::Loopback(one) | Place::Tls { address: one, .. }, Place::Loopback(other) | Place::Tls { address: other, .. }) => {
            // Port 0 is another one each time.
            one == other && one.port() != 0
        }
        _ => false,
    }
}

impl Entry {
    fn hosted(self, name: &str) -> Result<TenantEntry, Vec<String>> {
        let entry = self.clone();
        let mut problems = self.grant.problems();
        let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
            problems.push(format!("a name has 1 to {MAX_NAME_BYTES} letters, digits, `-`, `_` and `.`"));
        }
        if self.credentials.role_arn.is_some() && self.grant.session_policy().len() > MAX_SESSION_POLICY_BYTES {
            problems.push(format!(
                "the policy of its role's session has {} characters; AWS takes {MAX_SESSION_POLICY_BYTES}: name fewer buckets and prefixes",
                self.grant.session_policy().len()
            ));
        }
        let place = self.listen.place().map_err(|problem| problems.push(problem)).ok();
        let keys = self.credentials.keys().map_err(|problem| problems.push(problem)).ok();
        problems.extend(self.credentials.token_problem());
        let (Some(place), Some(keys), true) = (place, keys, problems.is_empty()) else { return Err(problems) };
        let Source { profile, role_arn, role_session_name, external_id, .. } = self.credentials;
        let credentials = CredentialSource { profile, role_arn, role_session_name, external_id };
        let share = Arc::new(Resources::new(self.machine.cpu_weight.unwrap_or(NonZeroU32::MIN), self.machine.budget_bytes));
        let tenant = Arc::new(Tenant { credentials, share, ..Tenant::new(name, self.grant) });
        Ok(TenantEntry { tenant, place, keys, entry, fields: toml::Table::new() })
    }
}

impl Place {
    /// Reads what is needed to open it.
    ///
    /// # Errors
    /// A certificate is not there, or is none.
    pub fn prepare(&self) -> anyhow::Result<Prepared> {
        Ok(match self {
            Self::Socket { path, mode, owner } => Prepared::Socket(path.clone(), *mode, *owner),
            Self::Loopback(address) => Prepared::Loopback(*address),
            Self::Tls { address, certificate, key, client_authority, clients } => {
                Prepared::Tls(*address, Gate::new(&Files { certificate, key, client_authority }, clients.clone())?)
            }
        })
    }

    /// Reads its certificates again, if it has any.
    ///
    /// # Errors
    /// One is not there any more, or is none; the gate stays as it is.
    pub fn renew(&self, gate: Option<&Gate>) -> anyhow::Result<()> {
        match (self, gate) {
            (Self::Tls { certificate, key, client_authority, clients, .. }, Some(gate)) => {
                gate.renew(&Files { certificate, key, client_authority }, clients.clone())
            }
            _ => Ok(()),
        }
    }
}

/// A place that can be opened.
#[derive(Debug)]
pub enum Prepared {
    /// Path, mode and owner.
    Socket(PathBuf, u32, Option<(u32, u32)>),
    /// A port.
    Loopback(SocketAddr),
    /// A port, and whom it lets in.
    Tls(SocketAddr, Gate),
}

impl Prepared {
    /// Opens it.
    ///
    /// # Errors
    /// It is taken.
    pub async fn bind(self) -> std::io::Result<Listener> {
        match self {
            Self::Socket(path, mode, owner) => Listener::bind_private(&path, mode, owner),
            Self::Loopback(address) => Ok(Listener::Tcp(TcpListener::bind(address).await?)),
            Self::Tls(address, gate) => Ok(Listener::Tls(TcpListener::bind(address).await?, gate)),
        }
    }
}

impl Listen {
    fn place(self) -> Result<Place, String> {
        match self {
            Self::Socket { socket, socket_mode, socket_owner } => {
                let owner = socket_owner.as_deref().map(owner).transpose()?;
                Ok(Place::Socket { path: socket, mode: mode(&socket_mode)?, owner })
            }
            Self::Plain { plain_tcp } if plain_tcp.ip().is_loopback() => Ok(Place::Loopback(plain_tcp)),
            Self::Plain { plain_tcp } => Err(format!("`listen.plain_tcp`: {plain_tcp} is not on the loopback interface; use `tls`")),
            Self::Tls { client_sha256, .. } if client_sha256.is_empty() => {
                Err("`listen.client_sha256` is empty: no client could connect".to_owned())
            }
            Self::Tls { tls, certificate, key, client_authority, client_sha256 } => {
                let wrong =
                    |text: &str| format!("`listen.client_sha256`: {text:?} is not the SHA-256 of a certificate, 64 hexadecimal digits");
                let clients = client_sha256.iter().map(|text| fingerprint(text).ok_or_else(|| wrong(text))).collect::<Result<_, _>>()?;
                Ok(Place::Tls { address: tls, certificate, key, client_authority, clients })
            }
        }
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("`listen.socket_mode`: {text:?} is no mode such as \"0660\""))
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    numbers.ok_or_else(|| format!("`listen.socket_owner`: {text:?} is not USER:GROUP in numbers"))
}

impl Source {
    fn keys(&self) -> Result<Option<KeyNames>, String> {
        match (&self.access_key_id_env, &self.secret_access_key_env, &self.session_token_env) {
            (None, None, None) => Ok(None),
            (Some(_), Some(_), _) if self.profile.is_some() || self.file.is_some() => {
                Err("`credentials`: a profile or variables, not both".to_owned())
            }
            (Some(id), Some(secret), token) => {
                Ok(Some(KeyNames { access_key_id: id.clone(), secret_access_key: secret.clone(), session_token: token.clone() }))
            }
            _ => Err("`credentials`: `access_key_id_env` and `secret_access_key_env` go together".to_owned()),
        }
    }

    /// A token is exchanged for a role, and all that is shown for it.
    fn token_problem(&self) -> Option<String> {
        self.web_identity_token_file.as_ref()?;
        let beside = [
            ("profile", self.profile.is_some()),
            ("file", self.file.is_some()),
            ("access_key_id_env", self.access_key_id_env.is_some()),
            ("external_id", self.external_id.is_some()),
        ];
        match beside.iter().find(|(_, given)| *given) {
            Some((name, _)) => Some(format!("`credentials`: `web_identity_token_file` or `{name}`, not both")),
            None if self.role_arn.is_none() => {
                Some("`credentials`: `web_identity_token_file` needs `role_arn`, the role it is shown for".to_owned())
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests;
