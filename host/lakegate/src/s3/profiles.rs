//! Profiles of AWS's shared files, as far as the SDK takes them on trust: values that hold more than one line, and roles that are assumed
//! with credentials which nobody has checked. A profile that assumes a role is walked here, hop by hop, with the SDK's own rules; where the
//! walk ends, and in every other profile, the SDK reads it.

#![expect(deprecated, reason = "the only way to tell the SDK its files; the replacement lives in a crate that is not ours to use")]

use super::options::ConnectOptions;
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::profile::{Profile, ProfileSet};
use aws_credential_types::Credentials;
use aws_types::os_shim_internal::Fs;
use std::fmt::Write as _;
use std::path::Path;

/// Hops from role to role. AWS itself lets no session of a role last longer than an hour after the first.
const MAX_HOPS: usize = 16;

/// Properties that hold one line.
const ONE_LINE: [&str; 15] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "role_arn",
    "role_session_name",
    "external_id",
    "source_profile",
    "credential_source",
    "web_identity_token_file",
    "sso_session",
    "sso_account_id",
    "sso_role_name",
    "sso_region",
    "sso_start_url",
    "endpoint_url",
];

/// A role that a profile assumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) role_arn: String,
    pub(super) session_name: Option<String>,
    pub(super) external_id: Option<String>,
}

/// What the first role is assumed with.
#[derive(Debug, Clone)]
pub(super) enum Base {
    /// Keys that stand in the profile.
    Keys(Credentials),
    /// What the SDK makes of the profile of this name.
    Profile(String),
    /// What the SDK makes of the default profile of a file with this content.
    Content(String),
}

/// The roles of a profile, the first to be assumed first, and what comes before them.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    pub(super) base: Base,
    pub(super) hops: Vec<Hop>,
}

/// The shared files, as environment and options name them.
pub(super) fn files(options: &ConnectOptions) -> ProfileFiles {
    let variable = |name| options.environment.get(name).ok();
    let files = ProfileFiles::builder();
    if let Some(file) = &options.credentials_file {
        return files.with_file(ProfileFileKind::Credentials, file).build();
    }
    // A file that is not there is no mistake, as for the SDK's own chain: profiles may all be in the other one. The SDK panics at no file at
    // all, so there is an empty one.
    let files = files.with_contents(ProfileFileKind::Config, "");
    let is_there = |path: &String| Path::new(path).exists();
    let files = match variable("AWS_CONFIG_FILE") {
        Some(path) if is_there(&path) => files.with_file(ProfileFileKind::Config, path),
        Some(_) => files,
        None => files.include_default_config_file(true),
    };
    let files = match variable("AWS_SHARED_CREDENTIALS_FILE") {
        Some(path) if is_there(&path) => files.with_file(ProfileFileKind::Credentials, path),
        Some(_) => files,
        None => files.include_default_credentials_file(true),
    };
    files.build()
}

/// A file with this content alone.
pub(super) fn content(content: String) -> ProfileFiles {
    ProfileFiles::builder().with_contents(ProfileFileKind::Config, content).build()
}

/// The roles of the profile that is named, or chosen by the environment. `None`: it assumes none, or the SDK has something to say about it.
///
/// # Errors
/// A value with a line end, or a walk that never ends; in words that name profile and property.
pub(super) async fn roles(options: &ConnectOptions, profile: Option<&str>) -> Result<Option<Roles>, String> {
    let named = profile.map(|name| name.to_owned().into());
    match aws_config::profile::load(&Fs::real(), &options.environment, &files(options), named).await {
        Ok(set) => walk(&set),
        Err(_) => Ok(None),
    }
}

