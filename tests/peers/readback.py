"""Reads objects back with pyarrow, duckdb and polars, and prints what each found.

usage: readback.py lineitem FOLDER    prints a line of JSON for each reader and file: {"reader", "file", "rows", sums …}
       readback.py golden FOLDER      FOLDER/NAME.parquet beside FOLDER/NAME.arrows: {"reader", "file", "rows", "compared", "problem"}
"""

import gzip
import io
import json
import math
import os
import sys
from decimal import Decimal

import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet

COLUMNS = ["l_orderkey", "l_quantity", "l_extendedprice", "l_shipdate", "l_comment"]


def text_of(path):
    """The file's bytes, unpacked; every reader of ours is to find one whole gzip member."""
    with open(path, "rb") as file:
        data = file.read()
    return gzip.decompress(data) if path.endswith(".gz") else data


def with_pyarrow(path):
    if path.endswith(".parquet"):
        return pyarrow.parquet.read_table(path)
    codec = "gzip" if path.endswith(".gz") else None
    with pyarrow.input_stream(path, compression=codec) as stream:
        return pyarrow.csv.read_csv(stream) if ".csv" in path else pyarrow.json.read_json(stream)


def with_duckdb(path):
    reader = "read_parquet" if path.endswith(".parquet") else "read_csv" if ".csv" in path else "read_ndjson"
    # A query of more than two seconds draws its progress, on standard output.
    duckdb.execute("SET enable_progress_bar = false")
    result = duckdb.sql(f"SELECT * FROM {reader}('{path}')").arrow()
    return result.read_all() if hasattr(result, "read_all") else result


def with_polars(path):
    if path.endswith(".parquet"):
        return polars.read_parquet(path).to_arrow()
    text = io.BytesIO(text_of(path))
    return (polars.read_csv(text) if ".csv" in path else polars.read_ndjson(text)).to_arrow()


READERS = {"pyarrow": with_pyarrow, "duckdb": with_duckdb, "polars": with_polars}


def cents(value):
    """Hundredths, from a decimal, its text in JSON, or the float that a CSV reader takes it for."""
    return int((Decimal(str(value)) * 100).to_integral_value())


def lineitem(folder):
    for file in sorted(os.listdir(folder)):
        for reader, read in READERS.items():
            table = read(os.path.join(folder, file)).select(COLUMNS)
            order, quantity, price, shipped, comment = (table.column(name).to_pylist() for name in COLUMNS)
            print(
                json.dumps(
                    {
                        "reader": reader,
                        "file": file,
                        "rows": table.num_rows,
                        "orderkey": sum(order),
                        "quantity_cents": sum(cents(value) for value in quantity),
                        "price_cents": sum(cents(value) for value in price),
                        "comment_bytes": sum(len(value.encode()) for value in comment),
                        "shipdate_digits": sum(int(str(value)[:10].replace("-", "")) for value in shipped),
                    }
                ),
                flush=True,
            )


def is_plain(field):
    """Types that Parquet holds as they are, so that values can be compared without knowing any text form."""
    kind = field.type
    if field.metadata and b"ARROW:extension:name" in field.metadata or isinstance(kind, pyarrow.BaseExtensionType):
        return False
    types = pyarrow.types
    return (
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_string(kind)
        or types.is_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_date32(kind)
        or types.is_decimal(kind)
    )


def same(sent, found):
    if isinstance(sent, float) and isinstance(found, float) and math.isnan(sent):
        return math.isnan(found)
    return sent == found


def values(column):
    """Values as Python has them; text that is not UTF-8 is none of them."""
    try:
        return column.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError):
        return None


def golden(folder):
    for name in sorted(name[: -len(".parquet")] for name in os.listdir(folder) if name.endswith(".parquet")):
        path = os.path.join(folder, name + ".parquet")
        with pyarrow.ipc.open_stream(os.path.join(folder, name + ".arrows")) as stream:
            sent = stream.read_all()
        for reader, read in READERS.items():
            result = {"reader": reader, "file": name, "rows": 0, "compared": 0, "problem": None}
            try:
                table = read(path)
                result["rows"] = table.num_rows
                if table.num_rows != sent.num_rows:
                    result["problem"] = f"{table.num_rows} rows, {sent.num_rows} were sent"
                elif reader == "pyarrow":
                    for position, field in enumerate(sent.schema):
                        if is_plain(field) and (expected := values(sent.column(position))) is not None:
                            found = table.column(position).to_pylist()
                            if not all(map(same, expected, found)):
                                result["problem"] = f"column {field.name} ({field.type}) differs"
                            result["compared"] += 1
            except Exception as error:  # whatever a reader throws is a finding
                result["problem"] = str(error).splitlines()[0][:300]
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    {"lineitem": lineitem, "golden": golden}[sys.argv[1]](sys.argv[2])
