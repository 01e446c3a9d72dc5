//! Connecting to an address: `HOST:PORT`, `dns:///HOST:PORT` or `unix:///PATH`.

use super::PluginError;
use std::error::Error as _;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint};

/// Flow-control window, per call and in total: messages have up to 200 MiB, and with the default of 64 KiB each piece would cost a round trip.
const WINDOW_BYTES: u32 = 4 << 20;
/// Initial and maximum delay between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connects, retrying until the limit, since servers may be started in any order.
pub(super) async fn reach(address: &str, limit: Duration) -> Result<Channel, PluginError> {
    let endpoint = endpoint(address)?;
    let until = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    let mut why = "no answer".to_owned();
    loop {
        match timeout_at(until, endpoint.connect()).await {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(error)) => why = innermost(&error),
            Err(_) => {}
        }
        if Instant::now() + pause >= until {
            return Err(PluginError::Unreachable { address: address.to_owned(), limit, why });
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A parsed address.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, PluginError> {
    let refused = || PluginError::Address { address: address.to_owned() };
    let uri = if address.starts_with("unix:") {
        address.to_owned()
    } else {
        let target = ["dns:///", "passthrough:///"].iter().find_map(|scheme| address.strip_prefix(scheme)).unwrap_or(address);
        if target.is_empty() || target.contains("://") {
            return Err(refused());
        }
        // As in Go, no host means localhost.
        let host = if target.starts_with(':') { "localhost" } else { "" };
        format!("http://{host}{target}")
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| refused())?;
    if !address.starts_with("unix:") && endpoint.uri().port_u16().is_none() {
        return Err(refused());
    }
    Ok(endpoint.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES).tcp_nodelay(true))
}

/// The cause of a "transport error".
fn innermost(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut next = error.source();
    while let Some(inner) = next {
        cause = inner;
        next = inner.source();
    }
    super::error::clip(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (address, accepted) in [
            ("localhost:7777", true),
            (":7777", true),
            ("127.0.0.1:7777", true),
            ("[::1]:7777", true),
            ("dns:///example.org:7777", true),
            ("unix:///tmp/a b.sock", true),
            ("unix:/tmp/a.sock", true),
            ("", false),
            ("localhost", false),
            ("https://localhost:7777", false),
            ("spaces in it:1", false),
        ] {
            assert_eq!(endpoint(address).is_ok(), accepted, "{address}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_cause() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = reach(&format!("127.0.0.1:{port}"), Duration::from_millis(300)).await.unwrap_err().to_string();
        assert!(error.contains("no answer from 127.0.0.1") && error.contains("refused"), "{error}");
    }
}
