//! The status page in a browser.

use crate::fixtures::proxied_store::BUCKET;
use crate::tenancy::tenants::{TenantServer, spec};
use anyhow::{Context, Result};
use lakegate_tests::chromium::Chromium;
use lakegate_tests::plugin::Message;
use lakegate_tests::tables::ids;
use lakegate_tests::tiers;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A table whose name, unescaped, would make the browser ask another host.
const MARKUP: &str = "<img src=https:elsewhere.example>";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_tenants_and_denials_and_asks_nobody_else() -> Result<()> {
    let Some(browser) = tiers::live("the status page in a browser", Chromium::find()) else { return Ok(()) };
    let served = TenantServer::start().await?;
    let (mut acme, mut beta) = (served.connect("acme").await?, served.connect("beta").await?);
    let granted = spec("beta/{{TABLE}}/{{UUID}}.json", "json");
    beta.round(&granted, [Message::Insert(ids("b", 0..2).into())]).await?;
    // And it stays so.
    beta.init(&granted).await.map_err(anyhow::Error::from)?;
    acme.init(&spec("acme/{{TABLE}}/{{UUID}}.json", "json")).await.expect_err("acme may not write json");
    let thief = acme.round(&spec("beta/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids(MARKUP, 0..2).into())]).await;
    thief.expect_err("not acme's prefix");

    let page = browser.look(&format!("http://{}", served.status)).await?;
    keep(&page.picture)?;
    let rows: Vec<Vec<String>> = page.dom.split("<tr>").map(cells).collect();
    let row = |cell: usize, text: &str| rows.iter().find(|row| row.get(cell).is_some_and(|found| found == text)).context(page.dom.clone());
    // Tenant, sessions, objects, rows; denials.
    assert_eq!((&row(0, "beta")?[..4], row(0, "beta")?[7].as_str()), (&["beta", "1", "1", "2"].map(String::from)[..], "0"));
    assert_eq!((row(0, "acme")?[2].as_str(), row(0, "acme")?[7].as_str()), ("0", "2"));
    // Time, tenant, rule, message.
    let denial = row(2, "formats")?;
    assert_eq!((denial[1].as_str(), denial[3].as_str()), ("acme", "\"json\" is not granted; `formats` are [\"csv\"]"));
    let denial = row(2, "key_prefixes")?;
    assert!(denial[1] == "acme" && denial[3].contains("is outside the granted prefixes [\"acme/\"]"), "{denial:?}");
    assert!(denial[3].contains(&format!("beta/{}/", MARKUP.replace('<', "&lt;").replace('>', "&gt;"))), "{denial:?}");

    assert_eq!(page.asked, [""; 0], "the page stands alone");
    assert!(page.picture.starts_with(b"\x89PNG\r\n\x1a\n") && page.picture.len() > 10_000, "{} bytes", page.picture.len());
    let served = served.stop().await?;
    assert_eq!(lakegate_local_store::LocalStore::open(&served.1.path().join("store"))?.records(BUCKET, "acme/")?.len(), 0);
    Ok(())
}

/// The same name on a page that does not escape it: the request to another host is one that the test above would have seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_asks_another_host_is_seen_to() -> Result<()> {
    let Some(browser) = tiers::live("a foreign picture in a browser", Chromium::find()) else { return Ok(()) };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _head = socket.read(&mut [0; 4_096]).await;
            let page = format!("<!doctype html><p>{MARKUP}");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
            let _gone = socket.write_all(format!("{head}Content-Length: {}\r\n\r\n{page}", page.len()).as_bytes()).await;
        }
    });
    assert!(browser.look(&origin).await?.asked.contains(&"https://elsewhere.example/".to_owned()));
    Ok(())
}

/// The cells of a row, up to the next row.
fn cells(row: &str) -> Vec<String> {
    row.split("<td>").skip(1).map(|cell| cell.split("</td>").next().unwrap_or_default().trim().to_owned()).collect()
}

/// Kept for inspection.
fn keep(picture: &[u8]) -> Result<()> {
    let folder = tiers::repository().join("target/status-page");
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join("page.png"), picture)?)
}
