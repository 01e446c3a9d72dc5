"""One session of Spark, which does jobs until its input ends.

usage: spark.py JAR…    then a job a line: {"job": NAME, …}, of the functions in JOBS with the other fields as arguments
prints: for each job a line, {"answer": …} or {"error": "…"}
"""

import datetime
import decimal
import json
import os
import sys
import tempfile
import time
import traceback

import pyarrow
import pyarrow.ipc
from pyspark.sql import Row, SparkSession, functions

# Whatever else is printed goes to the log.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


# Times come out in the zone of the process.
os.environ["TZ"] = "UTC"
time.tzset()


def session(jars):
    """With Hive's catalog in memory, for as long as the session lives."""
    builder = SparkSession.builder.master("local[2]").enableHiveSupport()
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.driver.extraClassPath": ":".join(jars),
        # The start counts, not the speed of the compiled code.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Duser.timezone=UTC",
        "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:memory:catalog;create=true",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        # Else `${day}` in the properties of a table is taken for a variable, and for an empty one.
        "spark.sql.variable.substitute": "false",
        "spark.sql.warehouse.dir": f"file://{os.getcwd()}/warehouse",
    }.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def read(spark, format, files):
    """Rows, the sum of `id`, and which files the rows are from."""
    frame = spark.read.format(format).option("header", "true").load(files)
    rows, ids = frame.agg(functions.count("*"), functions.sum(functions.col("id").cast("long"))).first()
    names = frame.select(functions.input_file_name()).distinct().collect()
    return {"rows": rows, "ids": ids, "files": sorted(name.removeprefix("file://") for (name,) in names)}


def success(spark, file):
    """What Hadoop's S3A committer finds in a marker of success."""
    hadoop = spark._jvm.org.apache.hadoop.fs
    system = hadoop.FileSystem.getLocal(spark._jsc.hadoopConfiguration())
    data = hadoop.s3a.commit.files.SuccessData.load(system, hadoop.Path(f"file://{file}"))
    return {
        "name": data.getName(),
        "job": data.getJobId(),
        "committer": data.getCommitter(),
        "timestamp": data.getTimestamp(),
        "files": list(data.getFilenames()),
        "diagnostics": dict(data.getDiagnostics()),
    }


def sql(spark, statements):
    """Executes statements, one after the other."""
    for statement in statements:
        spark.sql(statement)


