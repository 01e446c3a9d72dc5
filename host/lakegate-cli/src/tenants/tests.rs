//! Tests of the tenants file: what is accepted, and what is refused with which message.

use super::*;
use lakegate::Options;
use std::num::NonZeroUsize;

const GRANT: &str = r#"
[tenants.acme.grant]
buckets = ["lake"]
key_prefixes = ["acme/"]
region = "eu-central-1"
formats = ["csv"]
content_types = ["text/csv"]
"#;

#[test]
fn a_file_is_understood_whole() {
    let text = format!(
        r#"
[tenants.acme]
listen = {{ socket = "/run/acme.sock", socket_mode = "0660", socket_owner = "10:20" }}
machine = {{ lanes = 2, memory_bytes = 1, in_flight_bytes = 2, guest_memory_bytes = 3, budget_bytes = 33556436, cpu_weight = 5 }}
credentials = {{ role_arn = "arn:aws:iam::1:role/acme", external_id = "x" }}
{GRANT}daily_bytes = 7
max_message_bytes = 1000

[tenants.beta]
listen = {{ plain_tcp = "127.0.0.1:0" }}
[tenants.beta.grant]
buckets = ["lake"]
key_prefixes = [""]
region = "r"
formats = ["json", "parquet"]
content_types = ["a/b"]
"#
    );
    let tenants = parse(&text).unwrap();
    let [acme, beta] = tenants.as_slice() else { panic!("{tenants:?}") };
    assert_eq!(acme.place, ListenAddress::Socket { path: "/run/acme.sock".into(), mode: 0o660, owner: Some((10, 20)) });
    assert_eq!((acme.tenant.grant.daily_bytes, acme.tenant.grant.max_backoff_seconds), (Some(7), 30));
    assert_eq!(acme.tenant.credentials.external_id.as_deref(), Some("x"));
    let options = acme.options(&Options::default()).unwrap();
    let share = (options.lanes.get(), options.memory_bytes, options.in_flight_bytes, options.guest_memory_bytes);
    assert_eq!(share, (2, 1, 2, 3));
    // Two queues of 4 MiB, a message, staged parts, and bytes in flight.
    assert_eq!((options.host_bytes(), acme.tenant.share.budget.limit_bytes()), (8_389_611, Some(33_556_436)));
    assert!(options.tenant.is_some_and(|tenant| *tenant.name == *"acme"));
    assert_eq!(beta.place, ListenAddress::Loopback("127.0.0.1:0".parse().unwrap()));
}

#[track_caller]
fn refused(entry: &str, expected: &str) {
    let text = format!("[tenants.acme]\n{entry}\n{GRANT}");
    let problems = parse(&text).expect_err(expected).join("\n");
    assert!(problems.contains(expected), "{problems}");
}

#[test]
fn what_is_wrong_is_said() {
    refused("listen = { plain_tcp = \"10.0.0.1:7777\" }", "not on the loopback interface");
    for listen in [
        "{}",
        "{ plain_tcp = \"127.0.0.1:1\", socket_mode = \"0600\" }",
        "{ socket = \"s\", plain_tcp = \"127.0.0.1:1\" }",
        "{ tls = \"[::]:1\" }",
    ] {
        refused(&format!("listen = {listen}"), "has `socket`, `tls` or `plain_tcp`, with what goes with it");
    }
    let tls = "tls = \"[::]:1\", certificate = \"c\", key = \"k\", client_authority = \"a\"";
    refused(&format!("listen = {{ {tls}, client_sha256 = [] }}"), "no client could connect");
    refused(&format!("listen = {{ {tls}, client_sha256 = [\"00\"] }}"), "\"00\" is not the SHA-256 of a certificate");
    refused("listen = { socket = \"s\", socket_mode = \"0999\" }", "is not a mode such as");
    refused("listen = { socket = \"s\", socket_mode = \"7777\" }", "is not a mode such as");
    refused("listen = { socket = \"s\", socket_owner = \"root\" }", "not USER:GROUP");
    refused("listen = { socket = \"s\" }\ncredentials = { access_key_id_env = \"A\" }", "go together");
    for conflicting in ["profile", "file"] {
        let variables = "access_key_id_env = \"A\", secret_access_key_env = \"B\"";
        refused(&format!("listen = {{ socket = \"s\" }}\ncredentials = {{ {conflicting} = \"p\", {variables} }}"), "not both");
    }
    for (conflicting, expected) in [
        ("", "`web_identity_token_file` needs `role_arn`"),
        ("role_arn = \"r\", profile = \"p\", ", "`web_identity_token_file` or `profile`, not both"),
        ("role_arn = \"r\", file = \"f\", ", "`web_identity_token_file` or `file`, not both"),
        ("role_arn = \"r\", external_id = \"x\", ", "`web_identity_token_file` or `external_id`, not both"),
        ("access_key_id_env = \"A\", secret_access_key_env = \"B\", ", "`web_identity_token_file` or `access_key_id_env`, not both"),
    ] {
        refused(&format!("listen = {{ socket = \"s\" }}\ncredentials = {{ {conflicting}web_identity_token_file = \"t\" }}"), expected);
    }
    refused("listen = { socket = \"s\" }\nlimits = { lanes = 1 }", "unknown field");
    refused("listen = { socket = \"s\" }\nmachine = { lanes = 0 }", "nonzero");
    // Names appear unescaped in metrics and on the status page.
    for name in ["a b", "a\\\"b", "<b>", "a\\nb", "é", "", &"n".repeat(65)] {
        let entry = format!("[tenants.\"{name}\"]\nlisten = {{ socket = \"s\" }}\n{}", GRANT.replace("acme.", &format!("\"{name}\".")));
        let problems = parse(&entry).unwrap_err();
        assert!(problems[0].ends_with("a name has 1 to 64 letters, digits, `-`, `_` and `.`"), "{problems:?}");
    }
    assert_eq!(parse("tenants = {}").unwrap_err(), ["there are no tenants"]);
    assert!(parse("").unwrap_err()[0].contains("missing field"));
}

