//! `lakegate policy`: checks and explains a tenants file before it is used to serve anyone.

use super::args::ResourceArgs;
use super::console::data;
use super::exit::{CliError, Exit};
use super::target::Target;
use super::tenants::{self, Loaded, Seal, TenantEntry};
use lakegate::limits::{MAX_CALL_BYTES, MAX_TENANT_STREAMS};
use lakegate::{Denied, Grant, OpenError, Options};
use lakegate_cloudquery::server::listen::WINDOW_BYTES;
use std::path::{Path, PathBuf};

/// Memory for the messages of a tenant's connection besides its session: the flow-control window, and one message for each concurrent call.
const CONNECTION_BYTES: u64 = WINDOW_BYTES as u64 + MAX_TENANT_STREAMS as u64 * MAX_CALL_BYTES as u64;

/// The arguments of `policy`.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// The subcommands of `policy`.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Check a tenants file, and explain what each tenant may do.
    Check {
        /// The tenants file (TOML).
        file: PathBuf,
        /// Seal the file if it is valid: from then on it is refused if it is changed or truncated.
        #[arg(long)]
        seal: bool,
    },
    /// Explain whether a tenant's spec would be allowed, and if not, which rules deny it. Nothing is sent.
    Explain {
        /// The tenants file (TOML).
        file: PathBuf,
        /// The tenant whose grant decides.
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// A file with a spec of the S3 destination, bare or inside a CloudQuery `kind: destination` document.
        #[arg(long, value_name = "FILE")]
        spec: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// The file or the spec is refused.
pub async fn run(args: PolicyArgs) -> Result<Exit, CliError> {
    match args.command {
        PolicyCommand::Check { file, seal } => {
            let Loaded { tenants, seal, .. } = if seal { tenants::read_and_seal(&file)? } else { tenants::read(&file)? };
            let sealed = match seal {
                Seal::Whole => "sealed: the file is refused if it is changed or truncated",
                Seal::Absent => "not sealed: a truncated file may be taken for a complete one; `--seal` seals it",
            };
            let machines = tenants.iter().map(|entry| entry.machine(&Options::default())).collect::<Result<Vec<_>, _>>()?;
            let lines = tenants.iter().zip(&machines).flat_map(|(entry, machine)| describe(entry, machine));
            print(lines.chain(shared_prefixes(&tenants)).chain([sealed.to_owned()]).collect())?;
            Ok(Exit::Done)
        }
        PolicyCommand::Explain { file, tenant, spec } => {
            let tenants = tenants::read(&file)?.tenants;
            let names: Vec<&str> = tenants.iter().map(|entry| &*entry.tenant.name).collect();
            let unknown = || CliError::new(Exit::Usage, format!("there is no tenant {tenant:?}; there are {names:?}"));
            let entry = tenants.iter().find(|entry| *entry.tenant.name == *tenant).ok_or_else(unknown)?;
            explain(entry, spec).await
        }
    }
}

fn print(lines: Vec<String>) -> Result<(), CliError> {
    data(&lines.join("\n"))
}

fn describe(entry: &TenantEntry, options: &Options) -> Vec<String> {
    let tenant = &entry.tenant;
    let Grant { buckets, key_prefixes, region, endpoint, formats, content_types, acls, encryption, kms_keys, .. } = &tenant.grant;
    let grant = &tenant.grant;
    let limit = |most: Option<u64>| most.map_or_else(|| "no limit".to_owned(), |most| most.to_string());
    let keys = key_prefixes.iter().map(|prefix| if prefix.is_empty() { "every key".to_owned() } else { format!("{prefix}*") });
    let required = if grant.encryption_required { " (required)" } else { "" };
    vec![
        format!("{}: listens on {}", tenant.name, entry.place),
        format!(
            "  puts {} into {} of {region} at {}",
            keys.collect::<Vec<_>>().join(", "),
            buckets.join(", "),
            endpoint.as_deref().unwrap_or("AWS")
        ),
        format!(
            "  through {}",
            entry.component().map_or_else(|| "the embedded component".to_owned(), |file| format!("the component {}", file.display()))
        ),
        format!(
            "  as {} with content type {}; content encodings {:?}",
            formats.join(", "),
            content_types.join(", "),
            grant.content_encodings
        ),
        format!("  ACLs {acls:?}; encryption {encryption:?}{required}; KMS keys {kms_keys:?}"),
        format!(
            "  storage classes {:?}; tags {:?}; metadata {:?}; locks {:?}, days at most: {}",
            grant.storage_classes,
            grant.tags,
            grant.metadata,
            grant.object_lock,
            grant.max_retain_days.unwrap_or_default()
        ),
        format!(
            "  catalogs {:?}; namespaces {:?}",
            grant.catalogs.iter().map(|catalog| catalog.uri.as_str()).collect::<Vec<_>>(),
            grant.namespaces
        ),
        format!(
            "  bytes per object: {}; objects per day: {}; bytes per day: {}",
            limit(grant.max_object_bytes),
            limit(grant.daily_objects),
            limit(grant.daily_bytes)
        ),
        format!(
            "  objects per second: {}; bytes per second: {}; open objects: {}; sessions: {}; bytes per message: {}",
            limit(grant.objects_per_second),
            limit(grant.bytes_per_second),
            limit(grant.max_open_objects),
            grant.max_sessions.unwrap_or(1),
            grant.message_bytes()
        ),
        format!(
            "  a session takes {} lanes, {} bytes of guest memory each, {} bytes of host memory, and {} of disk; memory of all sessions: {}",
            options.lanes,
            options.guest_memory_bytes,
            options.host_bytes(),
            limit(options.spill_bytes),
            limit(tenant.share.budget.limit_bytes())
        ),
        format!(
            "  connections: {}; each may hold {CONNECTION_BYTES} bytes in calls other than a session's Write, outside of that memory",
            grant.connections()
        ),
    ]
}

/// Tenants that can overwrite each other's objects: allowed, but rarely intended.
fn shared_prefixes(tenants: &[TenantEntry]) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, one) in tenants.iter().enumerate() {
        for other in tenants.iter().skip(at + 1) {
            let (a, b) = (&one.tenant.grant, &other.tenant.grant);
            let store = a.endpoint == b.endpoint && a.buckets.iter().any(|bucket| b.buckets.contains(bucket));
            let overlap = |one: &String| b.key_prefixes.iter().any(|two| one.starts_with(two.as_str()) || two.starts_with(one.as_str()));
            if store && a.key_prefixes.iter().any(overlap) {
                lines.push(format!("warning: {} and {} can put the same keys", one.tenant.name, other.tenant.name));
            }
        }
    }
    lines
}

