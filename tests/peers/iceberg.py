"""Iceberg tables as others see them: read by pyiceberg and DuckDB, and appended to by pyiceberg.

usage: iceberg.py read CATALOG STORE TABLE FILE    prints what each reader made of the rows of FILE (Arrow IPC): {"reader": "equal" or a problem}
       iceberg.py files CATALOG STORE TABLE        prints the manifests' metrics beside those computed from the files: {"compared", "problems"}
       iceberg.py scan CATALOG STORE TABLE FILTER  prints how many files a filter leaves, of how many
       iceberg.py append CATALOG STORE TABLE N     appends N times a row whose id is negative
       iceberg.py history CATALOG STORE TABLE      prints {"snapshots", "ancestors", "rows", "ids", "commits": [id, …]}

CATALOG is a URL; STORE is ENDPOINT,KEY,SECRET.
"""

import json
import os
import sys

import duckdb
import pyarrow
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet
from pyiceberg.catalog import load_catalog

COMMAND, CATALOG, STORE, TABLE, *MORE = sys.argv[1:]
ENDPOINT, KEY, SECRET = STORE.split(",")


def table_of():
    catalog = load_catalog("ice", type="rest", uri=CATALOG, **{
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO", "s3.endpoint": ENDPOINT, "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET, "s3.region": "us-east-1"})
    return catalog.load_table(TABLE)


def with_duckdb():
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    packages = os.path.dirname(os.path.dirname(duckdb.__file__))
    for name in ["httpfs", "avro", "iceberg"]:
        folder = f"{packages}/duckdb_extension_{name}/extensions"
        (version,) = os.listdir(folder)
        connection.execute(f"LOAD '{folder}/{version}/{name}.duckdb_extension'")
    host = ENDPOINT.removeprefix("http://")
    connection.execute(f"CREATE SECRET s (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false, "
                       "REGION 'us-east-1')")
    connection.execute(f"ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{CATALOG}', AUTHORIZATION_TYPE 'none')")
    # A query of more than two seconds draws its progress, on standard output.
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET TimeZone = 'UTC'")
    result = connection.execute(f"SELECT * FROM ice.{TABLE}").arrow()
    return result.read_all() if hasattr(result, "read_all") else result


def rows_of(table, schema):
    """The rows in an order of their own, as Python has them, in the types of the schema."""
    columns = []
    for field in schema:
        columns.append(table[field.name].cast(field.type) if not pyarrow.types.is_nested(field.type) else table[field.name])
    return sorted(zip(*[column.to_pylist() for column in columns]), key=lambda row: row[0])


def compared(read, expected):
    try:
        found, wanted = rows_of(read(), expected.schema), rows_of(expected, expected.schema)
    except Exception as error:  # what a reader makes of a file is the result
        return f"{type(error).__name__}: {error}"
    if len(found) != len(wanted):
        return f"{len(found)} rows, not {len(wanted)}"
    for one, other in zip(found, wanted):
        for field, left, right in zip(expected.schema, one, other):
            # DuckDB's maps come as dictionaries.
            left = list(left.items()) if isinstance(left, dict) and pyarrow.types.is_map(field.type) else left
            left, right = [value.bytes if hasattr(value, "bytes") and hasattr(value, "hex") and not isinstance(value, bytes) else value
                           for value in (left, right)]
            if left != right and not (left != left and right != right):
                return f"{field.name}: {left!r}, not {right!r}"
    return "equal"


def read():
    with pyarrow.ipc.open_stream(MORE[0]) as stream:
        expected = stream.read_all()
    return {"pyiceberg": compared(lambda: table_of().scan().to_arrow(), expected), "duckdb": compared(with_duckdb, expected)}


def files():
    """Counts and bounds in the manifests, and as the rows of the file have them."""
    table = table_of()
    problems, count = [], 0
    for file in table.inspect.files().to_pylist():
        with table.io.new_input(file["file_path"]).open() as stream:
            rows = pyarrow.parquet.read_table(stream)
        if (file["record_count"], file["file_size_in_bytes"]) != (rows.num_rows, len(table.io.new_input(file["file_path"]))):
            problems.append(f"{file['file_path']}: rows or bytes")
        for name, metrics in file["readable_metrics"].items():
            if name not in rows.column_names:
                continue
            column = rows[name]
            if pyarrow.types.is_nested(column.type):
                continue
            count += 1
            lower, upper = None, None
            if pyarrow.types.is_floating(column.type):
                column = column.filter(pyarrow.compute.invert(pyarrow.compute.fill_null(pyarrow.compute.is_nan(column), False)))
            if not (pyarrow.types.is_fixed_size_binary(column.type) or pyarrow.types.is_boolean(column.type)):
                lower, upper = pyarrow.compute.min_max(column).as_py().values()
            known = [metrics["lower_bound"], metrics["upper_bound"]]
            for bound, value in zip(known, [lower, upper]):
                if bound is not None and value is not None and bound != value:
                    problems.append(f"{name}: {bound!r}, not {value!r}")
            if (metrics["value_count"], metrics["null_value_count"]) != (rows.num_rows, rows[name].null_count):
                problems.append(f"{name}: values or nulls")
    return {"compared": count, "problems": problems}


def scan():
    table = table_of()
    return {"files": len(list(table.scan(row_filter=MORE[0]).plan_files())), "of": len(list(table.scan().plan_files()))}


def append():
    for number in range(int(MORE[0])):
        table = table_of()
        schema = table.schema().as_arrow()
        row = {field.name: [None] for field in schema} | {"id": [-1 - number]}
        for _ in range(50):
            try:
                table.append(pyarrow.table(row, schema=schema))
                break
            except Exception as error:
                # A commit of which pyiceberg does not know the outcome would be one too many.
                if type(error).__name__ != "CommitFailedException":
                    raise
                table = table_of()
        else:
            raise RuntimeError("never the first")
    return {"appended": int(MORE[0])}


def history():
    table = table_of()
    by_id = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    ancestors, at = [], table.metadata.current_snapshot_id
    while at is not None:
        ancestors.append(by_id[at])
        at = by_id[at].parent_snapshot_id
    ids = table.scan(selected_fields=("id",)).to_arrow()["id"].to_pylist()
    commits = [snapshot.summary.additional_properties.get("lakegate.commit-id") for snapshot in ancestors]
    return {"snapshots": len(by_id), "ancestors": len(ancestors), "rows": len(ids), "ids": len(set(ids)), "commits": [it for it in commits if it]}


print(json.dumps({"read": read, "files": files, "scan": scan, "append": append, "history": history}[COMMAND](), default=str))
