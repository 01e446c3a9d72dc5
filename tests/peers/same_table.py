"""Compares a table that Spark has read with where its rows come from.

usage: same_table.py FOUND SOURCE FORMAT OBJECT…
  FOUND: JSON, as Spark's job `rows` answers; SOURCE: an Arrow IPC file; FORMAT: csv, json or parquet, or csv-without-nulls where the reader has empty
  texts for nulls; OBJECT: the objects of the table
prints: {"rows": N, "source": columns compared with the source, "objects": columns compared with the objects,
         "different": {column: [with which, expected, found]}}

A column of the table is compared with the source where its type there has one here. What has not (durations or nested values that are text in the
objects, intervals, which pyarrow does not have) is compared with the objects, as Python's csv and json or pyarrow read them.
"""

import base64
import csv
import decimal
import json
import math
import struct
import sys
import uuid

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class Unlike(Exception):
    """A type of the table that says nothing of the source's value."""


def extension(field):
    return (field.metadata or {}).get(b"ARROW:extension:name", b"").decode()


def plain(array):
    """Values as Python has them, times as whole numbers."""
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return array.cast(pa.int64()).to_pylist()
    if pa.types.is_time(kind):
        return array.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [None if item is None or not item.is_valid else plain(item.values) for item in array]
    if pa.types.is_map(kind):
        keys, items = plain(array.keys), plain(array.items)
        offsets = array.offsets.to_pylist()
        first = offsets[0]
        bounds = list(zip(offsets, offsets[1:]))
        return [list(zip(keys[a - first : b - first], items[a - first : b - first])) if array[at].is_valid else None for at, (a, b) in enumerate(bounds)]
    if pa.types.is_struct(kind):
        columns = [plain(column) for column in array.flatten()]
        valid = array.is_valid().to_pylist()
        return [tuple(column[at] for column in columns) if valid[at] else None for at in range(len(array))]
    return array.to_pylist()


def value(found):
    """The value and its type in the table."""
    if isinstance(found, dict):
        [(kind, inner)] = found.items()
        return inner, kind
    return found, "list" if isinstance(found, list) else type(found).__name__


def same(expected, field, found):
    """Whether a value of the source is the one that was found."""
    if expected is None or found is None:
        return expected is found
    kind, (inner, as_type) = field.type, value(found)
    name = extension(field)
    if name == "uuid":
        return as_type == "str" and inner == str(uuid.UUID(bytes=expected))
    if name == "mac":
        return as_type == "str" and inner == ":".join(f"{byte:02x}" for byte in expected)
    if name == "inet":
        return as_type == "str" and inner == expected.decode()
    if name == "json":
        return as_type == "str" and json.loads(inner) == json.loads(expected)
    if pa.types.is_timestamp(kind):
        per_second = PER_SECOND[kind.unit]
        if as_type == "microseconds":
            return inner == expected * 1_000_000 // per_second
        if as_type == "int":
            return kind.unit == "ns" and inner == expected
        raise Unlike
    if pa.types.is_time(kind):
        if as_type != "int":
            raise Unlike
        # Parquet has no seconds.
        return inner == expected * (1_000 if kind.unit == "s" else 1)
    if pa.types.is_duration(kind):
        return as_type == "str" and inner == f"{expected}{kind.unit}"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        if as_type != "list":
            raise Unlike
        return len(inner) == len(expected) and all(same(a, kind.value_field, b) for a, b in zip(expected, inner))
    if pa.types.is_map(kind):
        if as_type == "map":
            pairs = inner
        elif as_type == "list":
            pairs = [(pair["row"]["key"], pair["row"]["value"]) for pair in inner]
        else:
            raise Unlike
        # Maps have no order.
        expected, pairs = (sorted(side, key=lambda pair: repr(pair[0])) for side in (expected, pairs))
        pairs_match = (same(a, kind.key_field, c) and same(b, kind.item_field, d) for (a, b), (c, d) in zip(expected, pairs))
        return len(pairs) == len(expected) and all(pairs_match)
    if pa.types.is_struct(kind):
        if as_type != "row":
            raise Unlike
        fields = {kind.field(at).name.lower(): (kind.field(at), expected[at]) for at in range(kind.num_fields)}
        return len(inner) > 0 and all(same(fields[name.lower()][1], fields[name.lower()][0], item) for name, item in inner.items())
    if pa.types.is_floating(kind):
        if as_type != "float":
            raise Unlike
        number = float(inner)
        return number == expected or math.isnan(number) and math.isnan(expected)
    if pa.types.is_uint64(kind):
        if as_type == "str":
            raise Unlike
        # Read with a sign where the engine has no other.
        return int(inner) == expected if as_type == "decimal" else as_type == "int" and inner % 2**64 == expected
    if pa.types.is_decimal(kind):
        if as_type != "decimal":
            raise Unlike
        return decimal.Decimal(inner) == expected
    if pa.types.is_large_binary(kind) and as_type == "str":
        return inner == base64.b64encode(expected).decode()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        if as_type != "bytes":
            raise Unlike
        return inner == expected.hex()
    if pa.types.is_date(kind):
        if as_type != "day":
            raise Unlike
        return inner == expected.isoformat()
    if pa.types.is_null(kind):
        return False
    if type(expected) is not type(inner):
        raise Unlike
    return inner == expected


