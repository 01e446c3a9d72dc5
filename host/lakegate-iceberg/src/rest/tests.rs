use super::*;
use crate::auth::Secret;
use crate::testing::{Fault, ModelCatalog};

async fn connected(catalog: &ModelCatalog, uri: &str, auth: Auth) -> Result<Catalog, Error> {
    Catalog::connect(CatalogOptions { uri: uri.into(), warehouse: Some("s3://lake/ä".into()), auth, transport: Arc::new(catalog.clone()) })
        .await
}

fn name() -> TableName {
    TableName { namespace: vec!["a b".into(), "c/d".into()], name: "t.é".into() }
}

#[tokio::test]
async fn paths_are_as_the_specification_and_the_configuration_say() {
    let catalog = ModelCatalog::new();
    let client = connected(&catalog, "https://catalog.example/api/", Auth::None).await.unwrap();
    assert!(!client.keeps_keys());
    assert_eq!(client.table_path(&name()), "namespaces/a%20b%1Fc%2Fd/tables/t.%C3%A9");
    assert_eq!(catalog.with(|model| model.seen[0][1].clone()), "/api/v1/config?warehouse=s3%3A%2F%2Flake%2F%C3%A4");
    catalog.with(|model| {
        model.config = json!({
            "defaults": {"prefix": "no", "namespace-separator": "%2E", "uri": null}, "overrides": {"prefix": "arn%3Aaws/x", "uri": "https://catalog.example"},
            "idempotency-key-lifetime": "PT30M", "endpoints": ["GET /v1/config"],
        });
    });
    let client = connected(&catalog, "https://catalog.example", Auth::None).await.unwrap();
    assert!(client.keeps_keys());
    assert_eq!(client.table_path(&name()), "arn%3Aaws/x/namespaces/a%20b%2Ec%2Fd/tables/t.%C3%A9");
}

