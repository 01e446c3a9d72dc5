"""Writes rows that are divided into partitions in no order, with duckdb or polars, into a temporary folder.

usage: partition_memory.py duckdb|polars csv|parquet whole|divided ROWS PARTITIONS
prints: FILES SECONDS PEAK, seconds of the wall clock and MiB of this process.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROWS_SQL = """
SELECT i AS id, ((i * 2654435761::HUGEINT) % 18446744073709551616 % 4294967291 % {partitions})::INTEGER AS part, i / 4.0 AS amount,
       'the note of row ' || i AS note
FROM range({rows}) r(i)
"""


def duckdb_write(format, divided, rows, partitions, folder):
    import duckdb

    database = duckdb.connect()
    database.execute("SET enable_progress_bar = false")
    database.execute("SET threads TO 1")
    options = ", PARTITION_BY (part), WRITE_PARTITION_COLUMNS true" if divided else ""
    target = os.path.join(folder, "out" if divided else f"out.{format}")
    database.execute(f"COPY ({ROWS_SQL.format(rows=rows, partitions=partitions)}) TO '{target}' (FORMAT {format}{options})")


def polars_write(format, divided, source, folder):
    import polars

    rows = polars.scan_parquet(source)
    target = os.path.join(folder, f"out.{format}")
    if divided:
        target = polars.PartitionBy(os.path.join(folder, "out"), key="part", include_key=True)
    if format == "csv":
        rows.sink_csv(target, mkdir=True)
    else:
        rows.sink_parquet(target, mkdir=True)


def files(folder):
    return sum(len(names) for _, _, names in os.walk(folder))


def main():
    writer, format, divided, rows, partitions = sys.argv[1], sys.argv[2], sys.argv[3] == "divided", int(sys.argv[4]), int(sys.argv[5])
    folder = tempfile.mkdtemp()
    try:
        out = os.path.join(folder, "out")
        os.mkdir(out)
        source = os.path.join(folder, "rows.parquet")
        if writer == "polars":
            # Another process makes the rows: what that takes is not polars' peak.
            query = f"COPY ({ROWS_SQL.format(rows=rows, partitions=partitions)}) TO '{source}' (FORMAT parquet)"
            subprocess.run([sys.executable, "-c", "import sys, duckdb; duckdb.execute(sys.argv[1])", query], check=True)
        begun = time.monotonic()
        if writer == "duckdb":
            duckdb_write(format, divided, rows, partitions, out)
        else:
            polars_write(format, divided, source, out)
        seconds = time.monotonic() - begun
        print(files(out), seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
