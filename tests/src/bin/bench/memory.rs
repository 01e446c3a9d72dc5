//! Memory of a guest by number of open objects and by their size.

use crate::sandbox::Sandbox;
use crate::spec_with;
use anyhow::{Context, Result};
use arrow_array::RecordBatch;
use lakegate_tests::bench::Arguments;
use lakegate_tests::{tables, tpch};

/// Objects open at once.
const OPEN: [usize; 3] = [1, 100, 2_000];

/// Rows of each of the objects, in records of [`RECORD_ROWS`].
const ROWS: usize = 1_000;
const RECORD_ROWS: usize = 100;

/// How often the rows of the table are written into one object.
const TIMES: [usize; 3] = [1, 4, 16];

/// Prints both tables.
///
/// # Errors
/// The guest refused a table.
pub(super) fn table(sandbox: &Sandbox, arguments: &Arguments) -> Result<()> {
    let batches: Vec<RecordBatch> = tpch::lineitem(arguments.scale).collect::<Result<_, _>>()?;
    let first = batches.first().context("lineitem has rows")?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    println!(
        "\nmemory of a guest in MiB: lineitem, no_rotate; objects of {ROWS} rows open at once, then one object of {rows} rows and more"
    );
    println!("| format | {} open | {} open | {} open | × {} | × {} | × {} |", OPEN[0], OPEN[1], OPEN[2], TIMES[0], TIMES[1], TIMES[2]);
    println!("|---|---|---|---|---|---|---|");
    for format in &arguments.formats {
        let settings = spec_with(format, "{{TABLE}}", true)?.settings.to_json();
        let message = |table: &str, rows: &RecordBatch| tables::Table::from_batch(table, rows).insert_ipc();
        let memory = |messages: &mut dyn Iterator<Item = Result<Vec<u8>>>| {
            sandbox.run(&settings, messages).map(|run| format!("{:.0}", run.guest_bytes as f64 / f64::from(1 << 20)))
        };
        let mut cells = Vec::new();
        for open in OPEN {
            let pieces = (0..ROWS / RECORD_ROWS).map(|piece| first.slice(piece * RECORD_ROWS, RECORD_ROWS));
            // Every table in turn, so that all are open until the end.
            let mut messages = pieces.flat_map(|piece| (0..open).map(move |table| (table, piece.clone())));
            cells.push(memory(&mut messages.by_ref().map(|(table, piece)| message(&format!("lineitem_{table}"), &piece)))?);
        }
        for times in TIMES {
            let rows = (0..times).flat_map(|_| &batches);
            cells.push(memory(&mut rows.map(|rows| message("lineitem", rows)))?);
        }
        println!("| {format} | {} |", cells.join(" | "));
    }
    Ok(())
}