#[tokio::test]
async fn an_address_or_a_configuration_that_leads_elsewhere_is_refused() {
    let catalog = ModelCatalog::new();
    for uri in [
        "",
        "catalog.example",
        "ftp://x",
        "https://",
        "https://u:p@x",
        "https://x?a",
        "https://x/#",
        "https://x/a//b",
        "https://x/../y",
        "https://x y",
    ] {
        let error = connected(&catalog, uri, Auth::None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{uri}");
        assert!(!error.message.contains("u:p"));
    }
    assert_eq!(catalog.with(|model| model.seen.len()), 0);
    for (config, expected) in [
        (json!({"overrides": {"uri": "https://evil.example"}}), "the address \"https://evil.example\""),
        (json!({"overrides": {"prefix": "../x"}}), "the prefix"),
        (json!({"defaults": {"prefix": "a?b"}}), "the prefix"),
        (json!({"overrides": {"namespace-separator": "/"}}), "the separator"),
        (json!({"overrides": []}), "no configuration"),
        (json!("x"), "no configuration"),
    ] {
        catalog.with(|model| model.config = config);
        let error = connected(&catalog, "https://catalog.example", Auth::None).await.unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn what_becomes_of_a_commit_follows_from_the_answer() {
    let catalog = ModelCatalog::new();
    let client = connected(&catalog, "https://catalog.example", Auth::None).await.unwrap();
    let table = TableName { namespace: vec!["n".into()], name: "t".into() };
    let said = r#"{"error": {"message": "not so", "type": "SomeException", "code": 0}}"#;
    for (fault, fate, kind) in [
        (Fault::NotSent, "NotTaken", ErrorKind::Unavailable),
        (Fault::Lost, "Unknown", ErrorKind::Unavailable),
        (Fault::Status(200, "<html>"), "Unknown", ErrorKind::Rejected),
        (Fault::Status(204, ""), "Unknown", ErrorKind::Rejected),
        (Fault::Status(301, ""), "Refused", ErrorKind::Rejected),
        (Fault::Status(307, ""), "Refused", ErrorKind::Rejected),
        (Fault::Status(400, said), "Refused", ErrorKind::Rejected),
        (Fault::Status(401, said), "Refused", ErrorKind::Denied),
        (Fault::Status(403, said), "Refused", ErrorKind::Denied),
        (Fault::Status(404, said), "Refused", ErrorKind::Rejected),
        (Fault::Status(408, ""), "Unknown", ErrorKind::Unavailable),
        (Fault::Status(409, said), "NotTaken", ErrorKind::Unavailable),
        (Fault::Status(429, ""), "NotTaken", ErrorKind::Unavailable),
        (Fault::Status(500, said), "Unknown", ErrorKind::Unavailable),
        (Fault::Status(502, ""), "Unknown", ErrorKind::Unavailable),
        (Fault::Status(503, ""), "Unknown", ErrorKind::Unavailable),
        (Fault::Status(504, ""), "Unknown", ErrorKind::Unavailable),
    ] {
        catalog.with(|model| model.commit_faults = [fault.clone()].into());
        let (found, error) = match client.commit(&table, &Bytes::new(), None).await {
            CommitAnswer::Taken(_) => panic!("{fault:?}"),
            CommitAnswer::NotTaken(error) => ("NotTaken", error),
            CommitAnswer::Refused(error) => ("Refused", error),
            CommitAnswer::Unknown(error) => ("Unknown", error),
        };
        assert_eq!((found, error.kind), (fate, kind), "{fault:?}: {error}");
        assert!(!matches!(fault, Fault::Status(_, text) if text == said) || error.message.contains("SomeException: not so"), "{error}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let catalog = ModelCatalog::new();
    let token = |text| Fault::Status(200, text);
    let auth = Auth::OAuth2 { token_uri: None, client_id: "me".into(), client_secret: Secret::new("canary"), scope: None };
    let answers = [
        token(r#"{"access_token": "one"}"#),
        Fault::None,
        Fault::Status(401, r#"{"error": {"message": "one is no good, canary"}}"#),
        token(r#"{"access_token": "two"}"#),
        Fault::None,
        Fault::Status(419, ""),
        token(r#"{"access_token": "three"}"#),
        Fault::Status(401, r#"{"error": {"message": "three is no good, canary"}}"#),
    ];
    catalog.with(|model| model.other_faults = answers.into());
    let client = connected(&catalog, "https://catalog.example", auth).await.unwrap();
    let table = TableName { namespace: vec!["n".into()], name: "t".into() };
    assert!(client.load_table(&table).await.unwrap().is_none());
    let error = client.load_table(&table).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("*** is no good, ***"), "{error}");
    let tokens: Vec<String> = catalog.with(|model| model.seen.iter().map(|it| it[2].clone()).filter(|it| !it.is_empty()).collect());
    assert_eq!(tokens, ["Bearer one", "Bearer one", "Bearer two", "Bearer two", "Bearer three"]);
    assert_eq!(client.requests(), 5);
}

/// A catalog may say anything: whatever it is, there is an answer or an error, in little memory.
mod strangers {
    use super::*;
    use crate::metadata::tests::answer;
    use proptest::prelude::*;

    /// Pieces of JSON, as it is and as it should not be.
    fn snippets() -> impl Strategy<Value = String> {
        let fixed = [
            "null",
            "true",
            "-1",
            "9223372036854775808",
            "1e400",
            "\"\"",
            "\"s3://lake/t\"",
            "[]",
            "{}",
            "{\"type\":\"struct\",\"fields\":[]}",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "[[[[[[[[",
            "}",
            ",",
            "\"type\":\"list\"",
            "\"element\":",
            "\"snapshot-id\":30",
            "\"parent-snapshot-id\":30",
            "{\"metadata\":",
        ];
        prop_oneof![proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned), (1..4_000_usize).prop_map(|depth| "[".repeat(depth))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_table_is_read_or_refused(edits in prop::collection::vec((0..4_000_usize, 0..40_usize, snippets()), 0..6)) {
            let mut bytes = answer(|_| {});
            for (at, count, snippet) in edits {
                let at = at % bytes.len().max(1);
                let end = (at + count).min(bytes.len());
                bytes.splice(at..end, snippet.into_bytes());
            }
            match Metadata::parse(&bytes) {
                Ok(table) => {
                    let _ = (table.find_commit("a"), table.spec(), table.current());
                }
                Err(error) => prop_assert!(error.message.len() < 2_000, "{}", error),
            }
        }
    }

    #[test]
    fn what_is_deep_or_long_costs_nothing() {
        let nested = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
        for deep in [nested("[", "]"), nested("{\"type\":\"list\",\"element\":", "}"), nested("{\"a\":", "}")] {
            for place in [
                "{\"metadata\": X}",
                "{\"metadata\": {\"schemas\": [X]}}",
                "{\"ignored\": X, \"metadata\": {\"snapshots\": [{\"summary\": X}]}}",
                "X",
            ] {
                let error = Metadata::parse(place.replace('X', &deep).as_bytes()).unwrap_err();
                assert!(error.message.len() < 1_000, "{error}");
            }
            let good = String::from_utf8(answer(|_| {})).unwrap();
            let with_deep_schema = good.replacen("\"type\":\"long\"", &format!("\"type\":{deep}"), 1);
            assert!(Metadata::parse(with_deep_schema.as_bytes()).is_err());
        }
    }
}
