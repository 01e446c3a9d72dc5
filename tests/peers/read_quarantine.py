"""Reads the Parquet objects of a load, and the lines of its quarantine, with duckdb and pyarrow.

usage: read_quarantine.py FOLDER (with files data/*.parquet of columns id and at, and quarantine/*.json)
prints: {"duckdb": {"rows": count, "ids": sum, "lines": [[table, column, reason, position, id], ...]}, "pyarrow": the same}, lines by position.
"""

import glob
import json
import sys


def main():
    folder = sys.argv[1]
    import duckdb
    import pyarrow
    import pyarrow.compute
    import pyarrow.dataset
    import pyarrow.json

    connection = duckdb.connect()
    rows, ids = connection.execute(f"SELECT count(*), sum(id)::BIGINT FROM read_parquet('{folder}/data/*.parquet')").fetchall()[0]
    query = f"SELECT \"table\", \"column\", reason, position, \"row\".id FROM read_json('{folder}/quarantine/*.json') ORDER BY position"
    lines = [list(line) for line in connection.execute(query).fetchall()]
    by_duckdb = {"rows": rows, "ids": ids, "lines": lines}

    data = pyarrow.dataset.dataset(f"{folder}/data", format="parquet").to_table(["id"])
    tables = [pyarrow.json.read_json(file) for file in glob.glob(f"{folder}/quarantine/*.json")]
    found = pyarrow.concat_tables(tables).sort_by("position").to_pylist()
    lines = [[line["table"], line["column"], line["reason"], line["position"], line["row"]["id"]] for line in found]
    by_pyarrow = {"rows": data.num_rows, "ids": pyarrow.compute.sum(data["id"]).as_py(), "lines": lines}
    print(json.dumps({"duckdb": by_duckdb, "pyarrow": by_pyarrow}))


if __name__ == "__main__":
    main()
