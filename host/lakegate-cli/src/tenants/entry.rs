//! A tenant's entry in the tenants file, and its conversion to a tenant, a listening address and options.

use super::super::exit::{CliError, Exit};
use super::listen_address::ListenAddress;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use lakegate::limits::TENANT_SPILL_BYTES;
use lakegate::spec::CredentialSource;
use lakegate::{Grant, Options, Resources, Tenant};
use lakegate_cloudquery::server::tls::fingerprint;
use serde::Deserialize;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Default mode of a socket: only its owner may connect.
const SOCKET_MODE: &str = "0600";

/// Maximum length of a tenant's name, which is in every audit line.
const MAX_NAME_BYTES: usize = 64;

/// Maximum size of a role's session policy at AWS.
const MAX_SESSION_POLICY_BYTES: usize = 2_048;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    listen: Listen,
    grant: Grant,
    /// The component to run instead of the embedded one.
    component: Option<PathBuf>,
    #[serde(default)]
    machine: MachineShare,
    #[serde(default)]
    credentials: Source,
}

/// A unix socket, a port with mutual TLS, or a plain port on the loopback interface.
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

/// A tenant's share of the machine. All fields but the last two are per session.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineShare {
    lanes: Option<NonZeroUsize>,
    memory_bytes: Option<u64>,
    in_flight_bytes: Option<u64>,
    guest_memory_bytes: Option<u64>,
    /// Size of the spill file on disk.
    spill_bytes: Option<u64>,
    /// Memory of guests and host, over all sessions.
    budget_bytes: Option<u64>,
    /// CPU weight relative to other tenants; 1 by default.
    cpu_weight: Option<NonZeroU32>,
}

/// Where a tenant's credentials come from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    /// A profile in the shared files, or in `file`.
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

/// Names of environment variables that hold keys.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyNames {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// A tenant with its listening address and settings.
#[derive(Debug)]
pub struct TenantEntry {
    /// The tenant and its grant.
    pub tenant: Arc<Tenant>,
    /// The listening address.
    pub place: ListenAddress,
    keys: Option<KeyNames>,
    /// The parsed entry of the file.
    entry: Entry,
    /// The raw fields of the entry.
    pub(super) fields: toml::Table,
}

impl TenantEntry {
    /// Whether two entries are identical.
    pub fn is_as(&self, other: &Self) -> bool {
        self.tenant.name == other.tenant.name && self.entry == other.entry
    }

    /// The file of the component that runs instead of the common one.
    pub fn component(&self) -> Option<&Path> {
        self.entry.component.as_deref()
    }

    /// Carries over the usage and counters of the tenant's earlier entry.
    pub fn carry_over(&mut self, earlier: &Tenant) {
        if let Some(tenant) = Arc::get_mut(&mut self.tenant) {
            tenant.follow(earlier);
        }
    }

    /// The options of the tenant's destination: `common` with its share of the machine and its credentials.
    ///
    /// # Errors
    /// As [`TenantEntry::machine`], or an environment variable for a key is not set.
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

    /// Names the variable if it looks like the name of one; otherwise the field, since its value may be the key itself.
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
    /// Its budget is too small for a session.
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
                "tenant {:?}: `machine.budget_bytes`: {budget} leaves nothing for guests: the host needs {} for one session (parts, in \
                 flight, queues, and messages of up to `grant.max_message_bytes`)",
                self.tenant.name,
                options.host_bytes()
            );
            return Err(CliError::new(Exit::Spec, text));
        }
        Ok(options)
    }
}

impl Entry {
    pub(super) fn read(self, name: &str) -> Result<TenantEntry, Vec<String>> {
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
        let tenant = Arc::new(Tenant::new(name, self.grant).with(credentials, share));
        Ok(TenantEntry { tenant, place, keys, entry, fields: toml::Table::new() })
    }
}

impl Listen {
    fn place(self) -> Result<ListenAddress, String> {
        match self {
            Self::Socket { socket, socket_mode, socket_owner } => {
                let owner = socket_owner.as_deref().map(owner).transpose()?;
                Ok(ListenAddress::Socket { path: socket, mode: mode(&socket_mode)?, owner })
            }
            Self::Plain { plain_tcp } if plain_tcp.ip().is_loopback() => Ok(ListenAddress::Loopback(plain_tcp)),
            Self::Plain { plain_tcp } => Err(format!("`listen.plain_tcp`: {plain_tcp} is not on the loopback interface; use `tls`")),
            Self::Tls { client_sha256, .. } if client_sha256.is_empty() => {
                Err("`listen.client_sha256` is empty: no client could connect".to_owned())
            }
            Self::Tls { tls, certificate, key, client_authority, client_sha256 } => {
                let wrong =
                    |text: &str| format!("`listen.client_sha256`: {text:?} is not the SHA-256 of a certificate, 64 hexadecimal digits");
                let clients = client_sha256.iter().map(|text| fingerprint(text).ok_or_else(|| wrong(text))).collect::<Result<_, _>>()?;
                Ok(ListenAddress::Tls { address: tls, certificate, key, client_authority, clients })
            }
        }
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("`listen.socket_mode`: {text:?} is not a mode such as \"0660\""))
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

    /// Checks that a web identity token comes with a role and without other credentials.
    fn token_problem(&self) -> Option<String> {
        self.web_identity_token_file.as_ref()?;
        let conflicting = [
            ("profile", self.profile.is_some()),
            ("file", self.file.is_some()),
            ("access_key_id_env", self.access_key_id_env.is_some()),
            ("external_id", self.external_id.is_some()),
        ];
        match conflicting.iter().find(|(_, given)| *given) {
            Some((name, _)) => Some(format!("`credentials`: `web_identity_token_file` or `{name}`, not both")),
            None if self.role_arn.is_none() => {
                Some("`credentials`: `web_identity_token_file` needs `role_arn`, the role it is shown for".to_owned())
            }
            None => None,
        }
    }
}
