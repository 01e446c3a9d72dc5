//! Randomly damaged messages, natively and in the sandbox: each gives an error of its table, or rows; never a panic, a trap, or unbounded memory. The
//! other tables are written.

use crate::fixtures::support::test_store;
use anyhow::{Result, ensure};
use lakegate::FailureClass;
use lakegate_guest::testing::fuzz::TARGETS;
use lakegate_tests::generate::{Dice, Generated, Types};
use lakegate_tests::{corpus, tables};
use serde_json::json;

/// Number of messages damaged natively, each in every format.
const NATIVE: usize = 3_000;

/// Number of messages damaged in the sandbox, in each format.
const SANDBOXED: usize = 150;

/// Maximum bytes of a message: in a small one, damage hits what matters.
const MOST_BYTES: usize = 20_000;

/// A message from a seed, with bits flipped, bytes replaced, numbers increased, or truncated.
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
                // An eight-byte number at an aligned position.
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
        let test_store = test_store("damaged");
        let spec = json!({"bucket": "damaged", "region": "us-east-1", "path": "{{TABLE}}/{{UUID}}", "format": format, "test_write": false});
        let session = test_store.destination().open(&spec.to_string(), "sync").await?;
        let mut write = session.write()?;
        let (mut refused, mut taken) = (0, 0);
        for seed in 0..SANDBOXED as u64 {
            let types = if format == "parquet" { Types::Parquet } else { Types::Text };
            // Damage to the header is reported to the client at once; other damage fails the table.
            match write.insert(damaged(&format!("t{seed}"), seed, types).into()).await {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
            write.insert(tables::ids("good", seed as i64 * 10..seed as i64 * 10 + 10).into()).await?;
            ran += 1;
        }
        let report = write.finish().await;
        for (table, failure) in report.failures() {
            // A trap would be `Unexpected`, and so would a ledger that does not add up.
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

/// What a few bytes can request, in the sandbox: an error of the table that names the column, while the instance continues.
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
        let test_store = test_store("swelling");
        let spec =
            json!({"bucket": "swelling", "region": "us-east-1", "path": "{{TABLE}}/{{UUID}}", "format": format, "test_write": false});
        let session = test_store.destination().open(&spec.to_string(), "sync").await?;
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

/// The message with the only occurrence of `truth` replaced by `lie`.
fn lied(message: &[u8], truth: &[i64], lie: &[i64]) -> Result<Vec<u8>> {
    let [truth, lie] = [truth, lie].map(|numbers| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    let places: Vec<usize> = (0..message.len()).filter(|at| message[*at..].starts_with(&truth)).collect();
    ensure!(places.len() == 1 && truth.len() == lie.len(), "the truth stands in {} places", places.len());
    let mut changed = message.to_vec();
    changed[places[0]..places[0] + lie.len()].copy_from_slice(&lie);
    Ok(changed)
}

/// Messages whose numbers only look right in the 32 bits of the sandbox; schemas that expand to a gigabyte; and one honest message.
fn lies_of_64_bits() -> Result<Vec<Vec<u8>>> {
    use arrow_array::types::Int8Type;
    use arrow_array::*;
    use arrow_buffer::OffsetBuffer;
    use arrow_schema::Field;
    use std::sync::Arc;

    let item = |values: &dyn Array| Arc::new(Field::new("item", values.data_type().clone(), true));
    let texts = ["one", "three", "seventeen"];
    let binary: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values(texts));
    let text: ArrayRef = Arc::new(LargeStringArray::from_iter_values(texts));
    let in_list: ArrayRef = Arc::new(ListArray::new(item(&text), OffsetBuffer::from_lengths([2, 1]), text.clone(), None));
    let in_struct: ArrayRef = Arc::new(StructArray::from(vec![(item(&binary), binary.clone())]));
    let in_dictionary: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(vec![0, 1, 2].into(), text.clone()));
    let small: ArrayRef = Arc::new(Int8Array::from(vec![7; 17]));
    let list: ArrayRef = Arc::new(LargeListArray::new(item(&small), OffsetBuffer::from_lengths([3, 5, 9]), small.clone(), None));
    let view: ArrayRef = Arc::new(LargeListViewArray::new(item(&small), vec![9, 2].into(), vec![4, 6].into(), small.clone(), None));
    let many: ArrayRef = Arc::new(Int8Array::from(vec![7; 7 * 4_096]));
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(item(&many), 4_096, many, None));
    let in_fixed: ArrayRef = Arc::new(StructArray::from(vec![(item(&fixed), fixed.clone())]));

    let mut lies = Vec::new();
    let mut lie = |name: &str, column: &ArrayRef, truth: &[i64], lie: &[i64]| -> Result<()> {
        let name = format!("{name}_{}", lies.len());
        let message = tables::Table::new(&name).column("lying", column.clone()).insert_ipc()?;
        lies.push(lied(&message, truth, lie)?);
        Ok(())
    };
    const WRAP: i64 = 1 << 32;
    let columns = [
        ("binary", binary),
        ("text", text),
        ("in_list", in_list),
        ("in_struct", in_struct),
        ("in_dictionary", in_dictionary),
        ("list", list),
    ];
    for (name, column) in columns {
        let last = [
            [0, 3, 8, WRAP + 2],
            [0, 3, 8, WRAP + 17],
            [0, 3, WRAP + 8, WRAP + 17],
            [0, WRAP + 3, WRAP + 8, WRAP + 17],
            [0, 3, 8, i64::MAX],
        ];
        last.iter().try_for_each(|offsets| lie(name, &column, &[0, 3, 8, 17], offsets))?;
    }
    for offsets in [[WRAP - 4, 2], [WRAP, 2], [i64::MAX, 2]] {
        lie("view", &view, &[9, 2], &offsets)?;
    }
    for sizes in [[WRAP - 9, 6], [WRAP - 1, 6], [WRAP, 6], [i64::MAX, 6]] {
        lie("view", &view, &[4, 6], &sizes)?;
    }
    for (name, column) in [("fixed", fixed), ("in_fixed", in_fixed)] {
        // Rows and nulls of the lists, and of their values.
        lie(name, &column, &[7, 0, 7 * 4_096, 0], &[1 << 20, 0, 7 * 4_096, 0])?;
        lie(name, &column, &[7, 0, 7 * 4_096, 0], &[1 << 20, 0, 0, 0])?;
    }
    lies.push(lakegate_guest::testing::sharing_one_name(20_000, 60 << 10, 0));
    lies.push(lakegate_guest::testing::sharing_one_name(9_000, 4_000, 0));
    // Not forged: it only references values that Parquet cannot represent.
    lies.push(lied(&tables::Table::new("honest").column("view", view).insert_ipc()?, &[9, 2], &[1, 2])?);
    Ok(lies)
}

