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


JOBS = {"read": read, "success": success, "sql": sql, "rows": rows}


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
