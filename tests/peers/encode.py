"""Encodes a table with polars, pyarrow and duckdb, one thread each, into memory or a file in memory.

usage: encode.py FILE.arrow REPEATS
prints: NAME FORMAT SECONDS BYTES, seconds of computing, the median of the repeats; a peer that cannot write the table is left out.
"""

import io
import os
import statistics
import sys
import time


# Rows of a Parquet file, as many as the objects have that they are compared with. duckdb writes no more than one file at a time of a table,
# so it is left out there.
FILE_ROWS = 10_000


def timed(name, format, repeats, run):
    try:
        seconds, size = [], 0
        for _ in range(repeats):
            start = time.process_time()
            size = run()
            seconds.append(time.process_time() - start)
        print(name, format, statistics.median(seconds), size, flush=True)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a peer that has no such type or format; a panic of polars is no Exception
        print(f"{name} {format}: {(str(error).splitlines() or [type(error).__name__])[0][:200]}", file=sys.stderr)


def main():
    path, repeats = sys.argv[1], int(sys.argv[2])
    import duckdb
    import polars
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    with pyarrow.ipc.open_file(path) as reader:
        table = reader.read_all()

    def to_memory(write):
        def run():
            out = io.BytesIO()
            write(out)
            return out.tell()

        return run

    def in_files(rows, write):
        def run():
            size = 0
            for start in range(0, len(rows), FILE_ROWS):
                out = io.BytesIO()
                write(rows.slice(start, FILE_ROWS), out)
                size += out.tell()
            return size

        return run

    try:
        frame = polars.from_arrow(table)
        timed("polars", "csv", repeats, to_memory(frame.write_csv))
        timed("polars", "json", repeats, to_memory(frame.write_ndjson))
        timed("polars", "parquet", repeats, in_files(frame, lambda part, out: part.write_parquet(out, compression="snappy")))
        zstd = lambda part, out: part.write_parquet(out, compression="zstd", compression_level=3)
        timed("polars", "parquet.zst", repeats, in_files(frame, zstd))
    except Exception as error:
        print(f"polars: {error}", file=sys.stderr)
    timed("pyarrow", "csv", repeats, to_memory(lambda out: pyarrow.csv.write_csv(table, out)))
    timed("pyarrow", "parquet", repeats, in_files(table, lambda part, out: pyarrow.parquet.write_table(part, out, compression="snappy")))

    zstd = lambda part, out: pyarrow.parquet.write_table(part, out, compression="zstd", compression_level=3)
    timed("pyarrow", "parquet.zst", repeats, in_files(table, zstd))

    # A query of more than two seconds would draw its progress, on standard output.
    database = duckdb.connect()
    database.execute("SET enable_progress_bar = false")
    database.execute("SET threads TO 1")
    database.register("incoming", table)
    database.execute("CREATE TABLE t AS SELECT * FROM incoming")
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else "."
    target = os.path.join(memory, f"lakegate-bench-{os.getpid()}")

    def copy(options):
        def run():
            database.execute(f"COPY t TO '{target}' ({options})")
            return os.path.getsize(target)

        return run

    try:
        timed("duckdb", "csv", repeats, copy("FORMAT csv, HEADER"))
        timed("duckdb", "csv.gz", repeats, copy("FORMAT csv, HEADER, COMPRESSION gzip"))
        timed("duckdb", "json", repeats, copy("FORMAT json"))
        timed("duckdb", "json.gz", repeats, copy("FORMAT json, COMPRESSION gzip"))
        timed("duckdb", "csv.zst", repeats, copy("FORMAT csv, HEADER, COMPRESSION zstd"))
        timed("duckdb", "json.zst", repeats, copy("FORMAT json, COMPRESSION zstd"))
    finally:
        if os.path.exists(target):
            os.remove(target)


if __name__ == "__main__":
    main()