/// Arrow's `usize` has 32 bits there: a larger claim is the table's error, while the instance and its open tables continue.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_beyond_32_bits_are_errors_in_the_sandbox() -> Result<()> {
    let lies = lies_of_64_bits()?;
    for format in ["csv", "json", "parquet"] {
        let test_store = test_store("lies");
        let spec = json!({"bucket": "lies", "region": "us-east-1", "path": "{{TABLE}}/{{UUID}}", "format": format, "test_write": false});
        let session = test_store.destination().open(&spec.to_string(), "sync").await?;
        let mut write = session.write()?;
        let mut refused = 0;
        for message in &lies {
            refused += usize::from(write.insert(message.clone().into()).await.is_err());
            write.insert(tables::ids("good", 0..10).into()).await?;
        }
        let report = write.finish().await;
        let failures: Vec<_> = report.failures().collect();
        for (table, failure) in &failures {
            ensure!(failure.class == FailureClass::Data && *table != "good", "{format}, {table}: {failure:?}");
        }
        let mut landed: Vec<&str> =
            report.tables.iter().filter(|table| table.rows_confirmed > 0).map(|table| table.table.as_str()).collect();
        landed.sort_unstable();
        let expected: &[&str] = if format == "parquet" { &["good"] } else { &["good", "honest"] };
        ensure!(landed == expected, "{format}: {landed:?} landed");
        // Both schemas are of one table.
        ensure!(failures.len() + refused >= lies.len() - expected.len(), "{format}: {refused} refused, {failures:?}");
        let good = report.tables.iter().find(|table| table.table == "good").map(|table| table.rows_confirmed);
        ensure!(good == Some(lies.len() as u64 * 10), "{format}: {good:?} good rows");
        session.close().await;
    }
    corpus("lies of 64 bits in the sandbox", 3 * lies.len(), 3 * lies.len());
    Ok(())
}

