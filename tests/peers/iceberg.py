"""Iceberg tables as others see them: read by pyiceberg and DuckDB, and appended to by pyiceberg.

usage: iceberg.py read CATALOG STORE TABLE FILE    prints what each reader made of the rows of FILE (Arrow IPC): {"reader": "equal" or a problem}
       iceberg.py files CATALOG STORE TABLE        prints the manifests' metrics beside those computed from the files: {"compared", "problems"}
       iceberg.py scan CATALOG STORE TABLE FILTER…  prints for each filter how many files are left, and how many rows: [{"files", "rows"}]
       iceberg.py same CATALOG STORE TABLE [FILE]  prints what each reader made of the rows that are in the table's files: as read, and {"rows"};
                                                   writes those rows to FILE (Arrow IPC)
       iceberg.py duckdb_scan CATALOG STORE TABLE FILTER…  as scan, by DuckDB's own account
       iceberg.py create CATALOG STORE TABLE LOCATION  makes a table of one column
       iceberg.py append CATALOG STORE TABLE N     appends N times a row whose id is negative
       iceberg.py history CATALOG STORE TABLE      prints {"snapshots", "ancestors", "rows", "ids", "commits": [id, …]}

CATALOG is a URL; STORE is ENDPOINT,KEY,SECRET.
"""

import json
import os
import re
import sys
import uuid

import duckdb
import pyarrow
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet
from pyiceberg.catalog import load_catalog

COMMAND, CATALOG, STORE, TABLE, *MORE = sys.argv[1:]
ENDPOINT, KEY, SECRET = STORE.split(",")


def load_table():
    catalog = load_catalog("ice", type="rest", uri=CATALOG, **{
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO", "s3.endpoint": ENDPOINT, "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET, "s3.region": "us-east-1"})
    return catalog.load_table(TABLE)


def duckdb_connection():
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
    return connection


def read_with_duckdb():
    result = duckdb_connection().execute(f"SELECT * FROM ice.{TABLE}").arrow()
    return result.read_all() if hasattr(result, "read_all") else result


def sorted_rows(table, schema):
    """The rows in an order of their own, as Python has them, in the types of the schema."""
    columns = []
    for field in schema:
        columns.append(table[field.name].cast(field.type) if not pyarrow.types.is_nested(field.type) else table[field.name])
    return sorted(zip(*[column.to_pylist() for column in columns]), key=lambda row: row[0])


def compared(read, expected):
    try:
        found, wanted = sorted_rows(read(), expected.schema), sorted_rows(expected, expected.schema)
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
    return {"pyiceberg": compared(lambda: load_table().scan().to_arrow(), expected), "duckdb": compared(read_with_duckdb, expected)}


def files():
    """Counts and bounds in the manifests, and as the rows of the file have them."""
    table = load_table()
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
            for bound, value, is_upper in [(metrics["lower_bound"], lower, False), (metrics["upper_bound"], upper, True)]:
                if bound is None or value is None or bound == value:
                    continue
                # A long text is cut, and an upper bound is then raised.
                is_cut = isinstance(value, str) and len(value.encode()) > 64 >= len(bound.encode())
                if not is_cut or (bound < value if is_upper else bound > value):
                    problems.append(f"{name}: {bound!r}, not {value!r}")
            if (metrics["value_count"], metrics["null_value_count"]) != (rows.num_rows, rows[name].null_count):
                problems.append(f"{name}: values or nulls")
    return {"compared": count, "problems": problems}


def scan():
    scans = [load_table().scan(row_filter=text) for text in MORE]
    return [{"files": len(list(one.plan_files())), "rows": one.to_arrow().num_rows} for one in scans]


def same():
    """The rows of the files themselves, by pyarrow, against those of the table."""
    table = load_table()
    paths = [file.file.file_path for file in table.scan().plan_files()]
    parts = []
    for path in paths:
        with table.io.new_input(path).open() as stream:
            parts.append(pyarrow.parquet.read_table(stream))
    expected = pyarrow.concat_tables(parts)
    if MORE:
        with pyarrow.ipc.new_stream(MORE[0], expected.schema) as stream:
            stream.write_table(expected)
    # The first column need not tell rows apart.
    found = {"pyiceberg": bags(lambda: table.scan().to_arrow(), expected, lost_nulls), "duckdb": bags(read_with_duckdb, expected)}
    return found | {"rows": expected.num_rows}