def cell(value):
    """A value as JSON that tells types apart: numbers, booleans and texts are themselves."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, datetime.datetime):
        return {"microseconds": (value - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)}
    if isinstance(value, datetime.date):
        return {"day": value.isoformat()}
    if isinstance(value, Row):
        return {"row": {name: cell(field) for name, field in value.asDict().items()}}
    if isinstance(value, dict):
        return {"map": [[cell(key), cell(field)] for key, field in value.items()]}
    return [cell(item) for item in value]


def rows(spark, table, order):
    """All rows of a table or view, in the order of a column of whole numbers."""
    frame = spark.sql(f"SELECT * FROM {table}")
    found = sorted(frame.collect(), key=lambda row: int(row[order]))
    types = [field.dataType.simpleString() for field in frame.schema.fields]
    return {"columns": frame.columns, "types": types, "rows": [[cell(value) for value in row] for row in found]}


def options(spark, file):
    """Sums of the rows of a Parquet file, its first names, and how many rows a filter of one name finds."""
    frame = spark.read.parquet(file)
    total = lambda text: functions.sum(functions.expr(text))
    rows, ids, millis, tags, quarters, noise = frame.agg(
        functions.count("*"),
        functions.sum("id"),
        total("unix_millis(when)"),
        total("aggregate(filter(tags, tag -> tag IS NOT NULL), 0L, (sum, tag) -> sum + tag)"),
        total("CAST(ratio * 4 AS BIGINT)"),
        total("length(noise)"),
    ).first()
    return {
        "sums": {"rows": rows, "ids": ids, "millis": millis, "tags": tags, "quarters": quarters, "noise": noise},
        "first_names": [name for (name,) in frame.select("name").limit(100).collect()],
        "sevens": frame.where("name = 'name 7'").count(),
    }


def iceberg_table(spark, catalog, store, table):
    """A table of an Iceberg REST catalog, as it is now. STORE is ENDPOINT,KEY,SECRET."""
    endpoint, key, secret = store.split(",")
    name = "ice" + catalog.rpartition(":")[2]
    for option, value in {
        "": "org.apache.iceberg.spark.SparkCatalog",
        ".type": "rest",
        ".uri": catalog,
        ".cache-enabled": "false",
        ".io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        ".client.region": "us-east-1",
        ".s3.endpoint": endpoint,
        ".s3.path-style-access": "true",
        ".s3.access-key-id": key,
        ".s3.secret-access-key": secret,
    }.items():
        spark.conf.set(f"spark.sql.catalog.{name}{option}", value)
    return spark.table(f"{name}.{table}")


def plain(value):
    """A value of Spark's or pyarrow's, as both have it."""
    if isinstance(value, Row):
        value = value.asDict()
    if isinstance(value, dict):
        return {name: plain(field) for name, field in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return bytes(value) if isinstance(value, bytearray) else value


def iceberg_rows(spark, catalog, store, table, file):
    """Whether a table has the rows of an Arrow IPC stream, whose first column tells them apart: "equal", or what is not."""
    with pyarrow.ipc.open_stream(file) as stream:
        expected = stream.read_all()
    names = expected.column_names
    # pyarrow's maps are lists of pairs.
    are_maps = [pyarrow.types.is_map(column.type) for column in expected.columns]
    wanted = sorted(zip(*[column.to_pylist() for column in expected.columns]), key=lambda row: row[0])
    wanted = [[dict(value) if is_map and value is not None else value for value, is_map in zip(row, are_maps)] for row in wanted]
    frame = iceberg_table(spark, catalog, store, table)
    found = sorted((tuple(row) for row in frame.select(*names).collect()), key=lambda row: row[0])
    if sorted(frame.columns) != sorted(names):
        return f"the columns {frame.columns}, not {names}"
    if len(found) != len(wanted):
        return f"{len(found)} rows, not {len(wanted)}"
    for one, other in zip(found, wanted):
        for name, left, right in zip(names, map(plain, one), map(plain, other)):
            # NaN is unlike itself.
            if left != right and not (left != left and right != right):
                return f"{name}: {left!r}, not {right!r}"
    return "equal"


def iceberg_bag(spark, catalog, store, table, file):
    """Whether a table has the rows of an Arrow IPC stream, in whatever order: "equal", or what is not."""
    with pyarrow.ipc.open_stream(file) as stream:
        expected = stream.read_all()
    names = expected.column_names
    frame = iceberg_table(spark, catalog, store, table)
    if sorted(frame.columns) != sorted(names):
        return f"the columns {sorted(set(frame.columns) ^ set(names))}"
    found = sorted((tuple(repr(paired(plain(value))) for value in row) for row in frame.select(*names).collect()))
    wanted = sorted(zip(*[[repr(paired(plain(value))) for value in column.to_pylist()] for column in expected.columns]))
    if len(found) != len(wanted):
        return f"{len(found)} rows, not {len(wanted)}"
    for one, other in zip(found, wanted):
        for name, left, right in zip(names, one, other):
            if left != right:
                return f"{name}: {left}, not {right}"
    return "equal"


def paired(value):
    """Maps as sorted pairs: Spark's are dictionaries, pyarrow's are lists of pairs. Structs are dictionaries in both."""
    if isinstance(value, dict):
        return sorted((str(name), paired(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        items = [paired(item) for item in value]
        is_pairs = items and all(isinstance(item, tuple) and len(item) == 2 for item in value)
        return sorted((str(name), item) for name, item in items) if is_pairs else items
    return value


def iceberg_scan(spark, catalog, store, table, filters):
    """For each filter how many files are read, by the metrics of the plan that was carried out, and how many rows are found."""
    found = []
    for text in filters:
        frame = iceberg_table(spark, catalog, store, table).where(text)
        rows = len(frame.collect())
        leaves = frame._jdf.queryExecution().executedPlan().collectLeaves()
        assert leaves.size() == 1, leaves.toString()
        found.append({"files": leaves.apply(0).metrics().get("resultDataFiles").get().value(), "rows": rows})
    return found


JOBS = {
    "read": read,
    "success": success,
    "sql": sql,
    "rows": rows,
    "options": options,
    "iceberg_rows": iceberg_rows,
    "iceberg_bag": iceberg_bag,
    "iceberg_scan": iceberg_scan,
}


def main():
    # Spark's own files, and those of tables without a place, go where nobody looks for them.
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        spark = session(sys.argv[1:])
        for line in sys.stdin:
            job = json.loads(line)
            try:
                answer = {"answer": JOBS[job.pop("job")](spark, **job)}
            except Exception:  # whatever a job throws is its answer
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), file=ANSWERS, flush=True)
        spark.stop()
        os.chdir("/")


if __name__ == "__main__":
    main()
