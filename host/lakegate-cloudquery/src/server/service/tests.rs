//! What the plugin answers before a destination exists, or without one.

use super::*;
use tonic::Code;

fn server() -> Server {
    Server::new(futures::future::ready(Err(Arc::from("no component"))).boxed().shared(), CancellationToken::new())
}

async fn write(server: &Server, messages: Vec<write::Request>) -> Status {
    let messages = futures::stream::iter(messages.into_iter().map(Ok));
    server.write_all(&Extensions::default(), messages).await.map(|_| ()).expect_err("refused")
}

#[tokio::test]
async fn a_write_before_init_is_refused() {
    assert_eq!(write(&server(), vec![]).await.code(), Code::Internal);
    assert_eq!(write(&server(), vec![write::Request { message: None }]).await.code(), Code::Cancelled);
}

#[tokio::test]
async fn a_write_before_init_that_says_nothing_is_in_nobodys_way() {
    let server = server();
    let silent = server.clone();
    let writing = tokio::spawn(async move {
        let refused = silent.write_all(&Extensions::default(), futures::stream::pending()).await;
        refused.map(|_| ()).expect_err("refused")
    });
    // It has checked the slot.
    tokio::task::yield_now().await;
    server.init(Request::new(init::Request { no_connection: true, ..Default::default() })).await.expect("the slot is free");
    server.stop.cancel();
    assert_eq!(writing.await.expect("it ends").code(), Code::Unavailable);
}

#[tokio::test]
async fn init_without_connection_reads_nothing_and_a_write_says_so() {
    let server = server();
    let request = init::Request { spec: "not JSON".into(), no_connection: true, ..Default::default() };
    server.init(Request::new(request)).await.expect("accepted");
    let status = write(&server, vec![]).await;
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "write failed: plugin is not initialized with a spec"));
}

#[tokio::test]
async fn what_runs_at_the_same_time_is_refused() {
    let server = server();
    let _running = server.take_slot(&Extensions::default(), Refusal::InitInUse).expect("free");
    let status = server.init(Request::new(init::Request::default())).await.expect_err("refused");
    assert_eq!(status.message(), "failed to init plugin: plugin already in use");
    let status = server.close(Request::new(close::Request {})).await.expect_err("refused");
    assert_eq!(status.message(), "plugin already in use");
    assert_eq!(write(&server, vec![]).await.message(), "write failed: plugin already in use");
}

#[tokio::test]
async fn close_without_init_is_fine() {
    server().close(Request::new(close::Request {})).await.expect("OK");
}

#[test]
fn a_failed_test_says_whose_fault() {
    let code = |error| test_answer(Err(error)).failure_code;
    assert_eq!(code(OpenError::Denied("no".into())), "INVALID_SPEC");
    assert!(test_answer(Ok(())).success);
}

#[test]
fn an_empty_spec_is_an_empty_object() {
    for empty in ["", "null", " null\n"] {
        assert_eq!(spec_text(empty.as_bytes()).expect("text"), "{}");
    }
    assert!(spec_text(b"\xff").is_err());
}

/// A tenant's client can send any amount of data, and only a session has memory reserved for it.
#[test]
fn a_tenants_write_without_a_session_is_refused_unread() {
    let tenant = Arc::new(Tenant::new("acme", lakegate::Grant::default()));
    let server = Server::for_tenant(std::future::pending().boxed().shared(), CancellationToken::new(), tenant);
    let mut connection = Extensions::default();
    connection.insert(ConnectionHandle(Arc::default()));
    let said = server.write_all(&connection, futures::stream::pending()).now_or_never().expect("at once");
    let status = said.expect_err("refused");
    assert_eq!(status.message(), "write failed: plugin is not initialized. call Init first");
}

/// Connections outlive their listener for a while; their grant may be gone.
#[tokio::test]
async fn a_server_that_was_told_to_stop_answers_nothing_that_needs_a_destination() {
    let stop = CancellationToken::new();
    let server = Server::new(std::future::pending().boxed().shared(), stop.clone());
    stop.cancel();
    let spec = bytes::Bytes::from_static(b"{}");
    let test = test_connection::Request { spec };
    let schema = server.get_spec_schema(Request::new(get_spec_schema::Request {})).await;
    for code in [
        server.test_connection(Request::new(test)).await.map(|_| ()).expect_err("refused").code(),
        schema.map(|_| ()).expect_err("refused").code(),
        server.init(Request::new(init::Request::default())).await.map(|_| ()).expect_err("refused").code(),
    ] {
        assert_eq!(code, Code::Unavailable);
    }
}
