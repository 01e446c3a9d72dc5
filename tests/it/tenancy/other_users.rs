//! Access to a tenant's unix socket by other users of the machine, as determined by its mode and owner.

use crate::tenancy::tenants::TenantServer;
use anyhow::{Context, Result, ensure};
use lakegate_tests::process::on_path;
use lakegate_tests::tiers::{self, Unavailable};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Two users that are not root, and need not exist on the system.
const NOBODY: u32 = 65_534;
const SOMEBODY: u32 = 65_533;

/// Connects, sends the HTTP/2 preface, and prints the type of the first frame that is received, or the error number.
const CLIENT: &str = r#"
use Socket;
socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die $!;
connect($s, sockaddr_un($ARGV[0])) or do { print "error ", $!+0; exit };
syswrite($s, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0");
sysread($s, my $frame, 9) == 9 or die "closed";
print "frame ", ord(substr($frame, 3, 1));
"#;
/// The error number of EACCES.
const REFUSED: &str = "error 13";
/// The frame type of SETTINGS.
const SERVED: &str = "frame 4";

const TENANTS: [(&str, &str); 5] = [
    ("private", r#""#),
    ("given", r#", socket_owner = "65534:65534""#),
    ("open", r#", socket_mode = "0666""#),
    ("shared", r#", socket_mode = "0660", socket_owner = "0:65533""#),
    ("closed", r#", socket_mode = "0066", socket_owner = "65534:65534""#),
];

fn file() -> String {
    let entry = |(name, more): (&str, &str)| {
        format!(
            "[tenants.{name}]\nlisten = {{ socket = \"DIR/{name}.sock\"{more} }}\n[tenants.{name}.grant]\nbuckets = [\"served\"]\n\
             key_prefixes = [\"{name}/\"]\nregion = \"us-east-1\"\nformats = [\"csv\"]\ncontent_types = [\"text/csv\"]\n"
        )
    };
    TENANTS.map(entry).concat()
}

/// The result of a process with this user and group.
async fn asked_by(perl: &Path, socket: PathBuf, uid: u32, gid: u32) -> Result<String> {
    let mut command = Command::new(perl);
    // It keeps none of root's groups: std drops them when it changes the user.
    command.args(["-e", CLIENT]).arg(socket).uid(uid).gid(gid).current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_lets_in_whom_its_mode_and_owner_name() -> Result<()> {
    if std::fs::metadata("/proc/self").context("a process of Linux")?.uid() != 0 {
        tiers::skipped("sockets and other users", "only root can become another user");
        return Ok(());
    }
    let perl = on_path("perl").ok_or_else(|| Unavailable("no `perl` on the PATH".into()));
    let Some(perl) = tiers::live("sockets and other users", perl) else { return Ok(()) };
    let served = TenantServer::with(&file(), |command, folder| {
        command.arg("--local").arg(folder.join("store"));
    })
    .await?;
    // The folder is accessible to everyone, so it is the socket that refuses.
    std::fs::set_permissions(served.folder.path(), std::fs::Permissions::from_mode(0o755))?;
    for (tenant, [nobody, somebody, nobody_in_somebodys_group]) in [
        ("private", [REFUSED, REFUSED, REFUSED]),
        ("given", [SERVED, REFUSED, SERVED]),
        ("open", [SERVED, SERVED, SERVED]),
        ("shared", [REFUSED, SERVED, SERVED]),
        // For the owner, the owner's permission bits decide.
        ("closed", [REFUSED, SERVED, REFUSED]),
    ] {
        for (uid, gid, expected) in
            [(NOBODY, NOBODY, nobody), (SOMEBODY, SOMEBODY, somebody), (NOBODY, SOMEBODY, nobody_in_somebodys_group)]
        {
            let socket = served.folder.path().join(format!("{tenant}.sock"));
            assert_eq!(asked_by(&perl, socket, uid, gid).await?, expected, "{tenant}: {uid}:{gid}");
        }
    }
    served.stop().await?;
    Ok(())
}
