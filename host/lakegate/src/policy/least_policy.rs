//! A checked spec in the store's own terms: the least policy under which its objects can be written.

use super::session_policy::{in_latin, is_at_aws, literal, partition, use_of_keys};
use crate::storage::object::OnExisting;
use crate::storage::target::{CatalogAuth, CatalogPlan, Configuration, StorageTarget};
use serde_json::{Value, json};

/// What a policy depends on beside the checked spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyNeeds<'a> {
    /// The folder that all keys of objects share: empty, or with a slash at its end.
    pub folder: &'a str,
    /// The same of manifests, where there are any.
    pub manifest_folder: Option<&'a str>,
    /// The same of objects with rows that could not be written, where they have a place.
    pub quarantine_folder: Option<&'a str>,
    /// Whether another attempt would bring the same rows in the same order.
    pub repeatable: bool,
    /// What objects are sent with: [`ConnectOptions::headers_of`](crate::ConnectOptions::headers_of).
    pub headers: &'a [(String, Option<String>)],
}

/// Headers that need a permission beside that to put.
const BY_HEADER: [(&str, &str); 4] = [
    ("x-amz-acl", "s3:PutObjectAcl"),
    ("x-amz-tagging", "s3:PutObjectTagging"),
    ("x-amz-object-lock-mode", "s3:PutObjectRetention"),
    ("x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold"),
];

/// The header that names a canned ACL, and the key of a condition on it.
const ACL: (&str, &str) = ("x-amz-acl", "s3:x-amz-acl");

/// How the names of directory buckets end.
const DIRECTORY_BUCKET: &str = "--x-s3";

impl Configuration {
    /// The policy (JSON): each action only where the sync asks for it. A role is assumed by another identity than the one that puts: the statement
    /// with `sts:AssumeRole` is that one's.
    pub fn least_policy(&self, needs: &PolicyNeeds<'_>) -> String {
        let target = &self.target;
        let mut statements = match target.bucket.strip_suffix(DIRECTORY_BUCKET) {
            Some(_) => vec![allow("s3express:CreateSession", &[directory_bucket(target)])],
            None => self.object_statements(needs),
        };
        let encryption =
            target.encryption.as_ref().filter(|it| is_at_aws(target.endpoint.as_deref()) && it.algorithm.starts_with("aws:kms"));
        if let Some(encryption) = encryption {
            statements.push(key_statement(encryption.kms_key_id.as_deref().unwrap_or_default(), target));
        }
        if let Some(CatalogPlan { auth: CatalogAuth::SigV4(service), create, .. }) = &self.catalog
            && service == "glue"
        {
            let made: &[&str] = if *create { &["glue:CreateDatabase", "glue:CreateTable"] } else { &[] };
            let actions = ["glue:GetCatalog", "glue:GetDatabase", "glue:GetTable", "glue:UpdateTable"].iter().chain(made);
            let place = |kind: &str| format!("arn:{}:glue:{}:*:{kind}", partition_of(target), target.region);
            let places = [place("catalog"), place("database/*"), place("table/*")];
            statements.push(json!({"Effect": "Allow", "Action": actions.collect::<Vec<_>>(), "Resource": places}));
        }
        if let Some(role) = &target.credentials.role_arn {
            statements.push(allow("sts:AssumeRole", std::slice::from_ref(role)));
        }
        in_latin(&json!({"Version": "2012-10-17", "Statement": statements}).to_string())
    }

    fn object_statements(&self, needs: &PolicyNeeds<'_>) -> Vec<Value> {
        let target = &self.target;
        let places = |folders: &[&str]| -> Vec<String> {
            outermost(folders).iter().map(|folder| format!("{}/{}*", objects_of(target), literal(folder))).collect()
        };
        let manifests = needs.manifest_folder;
        let of_rows: Vec<&str> = needs.quarantine_folder.into_iter().chain([needs.folder]).collect();
        let all = places(&manifests.into_iter().chain(of_rows.iter().copied()).collect::<Vec<_>>());
        let mut statements = vec![allow("s3:PutObject", &all), allow("s3:AbortMultipartUpload", &places(&of_rows))];
        // To compare what has a key already (HeadObject).
        let objects = of_rows.iter().copied().filter(|_| self.commit.create_only == Some(OnExisting::Verify));
        let manifests = manifests.filter(|_| self.commit.manifest.is_some() && self.looks_at_manifests(needs.repeatable));
        let mut read = places(&manifests.into_iter().chain(objects).collect::<Vec<_>>());
        if self.catalog.is_some() {
            // The newest list of a table's manifests, which the next one repeats.
            read.push(format!("{}/{}*/metadata/*", objects_of(target), literal(needs.folder)));
        }
        if !read.is_empty() {
            statements.push(allow("s3:GetObject", &read));
        }
        let at_aws = is_at_aws(target.endpoint.as_deref());
        for (header, action) in BY_HEADER {
            let Some((_, value)) = needs.headers.iter().find(|(name, _)| name == header) else { continue };
            let mut statement = allow(action, &all);
            if header == ACL.0 {
                // Other stores let a put name an ACL, or ignore it; MinIO refuses a policy with this action.
                if !at_aws {
                    continue;
                }
                statement["Condition"] = json!({"StringEquals": {ACL.1: value}});
            }
            statements.push(statement);
        }
        statements
    }