/// The seeds found natively hold in the sandbox, too.
#[tokio::test(flavor = "multi_thread")]
async fn every_seed_of_the_fuzzers_is_rows_or_an_error_in_the_sandbox() -> Result<()> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut ran = 0;
    for format in ["csv", "json", "parquet"] {
        let test_store = test_store("seeds");
        let spec = json!({"bucket": "seeds", "region": "us-east-1", "path": "{{TABLE}}/{{UUID}}", "format": format, "test_write": false});
        let session = test_store.destination().open(&spec.to_string(), "sync").await?;
        let mut write = session.write()?;
        let mut inputs: Vec<_> =
            std::fs::read_dir(folder.join(format!("ipc_{format}")))?.map(|entry| entry.map(|it| it.path())).collect::<Result<_, _>>()?;
        inputs.sort();
        for input in &inputs {
            // Damage to the header is reported to the client at once.
            let _ = write.insert(std::fs::read(input)?.into()).await;
            write.insert(tables::ids("good", 0..10).into()).await?;
        }
        let report = write.finish().await;
        for (table, failure) in report.failures() {
            ensure!(failure.class == FailureClass::Data && table != "good", "{format}, {table}: {failure:?}");
        }
        let good = report.tables.iter().find(|table| table.table == "good").map(|table| table.rows_confirmed);
        ensure!(good == Some(inputs.len() as u64 * 10), "{format}: {good:?} good rows");
        ran += inputs.len();
        session.close().await;
    }
    corpus("seeds in the sandbox", ran, 3 * 28);
    Ok(())
}

/// Columns that are converted for Parquet, and values that it keeps for statistics, at the size of the largest messages.
#[tokio::test(flavor = "multi_thread")]
async fn large_values_that_parquet_converts_or_keeps_fit_the_sandbox_or_are_errors() -> Result<()> {
    use arrow_array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, LargeBinaryArray};
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{DataType, Field, Schema};
    use std::collections::HashMap;
    use std::sync::Arc;

    const MIB: usize = 1 << 20;
    let test_store = test_store("large");
    let spec =
        json!({"bucket": "large", "region": "us-east-1", "path": "{{TABLE}}", "no_rotate": true, "format": "parquet", "test_write": false});
    let mut options = test_store.options();
    options.lanes = std::num::NonZeroUsize::MIN;
    let session = lakegate::Destination::new(crate::fixtures::support::runtime(), options).open(&spec.to_string(), "sync").await?;
    let mut write = session.write()?;
    write.insert(tables::ids("good", 0..10).into()).await?;
    let stray: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..150).map(|_| vec![0xff; MIB])));
    // Sent as bytes, declared as text.
    let sent = tables::Table::new("stray").column("c", stray).batch()?;
    let metadata = HashMap::from([(tables::TABLE_NAME.to_owned(), "stray".to_owned())]);
    let declared = Schema::new_with_metadata(vec![Field::new("c", DataType::Utf8, true)], metadata);
    let mut stream = StreamWriter::try_new(Vec::new(), &declared)?;
    stream.write(&sent)?;
    write.insert(stream.into_inner()?.into()).await?;
    let many: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values((0..150).map(|_| vec![7; MIB])));
    write.insert(tables::Table::new("many").column("c", many).insert_ipc()?.into()).await?;
    let one: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values([vec![7; 190 * MIB]]));
    write.insert(tables::Table::new("one").column("c", one).insert_ipc()?.into()).await?;
    for part in 0..4_u8 {
        let wide: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter((0..100_u8).map(|row| vec![part * 50 + row / 2; MIB]))?);
        write.insert(tables::Table::new("wide").column("c", wide).insert_ipc()?.into()).await?;
    }
    let report = write.finish().await;
    let failures: Vec<_> = report.failures().map(|(table, failure)| (table, failure.class, failure.message.clone())).collect();
    ensure!(matches!(failures.as_slice(), [("one", FailureClass::Data, message)] if message.contains("column \"c\"")), "{failures:?}");
    let mut rows: Vec<_> = report.tables.iter().map(|table| (table.table.as_str(), table.rows_confirmed)).collect();
    rows.sort_unstable();
    ensure!(rows == [("good", 10), ("many", 150), ("one", 0), ("stray", 150), ("wide", 400)], "{rows:?}");
    session.close().await;
    Ok(())
}
