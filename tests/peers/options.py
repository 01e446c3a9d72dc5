"""Reads Parquet files that differ in their options, and compressed text, with pyarrow, duckdb and polars.

usage: options.py parquet FOLDER    prints for each file a line of JSON: what pyarrow and duckdb find in its footer, and the sums of its rows
       options.py text FOLDER       prints for each file and reader a line of JSON: {"reader", "file", "rows", "ids"}
"""

import json
import os
import sys

import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

duckdb.execute("SET enable_progress_bar = false")
duckdb.execute("SET TimeZone = 'UTC'")


def sums(rows, ids, millis, tags, quarters, noise):
    return {"rows": rows, "ids": ids, "millis": millis, "tags": tags, "quarters": quarters, "noise": noise}


def with_pyarrow(path):
    table = pyarrow.parquet.read_table(path)
    when = table.column("when").cast(pyarrow.timestamp("ms", tz="UTC"), safe=True).cast(pyarrow.int64())
    total = pyarrow.compute.sum
    return sums(
        table.num_rows,
        total(table.column("id")).as_py(),
        total(when).as_py(),
        total(pyarrow.compute.list_flatten(table.column("tags"))).as_py(),
        int(total(table.column("ratio")).as_py() * 4),
        total(pyarrow.compute.utf8_length(table.column("noise"))).as_py(),
    )


def with_duckdb(path):
    query = """SELECT count(*), sum(id)::BIGINT, sum(epoch_ms("when"::TIMESTAMPTZ))::BIGINT, sum(list_sum(tags))::BIGINT, (sum(ratio) * 4)::BIGINT,
               sum(length(noise))::BIGINT FROM read_parquet(?)"""
    return sums(*duckdb.execute(query, [path]).fetchone())


def sort_order(group):
    return [[column.column_index, column.descending, column.nulls_first] for column in group.sorting_columns]


def parquet(folder):
    for file in sorted(os.listdir(folder)):
        path = os.path.join(folder, file)
        opened = pyarrow.parquet.ParquetFile(path)
        footer, schema = opened.metadata, opened.schema_arrow
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        probe = lambda column, value: duckdb.execute(
            "SELECT bool_and(bloom_filter_excludes) FROM parquet_bloom_probe(?, ?, ?)", [path, column, value]
        ).fetchone()[0]
        filters = duckdb.execute(
            "SELECT DISTINCT path_in_schema FROM parquet_metadata(?) WHERE bloom_filter_offset IS NOT NULL ORDER BY 1", [path]
        ).fetchall()
        named = [name for (name,) in filters]
        ids = duckdb.execute("SELECT name, field_id FROM parquet_schema(?) WHERE field_id IS NOT NULL", [path]).fetchall()
        print(
            json.dumps(
                {
                    "file": file.removesuffix(".parquet"),
                    "groups": len(groups),
                    "codecs": sorted({column.compression for column in columns}),
                    "duckdb_codecs": sorted(
                        codec for (codec,) in duckdb.execute("SELECT DISTINCT compression FROM parquet_metadata(?)", [path]).fetchall()
                    ),
                    "page_index": sorted({column.has_offset_index and column.has_column_index for column in columns}),
                    "sorting": sort_order(groups[0]),
                    "arrow_ids": [int((field.metadata or {}).get(b"PARQUET:field_id", b"0")) for field in schema],
                    "duckdb_ids": [list(one) for one in ids],
                    "unit": schema.field("when").type.unit,
                    "filters": named,
                    # What is not there is found out; what is there is not.
                    "absent": [probe("name", "none of them"), probe("id", -5)] if named else None,
                    "present": [probe("name", "name 7"), probe("id", 12)] if named else None,
                    "first_names": pyarrow.parquet.ParquetFile(path).read_row_group(0, columns=["name"]).column(0).to_pylist()[:100],
                    "pyarrow": with_pyarrow(path),
                    "duckdb": with_duckdb(path),
                    "polars_rows": polars.read_parquet(path).height,
                    "bytes": os.path.getsize(path),
                }
            )
        )


def text(folder):
    for file in sorted(os.listdir(folder)):
        path = os.path.join(folder, file)
        codec = "zstd" if file.endswith(".zst") else "gzip"

        def of_pyarrow():
            with pyarrow.input_stream(path, compression=codec) as stream:
                table = pyarrow.csv.read_csv(stream) if ".csv" in file else pyarrow.json.read_json(stream)
                return table.num_rows, pyarrow.compute.sum(table.column("id")).as_py()

        def of_duckdb():
            reader = "read_csv" if ".csv" in file else "read_ndjson"
            return duckdb.execute(f"SELECT count(*), sum(id)::BIGINT FROM {reader}('{path}')").fetchone()

        def of_polars():
            frame = polars.read_csv(path)
            return frame.height, frame["id"].sum()

        readers = {"pyarrow": of_pyarrow, "duckdb": of_duckdb} | ({"polars": of_polars} if ".csv" in file else {})
        for reader, read in readers.items():
            rows, ids = read()
            print(json.dumps({"reader": reader, "file": file, "rows": rows, "ids": ids}))


{"parquet": parquet, "text": text}[sys.argv[1]](sys.argv[2])
