"""Reads folders of partitions with duckdb and pyarrow, the partition column from the folders alone.

usage: read_partitions.py FOLDER (with files c=VALUE/NAME.parquet of a column id)
prints: {"duckdb": [[id, value or null], ...], "pyarrow": the same}, by id.
"""

import json
import sys


def main():
    folder = sys.argv[1]
    import duckdb
    import pyarrow
    import pyarrow.dataset

    # Types inferred from the names of folders would make 007 a number.
    query = f"SELECT id, c FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true, hive_types_autocast = false) ORDER BY id"
    by_duckdb = [list(row) for row in duckdb.connect().execute(query).fetchall()]

    partitioning = pyarrow.dataset.partitioning(pyarrow.schema([("c", pyarrow.string())]), flavor="hive")
    table = pyarrow.dataset.dataset(folder, format="parquet", partitioning=partitioning).to_table(["id", "c"]).sort_by("id")
    by_pyarrow = [[row["id"], row["c"]] for row in table.to_pylist()]
    print(json.dumps({"duckdb": by_duckdb, "pyarrow": by_pyarrow}))


if __name__ == "__main__":
    main()