fn walk(set: &ProfileSet) -> Result<Option<Roles>, String> {
    let mut name = set.selected_profile();
    let mut hops = Vec::new();
    let mut seen = Vec::new();
    let base = loop {
        let Some(profile) = set.get_profile(name) else { return Ok(None) };
        check(set, profile)?;
        if seen.contains(&name) || seen.len() > MAX_HOPS {
            return Err(format!("the profile {name:?} comes back to itself by `source_profile`"));
        }
        seen.push(name);
        // Behind the first profile, keys come before anything else.
        if let Some(keys) = keys(profile).filter(|_| seen.len() > 1) {
            break Base::Keys(keys);
        }
        let hop = profile.get("role_arn").filter(|_| profile.get("web_identity_token_file").is_none());
        let Some(role_arn) = hop else { break Base::Profile(name.to_owned()) };
        hops.push(Hop {
            role_arn: role_arn.to_owned(),
            session_name: profile.get("role_session_name").map(str::to_owned),
            external_id: profile.get("external_id").map(str::to_owned),
        });
        match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(next), None) if next != name => name = next,
            (Some(_), None) => match keys(profile) {
                Some(keys) => break Base::Keys(keys),
                None => break Base::Content(without_role(set, profile)),
            },
            (None, Some(_)) => break Base::Content(without_role(set, profile)),
            // Both or neither: the SDK's words say so.
            _ => return Ok(None),
        }
    };
    hops.reverse();
    Ok(if hops.is_empty() { None } else { Some(Roles { base, hops }) })
}

/// No property that becomes a header, a name or a URL has more than a line.
fn check(set: &ProfileSet, profile: &Profile) -> Result<(), String> {
    let wrong = |kind: &str, section: &str, property: &str| {
        Err(format!("`{property}` of the {kind} {section:?} must not have line ends or other control characters"))
    };
    for property in ONE_LINE {
        if profile.get(property).is_some_and(|value| value.contains(char::is_control)) {
            return wrong("profile", profile.name(), property);
        }
    }
    let session = profile.get("sso_session").unwrap_or_default();
    if let Some(values) = set.sso_session(session) {
        for property in ["sso_region", "sso_start_url"] {
            if values.get(property).is_some_and(|value| value.contains(char::is_control)) {
                return wrong("SSO session", session, property);
            }
        }
    }
    Ok(())
}

fn keys(profile: &Profile) -> Option<Credentials> {
    let (id, secret) = (profile.get("aws_access_key_id")?, profile.get("aws_secret_access_key")?);
    let token = profile.get("aws_session_token").map(str::to_owned);
    Some(Credentials::new(id, secret, token, None, "ProfileFile"))
}