def in_object(expected, found):
    """Whether a value in an object, as Python's csv or json read it, is the one that was found."""
    inner, as_type = value(found)
    if as_type in ("bytes", "microseconds", "day") or isinstance(expected, str) and as_type in ("int", "bool"):
        raise Unlike
    if as_type == "float":
        # As a double, or as a float of 32 bits.
        return float(inner) in (float(expected), struct.unpack("f", struct.pack("f", float(expected)))[0])
    if as_type == "decimal":
        return decimal.Decimal(expected) == decimal.Decimal(inner)
    if as_type == "list":
        return len(expected) == len(inner) and all(in_object(a, b) for a, b in zip(expected, inner))
    if as_type == "row":
        by_name = {name.lower(): item for name, item in expected.items()}
        return {name.lower() for name in inner} == set(by_name) and all(in_object(by_name[name.lower()], item) for name, item in inner.items())
    if as_type == "str" and not isinstance(expected, str):
        return expected is not None and json.loads(inner, parse_float=decimal.Decimal) == expected
    return type(expected) is type(inner) and expected == inner


def texts(format, names, files, order):
    """The rows of text objects, by the column that orders them."""
    rows = []
    for file in files:
        with open(file, newline="", encoding="utf-8") as lines:
            if format == "csv":
                read = (row for row in csv.reader(lines) if row != names)
                rows += [dict(zip(names, (None if text == "" else text for text in row))) for row in read]
            else:
                rows += [json.loads(line, parse_float=decimal.Decimal) for line in lines]
    return sorted(rows, key=lambda row: int(row[order]))


def has_values(kind):
    """Whether pyarrow has values of a type: it has none of most intervals."""
    if pa.types.is_nested(kind):
        return all(has_values(kind.field(at).type) for at in range(kind.num_fields))
    return "interval" not in str(kind)


def columns(table):
    """Field and values of each column that pyarrow has values for, by its name in small letters."""
    known = {}
    for at, field in enumerate(table.schema):
        if has_values(field.type):
            known[field.name.lower()] = (field, plain(table.column(at).combine_chunks()))
    return known


def compare(pairs, equal):
    """The first pair that differs, if any does."""
    return next(([repr(a), repr(b)] for a, b in pairs if (a is None) != (b is None) or a is not None and not equal(a, b)), None)


def main():
    found_file, source_file, format, *files = sys.argv[1:]
    with open(found_file, encoding="utf-8") as file:
        found = json.load(file)
    has_nulls = format != "csv-without-nulls"
    format = format.removesuffix("-without-nulls")
    source = pa.ipc.open_file(source_file).read_all()
    order = source.schema.names[0]
    in_source = columns(source)
    if format == "parquet":
        tables = [pyarrow.parquet.ParquetFile(file).read() for file in files]
        in_objects = columns(pa.concat_tables(tables).sort_by(order))
    else:
        # Text objects without a line of names have them in the order of the source.
        names = [name for name in source.schema.names if name not in ("country", "day")]
        rows = texts(format, names, files, order)
        in_objects = {name.lower(): (None, [row.get(name) for row in rows]) for name in names}
    report = {"rows": len(found["rows"]), "source": [], "objects": [], "different": {}}
    for at, name in enumerate(found["columns"]):
        values = [row[at] if has_nulls or row[at] != "" else None for row in found["rows"]]
        for kind, known in (("source", in_source), ("objects", in_objects)):
            if name.lower() not in known:
                continue
            field, expected = known[name.lower()]
            expected = [value if has_nulls or value != "" else None for value in expected]
            if name == "day" and any(isinstance(found_value, str) for found_value in values):
                # The text of a folder, where the table has no type for it.
                field, expected = None, [None if day is None else day.isoformat() for day in expected]
            try:
                different = compare(zip(expected, values), (lambda a, b, field=field: same(a, field, b)) if field else in_object)
            except Unlike:
                continue
            report[kind].append(name)
            if different:
                report["different"][name] = [kind, *different]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
