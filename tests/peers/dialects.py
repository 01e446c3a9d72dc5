"""Reads files of CSV with DuckDB and pandas, as text, and prints what each found.

usage: dialects.py FOLDER    FOLDER/cases.json: [{"file", "encoding"}]; prints a line of JSON for each case and reader:
                             {"file", "reader", "columns", "rows"} or {"file", "reader", "problem"}

Each reader detects what it detects by itself, but is told the encoding, without which neither would read most files.
"""

import json
import os
import sys

import duckdb
import pandas

# Names of encodings without DuckDB's extension of others.
DUCKDB = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "utf-16-le": "utf-16", "cp1252": "latin-1"}


def with_duckdb(path, encoding):
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        result = connection.execute(
            "SELECT * FROM read_csv(?, all_varchar = true, encoding = ?)", [path, DUCKDB.get(encoding, encoding)]
        )
        return [column[0] for column in result.description], [list(row) for row in result.fetchall()]


def with_pandas(path, encoding):
    # Values as text; what pandas holds for missing by default (NA, null …) would be lost, so only the empty field is.
    frame = pandas.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False, na_values=[""], encoding=encoding)
    if not isinstance(frame.index, pandas.RangeIndex):
        frame = frame.reset_index()
    rows = frame.astype(object).where(frame.notna(), None).values.tolist()
    return [str(name) for name in frame.columns], rows


for case in json.load(open(os.path.join(sys.argv[1], "cases.json"), encoding="utf-8")):
    for reader, read in (("duckdb", with_duckdb), ("pandas", with_pandas)):
        found = {"file": case["file"], "reader": reader}
        try:
            found["columns"], found["rows"] = read(os.path.join(sys.argv[1], case["file"]), case["encoding"])
        except Exception as error:
            found["problem"] = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(found))