async fn explain(entry: &TenantEntry, spec: PathBuf) -> Result<Exit, CliError> {
    let json = Target { spec: Some(spec), ..Target::default() }.spec_json(false, |_| None)?;
    // The tenant's own component may accept other specs.
    let machine = ResourceArgs { component: entry.component().map(Path::to_owned), ..ResourceArgs::default() };
    let destination = machine.destination(None).await?;
    let configuration = destination.configure(&json, "").await.map_err(|error| match error {
        OpenError::Spec(_) => CliError::new(Exit::Spec, error.to_string()),
        other => CliError::new(Exit::Unexpected, other.to_string()),
    })?;
    let (mut allowed, mut denied) = (Vec::new(), Vec::new());
    match entry.tenant.admit(&configuration) {
        Ok(target) => {
            let place = target.endpoint.as_deref().unwrap_or("AWS");
            let (format, content_type) = (&configuration.format, &configuration.content_type);
            allowed.push(format!("allowed: {format} as {content_type} into {} of {} at {place}", target.bucket, target.region));
        }
        Err(denials) => denied = denials,
    }
    let prefixes = &entry.tenant.grant.key_prefixes;
    match path(&json).filter(|_| entry.component().is_none()) {
        Some(path) => match keys(&path, prefixes) {
            Ok(line) => allowed.push(line),
            Err(denial) => denied.push(denial),
        },
        // The keys of the tenant's own component are not known in advance.
        None => allowed.push(format!("keys are decided one by one: they begin with one of {prefixes:?}")),
    }
    if denied.is_empty() {
        print(allowed)?;
        return Ok(Exit::Done);
    }
    print(denied.iter().map(|denied| format!("denied by {}: {}", denied.rule, denied.message)).collect())?;
    Ok(Exit::Denied)
}

/// The path template of a spec. Field names are case-insensitive, and the last one wins.
fn path(spec: &str) -> Option<String> {
    let spec: serde_json::Map<String, serde_json::Value> = serde_json::from_str(spec).ok()?;
    let (_, path) = spec.iter().rfind(|(key, _)| key.eq_ignore_ascii_case("path"))?;
    path.as_str().map(str::to_owned)
}

/// What all keys of a path template have in common: they begin with the text before its first placeholder.
fn keys(path: &str, prefixes: &[String]) -> Result<String, Denied> {
    let beginning = path.split_once("{{").map_or(path, |(beginning, _)| beginning);
    if prefixes.iter().any(|prefix| beginning.starts_with(prefix.as_str())) {
        return Ok(format!("keys: all of them begin with {beginning:?}, which is granted"));
    }
    if prefixes.iter().any(|prefix| prefix.starts_with(beginning)) {
        return Ok(format!(
            "keys: allowed or denied one by one, as what follows {beginning:?} in {path:?} leads into one of {prefixes:?} or not"
        ));
    }
    let message = format!("every key of {path:?} would begin with {beginning:?}, outside the granted prefixes {prefixes:?}");
    Err(Denied::new("key_prefixes", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_keys_of_a_path_have_in_common() {
        let prefixes = ["acme/".to_owned(), "shared/acme/".to_owned()];
        for (path, expected) in [
            ("acme/{{TABLE}}/{{UUID}}", Some("all of them")),
            ("acme/x", Some("all of them")),
            ("{{TABLE}}/{{UUID}}", Some("one by one")),
            // A table may be called `/x`.
            ("acme{{TABLE}}/{{UUID}}", Some("one by one")),
            ("acme-{{TABLE}}/{{UUID}}", None),
            ("shared/{{TABLE}}/{{UUID}}", Some("one by one")),
            ("acme", Some("one by one")),
            ("other/{{TABLE}}/{{UUID}}", None),
            ("Acme/{{UUID}}", None),
        ] {
            let said = keys(path, &prefixes);
            match expected {
                Some(expected_text) => assert!(said.as_ref().is_ok_and(|line| line.contains(expected_text)), "{path}: {said:?}"),
                None => assert_eq!(said.unwrap_err().rule, "key_prefixes", "{path}"),
            }
        }
        assert!(keys("{{UUID}}", &[String::new()]).is_ok_and(|line| line.contains("all of them")));
    }

    #[test]
    fn the_path_of_a_spec_is_the_last_one_in_any_case() {
        assert_eq!(path(r#"{"PATH": "a", "path": "b"}"#).as_deref(), Some("b"));
        assert_eq!(path(r#"{"Path": "a"}"#).as_deref(), Some("a"));
        assert_eq!(path("{}"), None);
    }
}