def plain(value):
    """A value in one form, whoever read it."""
    # A UUID is one, text, or its bytes.
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes) and len(value) == 16:
        return str(uuid.UUID(bytes=value))
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, dict):
        # DuckDB's maps come as dictionaries, pyarrow's as pairs.
        return sorted((plain(name), plain(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        is_pairs = items and all(isinstance(item, (list, tuple)) and len(item) == 2 for item in items)
        return sorted(map(tuple, items), key=repr) if is_pairs else items
    if hasattr(value, "tzinfo") and getattr(value, "tzinfo", None) is not None:
        return value.timestamp()
    return value


def lost_nulls(kind):
    """pyiceberg 0.12 makes lists of structs, and maps to structs, from their offsets alone: null ones are read as empty."""
    if pyarrow.types.is_map(kind):
        return pyarrow.types.is_struct(kind.item_type)
    return pyarrow.types.is_list(kind) and pyarrow.types.is_struct(kind.value_type)


def bags(read, expected, loses_nulls=lambda kind: False):
    """Whether two tables have the same rows, in whatever order."""
    try:
        found = read()
        missing = set(expected.column_names) ^ set(found.column_names)
        if missing:
            return f"columns: {sorted(missing)}"
        columns = []
        for name in expected.column_names:
            one, other = ([plain(value) for value in table[name].to_pylist()] for table in [found, expected])
            if loses_nulls(expected[name].type):
                other = [[] if value is None else value for value in other]
            columns.append((name, one, other))
        if found.num_rows != expected.num_rows:
            return f"{found.num_rows} rows, not {expected.num_rows}"
        ours = sorted(repr(row) for row in zip(*[column[1] for column in columns]))
        theirs = sorted(repr(row) for row in zip(*[column[2] for column in columns]))
        if ours == theirs:
            return "equal"
        for name, one, other in columns:
            if sorted(map(repr, one)) != sorted(map(repr, other)):
                left, right = next(pair for pair in zip(map(repr, one), map(repr, other)) if pair[0] != pair[1])
                at = next(at for at in range(len(left)) if left[:at + 1] != right[:at + 1])
                return f"{name}: {left[max(0, at - 40):at + 80]}, not {right[max(0, at - 40):at + 80]}"
        return "rows whose columns belong to others"
    except Exception as error:  # what a reader makes of a file is the result
        return f"{type(error).__name__}: {error}"


def duckdb_scan():
    connection = duckdb_connection()
    found = []
    for text in MORE:
        condition = text.replace("==", "=")
        rows = connection.execute(f"SELECT count(*) FROM ice.{TABLE} WHERE {condition}").fetchone()[0]
        plan = connection.execute(f"EXPLAIN ANALYZE SELECT * FROM ice.{TABLE} WHERE {condition}").fetchall()[0][1]
        files = re.search(r"Total Files Read: (\d+)", plan)
        found.append({"files": int(files.group(1)) if files else 0, "rows": rows})
    return found


def append():
    for number in range(int(MORE[0])):
        table = load_table()
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
                table = load_table()
        else:
            raise RuntimeError("never the first")
    return {"appended": int(MORE[0])}


def create():
    """A table with a column `id`, at a location."""
    catalog = load_catalog("ice", type="rest", uri=CATALOG, **{
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO", "s3.endpoint": ENDPOINT, "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET, "s3.region": "us-east-1"})
    catalog.create_namespace_if_not_exists(TABLE.split(".")[0])
    catalog.create_table(TABLE, pyarrow.schema([("id", pyarrow.int64())]), location=MORE[0])
    return {}


def history():
    table = load_table()
    by_id = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    ancestors, at = [], table.metadata.current_snapshot_id
    while at is not None:
        ancestors.append(by_id[at])
        at = by_id[at].parent_snapshot_id
    ids = table.scan(selected_fields=("id",)).to_arrow()["id"].to_pylist()
    commits = [snapshot.summary.additional_properties.get("lakegate.commit-id") for snapshot in ancestors]
    return {"snapshots": len(by_id), "ancestors": len(ancestors), "rows": len(ids), "ids": len(set(ids)), "commits": [it for it in commits if it]}


print(json.dumps({
    "read": read, "files": files, "scan": scan, "same": same, "duckdb_scan": duckdb_scan, "append": append, "create": create, "history": history}[COMMAND](), default=str))
