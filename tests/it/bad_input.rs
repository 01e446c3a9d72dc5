//! Messages damaged at random, natively and in the sandbox: an error of that table, or rows; never a panic, a trap, or memory without end;
//! and the tables beside it land.

use crate::support::bench;
use anyhow::{Result, ensure};
use lakegate::ledger::FailureClass;
use lakegate_guest::testing::fuzz::TARGETS;
use lakegate_tests::generate::{Dice, Generated, Types};
use lakegate_tests::{corpus, tables};
use serde_json::json;

/// Messages damaged natively, each in every format.
const NATIVE: usize = 3_000;

/// Messages damaged in the sandbox, in each format.
const SANDBOXED: usize = 150;

/// Bytes of a message at most: what is small is damaged where it matters.
const MOST_BYTES: usize = 20_000;

/// A message of a seed, with bits flipped, bytes replaced, numbers blown up, or an end cut off.
fn damaged(table: &str, seed: u64, types: Types) -> Vec<u8> {
    let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9));
    let mut message =
        (0..).map(|at| Generated::new(table, seed + (at << 32), types).ipc()).find(|ipc| ipc.len() <= MOST_BYTES).unwrap_or_default();
    for _ in 0..1 + dice.roll(4) {
        let at = dice.roll(message.len() as u64) as usize;
        match dice.roll(6) {
            0 => message.truncate(at.max(1)),
            1 => message[at] = dice.bits() as u8,
            2 => {
                // A number of eight bytes, where one may stand.
                let at = at / 8 * 8;
                let lie = [0, 1, u64::MAX, 1 << 31, 1 << 40, 1 << 62, i64::MIN as u64, dice.bits()][dice.roll(8) as usize];
                if let Some(bytes) = message.get_mut(at..at + 8) {
                    bytes.copy_from_slice(&lie.to_le_bytes());
                }
            }
            _ => message[at] ^= 1 << dice.roll(8),
        }
    }
    message
}

#[test]
fn damaged_messages_are_rows_or_errors_natively() {
    let mut ran = 0;
    for seed in 0..NATIVE as u64 {
        for (name, body) in TARGETS.iter().filter(|(name, _)| name.starts_with("ipc_")) {
            let types = if *name == "ipc_parquet" { Types::Parquet } else { Types::Text };
            let message = damaged("t", seed, types);
            if let Err(panic) = std::panic::catch_unwind(|| body(&message)) {
                let kept = std::env::temp_dir().join(format!("lakegate-{name}-{seed}.arrows"));
                let _ = std::fs::write(&kept, &message);
                eprintln_once(&format!("{name}, seed {seed}: {}", kept.display()));
                std::panic::resume_unwind(panic);
            }
            ran += 1;
        }
    }
    corpus("damaged messages natively", ran, 3 * NATIVE);
}

#[expect(clippy::print_stderr, reason = "says which message it was before the panic goes on")]
fn eprintln_once(line: &str) {
    eprintln!("{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_messages_end_their_own_table_in_the_sandbox() -> Result<()> {
    let mut ran = 0;
    for format in ["csv", "json", "parquet"] {
        let bench = bench("damaged");
        let spec = json!({"bucket": "damaged", "region": "us-east-1", "path": "{{TABLE}}/{{UUID}}", "format": format, "test_write": false});
        let session = bench.destination().open(&spec.to_string(), "sync").await?;
        let mut write = session.write()?;
        let (mut refused, mut taken) = (0, 0);
        for seed in 0..SANDBOXED as u64 {
            let types = if format == "parquet" { Types::Parquet } else { Types::Text };
            // Damage to the header is the client's error at once; the rest is the table's.
            match write.insert(damaged(&format!("t{seed}"), seed, types).into()).await {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
            write.insert(tables::ids("good", seed as i64 * 10..seed as i64 * 10 + 10).into()).await?;
            ran += 1;
        }
        let report = write.finish().await;
        for (table, failure) in report.failures() {
            // A trap would be unexpected; so would books that do not add up.
            ensure!(failure.class == FailureClass::Data && table != "good", "{format}, {table}: {failure:?}");
        }
        let good = report.tables.iter().find(|table| table.table == "good").map(|table| table.rows_confirmed);
        ensure!(good == Some(SANDBOXED as u64 * 10), "{format}: {good:?} good rows");
        ensure!(
            refused > SANDBOXED / 10 && taken > SANDBOXED / 10 && report.failures().count() > 0,
            "{format}: {refused} refused, {taken} taken"
        );
        session.close().await;
    }
    corpus("damaged messages in the sandbox", ran, 3 * SANDBOXED);
    Ok(())
}

/// What a few bytes may ask for, in the sandbox: an error of the table that names the column, and the instance lives on.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_swell_are_errors_in_the_sandbox() -> Result<()> {
    use arrow_array::builder::BinaryViewBuilder;
    use arrow_array::{ArrayRef, DictionaryArray, Int32Array, NullArray, StringArray, types::Int32Type};
    use std::sync::Arc;

    let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20)]));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; 4_000]), text));
    let mut views = BinaryViewBuilder::new();
    let block = views.append_block(vec![b'x'; 1 << 20].into());
    for _ in 0..4_000 {
        views.try_append_view(block, 0, 1 << 20)?;
    }
    let cases: [(&str, ArrayRef); 3] =
        [("dictionary", dictionary), ("views", Arc::new(views.finish())), ("nulls", Arc::new(NullArray::new((1 << 20) + 1)))];
    for format in ["csv", "json", "parquet"] {
        let bench = bench("swelling");
        let spec =
            json!({"bucket": "swelling", "region": "us-east-1", "path": "{{TABLE}}/{{UUID}}", "format": format, "test_write": false});
        let session = bench.destination().open(&spec.to_string(), "sync").await?;
        let mut write = session.write()?;
        for (name, column) in &cases {
            write.insert(tables::Table::new(name).column("swollen", column.clone()).insert_ipc()?.into()).await?;
            write.insert(tables::ids("good", 0..10).into()).await?;
        }
        let report = write.finish().await;
        let failures: Vec<_> = report.failures().collect();
        ensure!(failures.len() == cases.len(), "{format}: {failures:?}");
        for (table, failure) in failures {
            let named = failure.message.contains("\"swollen\"") || table == "nulls" && failure.message.contains("number of rows");
            ensure!(failure.class == FailureClass::Data && named, "{format}, {table}: {failure:?}");
        }
        let good = report.tables.iter().find(|table| table.table == "good").map(|table| table.rows_confirmed);
        ensure!(good == Some(30), "{format}: {good:?} good rows");
        session.close().await;
    }
    Ok(())
}