    /// Whether a manifest that is there is looked at: to see that it is the same, or before the rows of a table that may be committed already.
    fn looks_at_manifests(&self, repeatable: bool) -> bool {
        let create_only = self.commit.create_only;
        if repeatable { create_only.unwrap_or(OnExisting::Verify) == OnExisting::Verify } else { create_only.is_some() }
    }
}

/// The folders that lie in no other of them.
fn outermost<'a>(folders: &[&'a str]) -> Vec<&'a str> {
    let mut outermost: Vec<&str> = folders.to_vec();
    outermost.sort_unstable();
    outermost.dedup_by(|folder, outer| folder.starts_with(*outer));
    outermost
}

fn allow(action: &str, resources: &[String]) -> Value {
    json!({"Effect": "Allow", "Action": [action], "Resource": resources})
}

/// The partition, where it is AWS's to say.
fn partition_of(target: &StorageTarget) -> &'static str {
    if is_at_aws(target.endpoint.as_deref()) { partition(&target.region) } else { "aws" }
}

/// What the names of a bucket's objects begin with, but for a slash.
fn objects_of(target: &StorageTarget) -> String {
    if target.bucket.starts_with("arn:") {
        // An access point.
        return format!("{}/object", target.bucket);
    }
    format!("arn:{}:s3:::{}", partition_of(target), literal(&target.bucket))
}

fn directory_bucket(target: &StorageTarget) -> String {
    let StorageTarget { bucket, region, .. } = target;
    format!("arn:{}:s3express:{region}:*:bucket/{bucket}", partition_of(target))
}

