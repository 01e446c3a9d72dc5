"""Reads what manifests list: the files, their Parquet footers with pyarrow, their rows with duckdb.

usage: manifest.py FOLDER    FOLDER/_manifests/**/*.json; the object s3://BUCKET/KEY is the file FOLDER/KEY
prints: for each manifest a JSON object: bytes and rows of each entry's file (rows from the footer, for Parquet); rows, the sum of `id` and the files
        of the rows as duckdb reads the listed files; and the rows that it finds if it reads all files of their folder instead
"""

import glob
import json
import os
import sys

import duckdb
import pyarrow.parquet

READERS = {"parquet": "read_parquet", "csv": "read_csv", "json": "read_ndjson"}


def local(folder, url):
    scheme, _, rest = url.partition("://")
    assert scheme == "s3", url
    return os.path.join(folder, rest.partition("/")[2])


def main():
    (folder,) = sys.argv[1:]
    for path in sorted(glob.glob(os.path.join(folder, "_manifests", "**", "*.json"), recursive=True)):
        with open(path, "rb") as file:
            manifest = json.load(file)
        files = [local(folder, entry["url"]) for entry in manifest["entries"]]
        format = manifest["lakegate"]["format"]
        query = f"SELECT count(*), sum(id), list(DISTINCT filename) FROM {READERS[format]}(?, filename = true)"
        rows, ids, names = duckdb.execute(query, [files]).fetchone()
        beside, _, _ = duckdb.execute(query, [os.path.join(os.path.dirname(files[0]), f"*.{format}")]).fetchone()
        footers = [pyarrow.parquet.read_metadata(file).num_rows for file in files] if format == "parquet" else None
        print(
            json.dumps(
                {
                    "manifest": path,
                    "files": files,
                    "bytes": [os.path.getsize(file) for file in files],
                    "footers": footers,
                    "read": {"rows": rows, "ids": int(ids), "files": sorted(names)},
                    "beside": beside,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
