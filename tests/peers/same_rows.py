"""Compares what a source sent with what is in a bucket, value by value, as pyarrow reads both.

usage: same_rows.py SENT GOT    SENT/TABLE.arrows (an Arrow IPC stream) beside GOT/TABLE/*.parquet, both with a column `id`
prints: a JSON object with the rows of each table; fails at the first table that differs.
"""

import glob
import json
import os
import sys
import uuid

import pyarrow
import pyarrow.ipc
import pyarrow.parquet


def plain_value(value):
    """UUIDs are sixteen bytes, with or without an extension, in what is sent, and text in Parquet."""
    if isinstance(value, bytes) and len(value) == 16:
        value = uuid.UUID(bytes=value)
    return str(value) if isinstance(value, uuid.UUID) else value


def rows(table):
    plain = [[plain_value(value) for value in column.to_pylist()] for column in table.columns]
    return sorted(zip(*plain), key=lambda row: row[table.column_names.index("id")])


def main():
    sent_folder, got_folder = sys.argv[1:]
    counts = {}
    for path in sorted(glob.glob(os.path.join(sent_folder, "*.arrows"))):
        name = os.path.basename(path).removesuffix(".arrows")
        with open(path, "rb") as file:
            sent = pyarrow.ipc.open_stream(file).read_all()
        files = glob.glob(os.path.join(got_folder, name, "*.parquet"))
        assert files, f"{name}: no object"
        got = pyarrow.concat_tables([pyarrow.parquet.ParquetFile(file).read() for file in files])
        assert got.column_names == sent.column_names, f"{name}: {got.column_names} are not {sent.column_names}"
        for one, other in zip(rows(got), rows(sent)):
            assert one == other, f"{name}: {one} is not {other}"
        assert got.num_rows == sent.num_rows, f"{name}: {got.num_rows} rows, and {sent.num_rows} were sent"
        counts[name] = got.num_rows
    # Tables of which no row was sent.
    for path in glob.glob(os.path.join(got_folder, "*", "*.parquet")):
        name = os.path.basename(os.path.dirname(path))
        if name not in counts:
            counts[name] = pyarrow.parquet.ParquetFile(path).metadata.num_rows
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
