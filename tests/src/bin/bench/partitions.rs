//! What partitions cost: lineitem with a column of a hundred values, as it comes (each value's rows together) and shuffled, next to the same rows without
//! partitions, and duckdb's `PARTITION_BY` next to its own plain `COPY`.

use super::{Sandbox, spec_of};
use anyhow::{Context, Result};
use arrow_array::Int32Array;
use lakegate_tests::bench::{Arguments, Table, median};
use serde_json::json;
use std::process::Command;
use std::sync::Arc;

/// Values of the column.
const PARTITIONS: usize = 100;

/// Name of the column.
const COLUMN: &str = "part";

/// Prints the table.
///
/// # Errors
/// A run failed.
pub(super) fn table(sandbox: &Sandbox, arguments: &Arguments, lineitem: &Table) -> Result<()> {
    println!("\npartitions: lineitem, {} rows, records of {} rows, {PARTITIONS} partitions", lineitem.rows, arguments.record_rows);
    println!("| format | rows | wasm MB/s | of unpartitioned | duckdb MB/s | of its unpartitioned |");
    println!("|---|---|---|---|---|---|");
    let rows = lineitem.rows;
    let clustered = |row: usize| row * PARTITIONS / rows.max(1);
    // Neighbours have no value in common.
    let shuffled = |row: usize| row.wrapping_mul(0x9e37_79b9) % 1_009 % PARTITIONS;
    let orders: [(&str, &dyn Fn(usize) -> usize); 2] = [("clustered", &clustered), ("shuffled", &shuffled)];
    for (name, value) in orders {
        let column = Int32Array::from_iter_values((0..rows).map(|row| i32::try_from(value(row)).unwrap_or_default()));
        let divided = lineitem.with_column(COLUMN, Arc::new(column), arguments.record_rows)?;
        let peers = duckdb(arguments, &divided)?;
        for format in ["csv", "parquet"] {
            let settings = |path: &str| spec_of(json!({"path": path, "format": format})).map(|spec| spec.settings.to_json());
            let (plain, parted) = (settings("{{TABLE}}/{{UUID}}")?, settings("{{TABLE}}/part={{COLUMN:part}}/{{UUID}}")?);
            let (mut without, mut with) = (Vec::new(), Vec::new());
            for _ in 0..arguments.repeats {
                without.push(sandbox.run(&plain, divided.messages.iter().map(Ok))?.seconds);
                with.push(sandbox.run(&parted, divided.messages.iter().map(Ok))?.seconds);
            }
            let (without, with) = (median(&mut without), median(&mut with));
            let peer = peers.iter().find(|(of, ..)| of == format).map_or("– | –".to_owned(), |(_, plain, parted)| {
                format!("{:.0} | {:.2}", divided.megabytes() / parted, plain / parted)
            });
            println!("| {format} | {name} | {:.0} | {:.2} | {peer} |", divided.megabytes() / with, without / with);
        }
    }
    Ok(())
}

/// Seconds of duckdb for each format, without and with partitions; nothing where there is none.
fn duckdb(arguments: &Arguments, table: &Table) -> Result<Vec<(String, f64, f64)>> {
    let python = match lakegate_tests::python::tool("python") {
        Ok(python) => python,
        Err(missing) => {
            println!("no duckdb: {}", missing.0);
            return Ok(Vec::new());
        }
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("table.arrow");
    table.write_file(&file)?;
    let run = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/partition.py"))
        .arg(&file)
        .arg(COLUMN)
        .arg(arguments.repeats.to_string())
        .output()?;
    anyhow::ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let line = |line: &str| {
        let mut words = line.split(' ');
        let mut next = || words.next().context("a line of duckdb is short");
        Ok((next()?.to_owned(), next()?.parse()?, next()?.parse()?))
    };
    String::from_utf8(run.stdout)?.lines().map(line).collect()
}