/// The profile as it would be if it assumed no role, as the default one of a file of its own.
fn without_role(set: &ProfileSet, profile: &Profile) -> String {
    let mut content = "[default]\n".to_owned();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            // To a `String`, which cannot fail.
            let _never = writeln!(content, "{name} = {value}");
        }
    };
    for property in ["credential_source", "sso_session", "sso_account_id", "sso_role_name", "sso_region", "sso_start_url"] {
        put(property, profile.get(property));
    }
    put("credential_process", profile.get("credential_process").filter(|command| !command.contains(['\n', '\r'])));
    let session = profile.get("sso_session").unwrap_or_default();
    if let Some(values) = set.sso_session(session) {
        let _never = writeln!(content, "[sso-session {session}]");
        for property in ["sso_region", "sso_start_url"] {
            if let Some(value) = values.get(property) {
                let _never = writeln!(content, "{property} = {value}");
            }
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_types::os_shim_internal::Env;

    async fn walked(config: &str, profile: Option<&str>) -> Result<Option<Roles>, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config");
        std::fs::write(&path, config).expect("writable");
        let environment =
            Env::from_slice(&[("AWS_CONFIG_FILE", path.to_str().expect("a plain name")), ("AWS_SHARED_CREDENTIALS_FILE", "/absent")]);
        roles(&ConnectOptions { environment, ..ConnectOptions::default() }, profile).await
    }

    const KEYS: &str = "aws_access_key_id = AKID\naws_secret_access_key = s\n";

    #[tokio::test]
    async fn a_profile_with_a_role_is_walked_to_its_base() {
        let check = async |config: &str, hops: &[&str], base: &str| {
            let roles = walked(config, None).await.expect(config).expect(config);
            let found: Vec<_> = roles.hops.iter().map(|hop| hop.role_arn.as_str()).collect();
            assert_eq!(found, hops, "{config}");
            let shown = match roles.base {
                Base::Keys(keys) => format!("keys {}", keys.access_key_id()),
                Base::Profile(name) => format!("profile {name}"),
                Base::Content(content) => content,
            };
            assert_eq!(shown, base, "{config}");
        };
        let of = |role: &str, rest: &str| format!("role_arn = {role}\n{rest}\n");
        check(&format!("[default]\n{}[profile b]\n{KEYS}", of("r1", "source_profile = b")), &["r1"], "keys AKID").await;
        check(&format!("[default]\n{}{KEYS}", of("r1", "source_profile = default")), &["r1"], "keys AKID").await;
        check(
            &format!("[default]\n{}[profile b]\n{}[profile c]\n{KEYS}", of("r1", "source_profile = b"), of("r2", "source_profile = c")),
            &["r2", "r1"],
            "keys AKID",
        )
        .await;
        let process = "credential_process = print-keys";
        check(&format!("[default]\n{}[profile b]\n{process}\n", of("r1", "source_profile = b")), &["r1"], "profile b").await;
        check(
            &format!("[default]\n{}", of("r1", "credential_source = Environment")),
            &["r1"],
            "[default]\ncredential_source = Environment\n",
        )
        .await;
        check(
            &format!("[default]\n{}", of("r1", "source_profile = default\nsso_session = s\n[sso-session s]\nsso_region = eu-west-1")),
            &["r1"],
            "[default]\nsso_session = s\n[sso-session s]\nsso_region = eu-west-1\n",
        )
        .await;
    }

    #[tokio::test]
    async fn the_sdk_reads_what_assumes_no_role_or_is_wrong_in_itself() {
        for config in [
            "",
            &format!("[default]\n{KEYS}"),
            "[default]\nrole_arn = r\nweb_identity_token_file = /token\n",
            "[default]\nrole_arn = r\n",
            "[default]\nrole_arn = r\nsource_profile = absent\n",
            "[default]\nrole_arn = r\nsource_profile = b\ncredential_source = Environment\n",
            "[profile other]\nrole_arn = r\nsource_profile = other\n",
            "no profile at all",
        ] {
            assert!(walked(config, None).await.expect(config).is_none(), "{config}");
        }
    }

    #[tokio::test]
    async fn a_value_of_more_than_a_line_is_told_with_profile_and_property() {
        for property in ["aws_access_key_id", "aws_secret_access_key", "aws_session_token", "role_arn", "external_id", "sso_region"] {
            for value in ["x\n  y", "x\u{1}", "x\u{7f}y"] {
                let words = walked(&format!("[profile p]\n{property} = {value}\n"), Some("p")).await.expect_err(property);
                let wanted = format!("`{property}` of the profile \"p\" must not have line ends");
                assert!(words.starts_with(&wanted) && !words.contains(char::is_control), "{words}");
            }
        }
        let words = walked("[default]\nrole_arn = r\nsource_profile = b\n[profile b]\naws_access_key_id = x\n  y\n", None).await;
        assert!(words.is_err_and(|words| words.contains("the profile \"b\"")));
        let words = walked("[default]\nsso_session = s\n[sso-session s]\nsso_start_url = x\n  y\n", None).await;
        assert!(words.is_err_and(|words| words.contains("`sso_start_url` of the SSO session \"s\"")));
        let looped = "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = q\nsource_profile = a\n";
        assert!(walked(looped, Some("a")).await.is_err_and(|words| words.contains("comes back to itself")));
    }
}
