"""One session of Spark, which does jobs until its input ends.

usage: spark.py JAR…    then a job a line: {"job": NAME, …}, of the functions in JOBS with the other fields as arguments
prints: for each job a line, {"answer": …} or {"error": "…"}
"""

import json
import os
import sys
import tempfile
import traceback

from pyspark.sql import SparkSession, functions

# Whatever else is printed goes to the log.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def session(jars):
    builder = SparkSession.builder.master("local[2]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.driver.extraClassPath": ":".join(jars),
        # The start counts, not the speed of the compiled code.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.shuffle.partitions": "1",
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


JOBS = {"read": read, "success": success}


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