#[test]
fn a_mistake_is_told_by_its_line_and_the_line_is_not_shown() {
    let text = "[tenants.acme]\nlisten = { socket = \"s\" }\ncredentials = { external_id = \"hush\", roll_arn = \"r\" }\n";
    let [said] = parse(&format!("{text}{GRANT}")).unwrap_err().try_into().unwrap();
    assert!(said.starts_with("line 3: unknown field `roll_arn`") && !said.contains("hush"), "{said}");
    let [said] = parse("[tenants.acme\n").unwrap_err().try_into().unwrap();
    assert!(said.starts_with("line 1: "), "{said}");
}

#[test]
fn a_token_goes_with_its_role() {
    let credentials = "credentials = { role_arn = \"arn:aws:iam::1:role/acme\", web_identity_token_file = \"/run/token\" }";
    let tenants = parse(&format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\n{credentials}\n{GRANT}")).unwrap();
    let options = tenants[0].options(&Options::default()).unwrap();
    assert_eq!(options.connect.web_identity_token_file, Some("/run/token".into()));
    assert_eq!(tenants[0].tenant.credentials.role_arn.as_deref(), Some("arn:aws:iam::1:role/acme"));
}

#[test]
fn a_tenant_may_have_a_credentials_file_of_its_own() {
    let credentials = "credentials = { file = \"/etc/acme.credentials\", profile = \"sink\" }";
    let tenants = parse(&format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\n{credentials}\n{GRANT}")).unwrap();
    let options = tenants[0].options(&Options::default()).unwrap();
    assert_eq!(options.connect.credentials_file, Some("/etc/acme.credentials".into()));
    assert_eq!(tenants[0].tenant.credentials.profile.as_deref(), Some("sink"));
}

#[test]
fn a_budget_that_holds_no_session_is_refused() {
    let refused = |budget: u64| {
        let machine = format!("machine = {{ lanes = 1, memory_bytes = 1, in_flight_bytes = 1, budget_bytes = {budget} }}");
        let tenants = parse(&format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\n{machine}\n{GRANT}")).unwrap();
        tenants[0].machine(&Options::default()).err().map(|error| error.to_string())
    };
    // One message being read, and one waiting.
    let needed = 2 * (200 << 20) + 2;
    assert_eq!(refused(needed + 1), None);
    let said = refused(needed).unwrap();
    assert!(
        said.starts_with("tenant \"acme\": `machine.budget_bytes`: 419430402 leaves nothing for guests: the host needs 419430402"),
        "{said}"
    );
}

/// Each field of `machine` comes from the file or from the common options; invalid values are refused.
#[test]
fn a_share_of_the_machine_on_both_sides_of_each_bound() {
    let read = |machine: &str| parse(&format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\nmachine = {{ {machine} }}\n{GRANT}"));
    let common = Options {
        memory_bytes: 11,
        in_flight_bytes: 12,
        guest_memory_bytes: 13,
        spill_bytes: Some(14),
        lanes: NonZeroUsize::MIN,
        ..Options::default()
    };
    let fields = |machine: &str| {
        let options = read(machine).unwrap()[0].machine(&common).unwrap();
        let spill_bytes = options.spill_bytes.unwrap();
        [options.lanes.get() as u64, options.memory_bytes, options.in_flight_bytes, options.guest_memory_bytes, spill_bytes]
    };
    assert_eq!(fields(""), [1, 11, 12, 13, 14]);
    assert_eq!(read("").unwrap()[0].machine(&Options::default()).unwrap().spill_bytes, Some(1 << 30), "a tenant's disk has an end");
    for (at, field) in ["lanes", "memory_bytes", "in_flight_bytes", "guest_memory_bytes", "spill_bytes"].into_iter().enumerate() {
        let mut expected = [1, 11, 12, 13, 14];
        expected[at] = 7;
        assert_eq!(fields(&format!("{field} = 7")), expected, "{field}");
    }
    for (field, least) in [
        ("lanes", 1),
        ("memory_bytes", 0),
        ("in_flight_bytes", 0),
        ("guest_memory_bytes", 0),
        ("spill_bytes", 0),
        ("budget_bytes", 0),
        ("cpu_weight", 1),
    ] {
        assert!(read(&format!("{field} = {least}")).is_ok(), "{field}");
        for wrong in [(least - 1).to_string(), "\"1\"".to_owned(), "1.5".to_owned()] {
            let problems = read(&format!("{field} = {wrong}")).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with("line 3: invalid "), "{field} = {wrong}: {problems:?}");
        }
    }
    assert!(read("cpu_weight = 4294967295").is_ok() && read("cpu_weight = 4294967296").is_err());
    assert!(read("cores = 1").is_err());
}

#[test]
fn what_has_changed_in_a_file_is_told_from_what_has_not() {
    let read = |text: &str| parse(text).unwrap().remove(0);
    let text = format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\n{GRANT}");
    let (before, same) = (read(&text), read(&format!("# a word\n{text}")));
    assert!(before.is_as(&same));
    for (from, to) in [
        ("acme/", "acme2/"),
        ("\"s\"", "\"t\""),
        ("tenants.acme", "tenants.beta"),
        ("[tenants.acme]\n", "[tenants.acme]\nmachine = { lanes = 1 }\n"),
    ] {
        assert!(!before.is_as(&read(&text.replace(from, to))), "{from} {to}");
    }
}

#[test]
fn two_tenants_have_two_places() {
    let one = format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\n{GRANT}");
    let text = format!("{one}{}", one.replace("acme", "beta"));
    assert_eq!(parse(&text).unwrap_err(), ["tenants \"acme\" and \"beta\" both listen on s"]);
}

#[test]
fn keys_come_from_variables_that_must_be_there() {
    let missing = "credentials = { access_key_id_env = \"LAKEGATE_TEST_NO_SUCH\", secret_access_key_env = \"LAKEGATE_TEST_NONE\" }";
    let tenants = parse(&format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\n{missing}\n{GRANT}")).unwrap();
    let error = tenants[0].options(&Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "tenant \"acme\": the variable LAKEGATE_TEST_NO_SUCH is not set");
}

/// The documentation page for operators.
const PAGE: &str = include_str!("../../../../docs/tenants.md");

#[test]
fn the_pages_example_is_understood() {
    let example = PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let tenants = parse(example).unwrap();
    assert_eq!((tenants.len(), tenants[0].tenant.grant.max_object_bytes), (1, Some(1 << 30)));
}

/// The names in the first column of a section's tables.
fn named(section: &str) -> Vec<&'static str> {
    let section = PAGE.split("\n## ").find(|it| it.lines().next().is_some_and(|title| title.ends_with(section))).expect("a section");
    let first_cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    first_cells
        .flat_map(|cell| {
            cell.split('`').filter(|name| name.chars().all(|it| it.is_ascii_lowercase() || "_0123456789".contains(it)) && !name.is_empty())
        })
        .collect()
}

#[test]
fn every_field_that_the_page_names_is_one() {
    let is_unknown = |of: &str, field: &str| {
        let entry = format!("[tenants.acme.{of}]\n{field} = {{}}\n");
        parse(&format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\n{entry}"))
            .is_err_and(|errors| errors.join("\n").contains("unknown field"))
    };
    for (section, of, fields) in [("`grant`", "grant", 39), ("`machine`", "machine", 7), ("Credentials", "credentials", 9)] {
        assert!(is_unknown(of, "no_such_field"), "{of}");
        let named = named(section);
        let unknown: Vec<_> = named.iter().filter(|field| is_unknown(of, field)).collect();
        assert!(unknown.is_empty(), "{of}: {unknown:?}");
        assert_eq!(named.len(), fields, "{of}: {named:?}");
    }
}

/// The losses of a file compared with what is served.
fn lacks(served: &str, text: &str) -> Vec<String> {
    let loaded = loaded(Path::new("t.toml"), text).unwrap();
    loaded.losses(parse(served).unwrap().iter())
}

const WHOLE: &str = r#"[tenants.acme]
listen = { plain_tcp = "127.0.0.1:0" }
machine = { lanes = 1, budget_bytes = 1073741824 }
credentials = { role_arn = "arn:aws:iam::1:role/acme", external_id = "x" }
[tenants.acme.grant]
buckets = ["lake"]
key_prefixes = ["acme/"]
region = "eu-central-1"
formats = ["csv"]
content_types = ["text/csv"]
encryption = ["AES256"]
encryption_required = true
max_object_bytes = 1073741824
daily_bytes = 107374182400
[tenants.beta]
listen = { plain_tcp = "127.0.0.1:0" }
[tenants.beta.grant]
buckets = ["lake"]
key_prefixes = ["beta/"]
region = "eu-central-1"
formats = ["csv"]
content_types = ["text/csv"]
"#;

/// Truncated at any byte, a file is refused or lacks something that is served; truncated at any byte, a sealed file is refused.
#[test]
fn no_beginning_of_a_file_passes_for_a_whole_one() {
    let (file, mut good) = (Path::new("t.toml"), 0);
    for beginning in (0..WHOLE.len()).filter_map(|end| WHOLE.get(..end)) {
        if let Ok(cut) = loaded(file, beginning) {
            good += 1;
            assert!(!cut.losses(parse(WHOLE).unwrap().iter()).is_empty(), "{beginning:?}");
        }
    }
    assert!(good > 10, "{good} beginnings are good files: the test can fail");
    assert_eq!(lacks(WHOLE, WHOLE), [""; 0]);
    let sealed = seal::applied(WHOLE);
    assert!(loaded(file, &sealed).unwrap().losses(parse(WHOLE).unwrap().iter()).is_empty());
    for beginning in (0..sealed.len() - 1).filter_map(|end| sealed.get(..end)) {
        assert!(loaded(file, beginning).is_err(), "{beginning:?}");
    }
}

#[test]
fn what_a_file_lacks_is_named_and_what_it_changes_is_not() {
    for (from, to, lost) in [
        ("daily_bytes = 107374182400\n", "", "`grant.daily_bytes` of \"acme\""),
        (", external_id = \"x\"", "", "`credentials.external_id` of \"acme\""),
        ("machine = { lanes = 1, budget_bytes = 1073741824 }\n", "", "`machine` of \"acme\""),
        ("budget_bytes = 1073741824", "cpu_weight = 2", "`machine.budget_bytes` of \"acme\""),
        ("tenants.beta", "tenants.gamma", "the tenant \"beta\""),
        ("daily_bytes = 107374182400", "daily_bytes = 7", ""),
        ("plain_tcp = \"127.0.0.1:0\"", "socket = \"s\"", ""),
        ("encryption_required = true", "encryption_required = false", ""),
    ] {
        let expected: Vec<&str> = Some(lost).filter(|lost| !lost.is_empty()).into_iter().collect();
        let text = if lost.contains("beta") { WHOLE.replace(from, to) } else { WHOLE.replacen(from, to, 1) };
        assert_eq!(lacks(WHOLE, &text), expected, "{from} to {to}");
        assert_eq!(lacks(WHOLE, &seal::applied(&text)), [""; 0], "sealed: it is all that there is");
    }
}

#[tokio::test]
async fn a_file_is_read_once_it_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    std::fs::write(&file, WHOLE.split("[tenants.beta]").next().unwrap()).unwrap();
    let writer = std::thread::spawn({
        let file = file.clone();
        move || {
            std::thread::sleep(SETTLED / 3);
            std::fs::write(&file, WHOLE).unwrap();
        }
    });
    let read = settled(&file).await.unwrap();
    writer.join().unwrap();
    assert_eq!((read.tenants.len(), read.seal), (2, Seal::Absent));
    assert_eq!(read_and_seal(&file).unwrap().seal, Seal::Whole);
    assert_eq!(super::read(&file).unwrap().seal, Seal::Whole);
}

/// A user may write the key itself instead of a variable's name, or a password instead of a number.
#[test]
fn no_mistake_quotes_what_may_be_a_secret() {
    let entry = |credentials: &str| {
        let text = format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\ncredentials = {{ {credentials} }}\n{GRANT}");
        match parse(&text) {
            Ok(tenants) => tenants[0].options(&Options::default()).expect_err("not set").message,
            Err(problems) => problems.join("\n"),
        }
    };
    for credentials in [
        "access_key_id_env = \"canary\", secret_access_key_env = \"canary\"",
        "access_key_id_env = \"PATH\", secret_access_key_env = \"canary\"",
        "profile = [\"canary\"]",
        "profile = { canary = \"canary\" }",
        "web_identity_token_file = \"canary\"",
        "profile = \"canary",
        "profile = canary",
    ] {
        let said = entry(credentials);
        assert!(!said.contains("canary"), "{credentials}: {said}");
    }
    let said = parse(&format!("[tenants.acme]\nlisten = {{ socket = \"s\" }}\n{GRANT}daily_bytes = \"canary\"\n")).unwrap_err().join("\n");
    assert_eq!(said, "line 10: invalid type: string, expected u64");
}
