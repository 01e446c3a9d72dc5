//! Checks that the programs used by the tests are installed and work.

use lakegate_tests::python::Python;
use lakegate_tests::{moto, tiers};

#[tokio::test]
async fn python_reads_with_every_library() {
    let Some(python) = tiers::live("reading back with pyarrow, polars and duckdb", Python::find()) else { return };
    let script = "import sys, pyarrow, polars, duckdb, grpc; print(duckdb.sql('select 6 * 7').fetchall()[0][0], sys.argv[1])";
    assert_eq!(python.run(script, ["an argument"]).await.expect("a script").trim(), "42 an argument");
    let error = python.run("raise ValueError('on purpose')", [""; 0]).await.expect_err("a failing script");
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[tokio::test]
async fn moto_answers() {
    let Some(server) = tiers::live("AWS by moto", moto::start().await) else { return };
    tokio::net::TcpStream::connect(server.address).await.expect("it listens");
}