/// A key by its id, its ARN or an alias, which no policy takes for a resource.
fn key_statement(key: &str, target: &StorageTarget) -> Value {
    let partition = partition(&target.region);
    let alias = key.rsplit_once(":alias/").map_or_else(|| key.strip_prefix("alias/"), |(_, alias)| Some(alias));
    let Some(alias) = alias else {
        let keys: Vec<String> = Some(key.to_owned()).filter(|key| !key.is_empty()).into_iter().collect();
        return use_of_keys(&keys, partition, &target.region);
    };
    let mut statement = use_of_keys(&[], partition, &target.region);
    statement["Condition"] = json!({"ForAnyValue:StringEquals": {"kms:ResourceAliases": format!("alias/{alias}")}});
    statement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::target::{CommitPlan, CredentialSource, Encryption, ManifestPlan};

    fn target() -> StorageTarget {
        StorageTarget { bucket: "lake".into(), region: "eu-central-1".into(), ..StorageTarget::default() }
    }

    fn of(target: StorageTarget) -> Configuration {
        Configuration { target, ..Configuration::default() }
    }

    fn committing(create_only: Option<OnExisting>, manifest: bool) -> Configuration {
        let commit = CommitPlan { create_only, manifest: manifest.then(ManifestPlan::default), ..CommitPlan::default() };
        Configuration { commit, ..of(target()) }
    }

    /// A line for each statement: actions, resources, condition.
    #[track_caller]
    fn check(configuration: &Configuration, needs: &PolicyNeeds<'_>, expected: &[&str]) {
        let policy: Value = serde_json::from_str(&configuration.least_policy(needs)).unwrap();
        let texts =
            |value: &Value| value.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ");
        let line = |statement: &Value| {
            assert_eq!(statement["Effect"], "Allow");
            let condition = statement.get("Condition").map(|it| format!(" if {it}")).unwrap_or_default();
            format!("{} {}{condition}", texts(&statement["Action"]), texts(&statement["Resource"]))
        };
        let lines: Vec<String> = policy["Statement"].as_array().unwrap().iter().map(line).collect();
        assert_eq!(lines, expected);
    }

    const RAW: PolicyNeeds<'_> =
        PolicyNeeds { folder: "raw/", manifest_folder: None, quarantine_folder: None, repeatable: true, headers: &[] };
    const MANIFESTS: PolicyNeeds<'_> = PolicyNeeds { manifest_folder: Some("m/"), ..RAW };

    #[test]
    fn objects_can_be_put_in_their_folder_and_nowhere_else() {
        let put = |folder: &str| [format!("s3:PutObject {folder}"), format!("s3:AbortMultipartUpload {folder}")];
        let check = |target: StorageTarget, folder: &str, place: &str| {
            let lines = put(place);
            check(&of(target), &PolicyNeeds { folder, ..RAW }, &lines.each_ref().map(String::as_str));
        };
        let at = |region: &str, endpoint: Option<&str>| StorageTarget {
            region: region.into(),
            endpoint: endpoint.map(str::to_owned),
            ..target()
        };
        check(target(), "raw/", "arn:aws:s3:::lake/raw/*");
        check(target(), "", "arn:aws:s3:::lake/*");
        check(target(), "a*?$/ü/", "arn:aws:s3:::lake/a${*}${?}${$}/ü/*");
        check(at("cn-north-1", None), "raw/", "arn:aws-cn:s3:::lake/raw/*");
        check(at("us-gov-west-1", None), "raw/", "arn:aws-us-gov:s3:::lake/raw/*");
        check(at("us-gov-west-1", Some("https://s3-fips.us-gov-west-1.amazonaws.com")), "raw/", "arn:aws-us-gov:s3:::lake/raw/*");
        check(at("cn-north-1", Some("http://minio:9000")), "raw/", "arn:aws:s3:::lake/raw/*");
        let access_point = "arn:aws:s3:eu-central-1:123456789012:accesspoint/ap";
        check(StorageTarget { bucket: access_point.into(), ..target() }, "raw/", &format!("{access_point}/object/raw/*"));
    }

    #[test]
    fn rows_in_quarantine_are_put_as_any_others() {
        let needs = PolicyNeeds { quarantine_folder: Some("q/"), ..RAW };
        let [raw, quarantine] = ["arn:aws:s3:::lake/raw/*", "arn:aws:s3:::lake/q/*"];
        let both = |action: &str| format!("{action} {quarantine} {raw}");
        let [put, abort, get] = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject"].map(both);
        check(&of(target()), &needs, &[&put, &abort]);
        check(&committing(Some(OnExisting::Verify), false), &needs, &[&put, &abort, &get]);
        let within = PolicyNeeds { quarantine_folder: Some("raw/_bad/"), ..RAW };
        check(&of(target()), &within, &["s3:PutObject arn:aws:s3:::lake/raw/*", "s3:AbortMultipartUpload arn:aws:s3:::lake/raw/*"]);
    }

    #[test]
    fn the_metadata_of_tables_is_read() {
        let catalog = CatalogPlan {
            uri: "http://catalog".into(),
            warehouse: None,
            namespace: vec!["n".into()],
            auth: CatalogAuth::None,
            create: true,
            adds_columns: false,
            athena: false,
            partition: Vec::new(),
        };
        let [put, abort] = ["s3:PutObject", "s3:AbortMultipartUpload"].map(|action| format!("{action} arn:aws:s3:::lake/raw/*"));
        let read = "s3:GetObject arn:aws:s3:::lake/raw/*/metadata/*";
        check(&Configuration { catalog: Some(catalog.clone()), ..of(target()) }, &RAW, &[&put, &abort, read]);
        let glue = CatalogPlan { auth: CatalogAuth::SigV4("glue".into()), create: false, ..catalog };
        let of_glue = "glue:GetCatalog glue:GetDatabase glue:GetTable glue:UpdateTable arn:aws:glue:eu-central-1:*:catalog \
                       arn:aws:glue:eu-central-1:*:database/* arn:aws:glue:eu-central-1:*:table/*";
        check(&Configuration { catalog: Some(glue), ..of(target()) }, &RAW, &[&put, &abort, read, of_glue]);
    }

    #[test]
    fn directory_buckets_have_sessions_instead() {
        let target = StorageTarget { bucket: "lake--use1-az4--x-s3".into(), region: "us-east-1".into(), ..StorageTarget::default() };
        check(&of(target), &RAW, &["s3express:CreateSession arn:aws:s3express:us-east-1:*:bucket/lake--use1-az4--x-s3"]);
    }

    #[test]
    fn what_is_there_is_looked_at_only_where_it_is_compared() {
        const OBJECTS: &str = "arn:aws:s3:::lake/raw/*";
        const BOTH: &str = "arn:aws:s3:::lake/m/* arn:aws:s3:::lake/raw/*";
        const RECORDS: &str = "arn:aws:s3:::lake/m/*";
        use OnExisting::{Fail, Trust, Verify};
        for (create_only, manifest, repeatable, read) in [
            (None, false, true, None),
            (None, true, true, Some(RECORDS)),
            (None, true, false, None),
            (Some(Verify), false, true, Some(OBJECTS)),
            (Some(Verify), true, true, Some(BOTH)),
            (Some(Verify), true, false, Some(BOTH)),
            (Some(Trust), true, true, None),
            (Some(Trust), true, false, Some(RECORDS)),
            (Some(Trust), false, false, None),
            (Some(Fail), true, true, None),
        ] {
            let places = if manifest { BOTH } else { OBJECTS };
            let mut expected = vec![format!("s3:PutObject {places}"), format!("s3:AbortMultipartUpload {OBJECTS}")];
            expected.extend(read.map(|read| format!("s3:GetObject {read}")));
            let needs = PolicyNeeds { repeatable, ..if manifest { MANIFESTS } else { RAW } };
            check(&committing(create_only, manifest), &needs, &expected.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    #[test]
    fn manifests_among_the_objects_need_no_place_of_their_own() {
        let needs = PolicyNeeds { manifest_folder: Some("raw/m/"), ..RAW };
        let put = ["s3:PutObject arn:aws:s3:::lake/raw/*", "s3:AbortMultipartUpload arn:aws:s3:::lake/raw/*"];
        check(&committing(Some(OnExisting::Verify), true), &needs, &[&put[..], &["s3:GetObject arn:aws:s3:::lake/raw/*"]].concat());
        check(&committing(None, true), &needs, &[&put[..], &["s3:GetObject arn:aws:s3:::lake/raw/m/*"]].concat());
        let needs = PolicyNeeds { manifest_folder: Some(""), ..RAW };
        let put = ["s3:PutObject arn:aws:s3:::lake/*", "s3:AbortMultipartUpload arn:aws:s3:::lake/raw/*"];
        check(&committing(Some(OnExisting::Trust), true), &needs, &put);
    }

    #[test]
    fn headers_that_need_a_permission_of_their_own_get_it() {
        let header = |name: &str| (name.to_owned(), Some("private".to_owned()));
        let headers: Vec<_> = BY_HEADER.iter().map(|(name, _)| header(name)).chain([header("content-type")]).collect();
        let needs = PolicyNeeds { headers: &headers, ..RAW };
        let at = |endpoint: Option<&str>, acl: Option<&str>| {
            let put = ["s3:PutObject arn:aws:s3:::lake/raw/*", "s3:AbortMultipartUpload arn:aws:s3:::lake/raw/*"];
            let others = ["Tagging", "Retention", "LegalHold"].map(|what| format!("s3:PutObject{what} arn:aws:s3:::lake/raw/*"));
            let expected: Vec<&str> = put.into_iter().chain(acl).chain(others.iter().map(String::as_str)).collect();
            check(&of(StorageTarget { endpoint: endpoint.map(str::to_owned), ..target() }), &needs, &expected);
        };
        at(None, Some(r#"s3:PutObjectAcl arn:aws:s3:::lake/raw/* if {"StringEquals":{"s3:x-amz-acl":"private"}}"#));
        // Not every store knows the action.
        at(Some("http://minio:9000"), None);
    }

    #[test]
    fn keys_of_kms_are_named_as_policies_take_them() {
        let with = |algorithm: &str, key: Option<&str>, endpoint: Option<&str>| {
            let encryption = Some(Encryption { algorithm: algorithm.into(), kms_key_id: key.map(str::to_owned), bucket_key: None });
            of(StorageTarget { encryption, endpoint: endpoint.map(str::to_owned), ..target() })
        };
        let put = ["s3:PutObject arn:aws:s3:::lake/raw/*", "s3:AbortMultipartUpload arn:aws:s3:::lake/raw/*"];
        let check = |configuration: Configuration, key: Option<&str>| {
            let key = key.map(|key| format!("kms:GenerateDataKey kms:Decrypt {key}"));
            check(&configuration, &RAW, &put.into_iter().chain(key.as_deref()).collect::<Vec<_>>());
        };
        check(with("AES256", None, None), None);
        check(with("aws:kms", Some("1234"), None), Some("arn:aws:kms:eu-central-1:*:key/1234"));
        check(with("aws:kms:dsse", Some("arn:aws:kms:eu-central-1:1:key/2"), None), Some("arn:aws:kms:eu-central-1:1:key/2"));
        check(with("aws:kms", Some("1234"), Some("http://minio:9000")), None);
        for alias in ["alias/lake", "arn:aws:kms:eu-central-1:1:alias/lake"] {
            let condition = r#"{"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/lake"}}"#;
            check(with("aws:kms", Some(alias), None), Some(&format!("arn:aws:kms:eu-central-1:*:key/* if {condition}")));
        }
    }

    #[test]
    fn a_role_has_to_be_assumed() {
        let role = "arn:aws:iam::123456789012:role/loader";
        let credentials = CredentialSource { role_arn: Some(role.into()), ..CredentialSource::default() };
        let put = ["s3:PutObject arn:aws:s3:::lake/raw/*", "s3:AbortMultipartUpload arn:aws:s3:::lake/raw/*"];
        let assume = format!("sts:AssumeRole {role}");
        check(&of(StorageTarget { credentials, ..target() }), &RAW, &[put[0], put[1], &assume]);
    }
}
