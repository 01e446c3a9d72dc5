"""Writes a table with duckdb on one thread into files in memory, plain and divided by a column.

usage: partition.py FILE.arrow COLUMN REPEATS
prints: FORMAT SECONDS SECONDS, seconds of computing without and with PARTITION_BY, medians of interleaved repeats.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time


def main():
    path, column, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    import duckdb
    import pyarrow

    with pyarrow.ipc.open_file(path) as reader:
        table = reader.read_all()
    # A query of more than two seconds would draw its progress, on standard output.
    database = duckdb.connect()
    database.execute("SET enable_progress_bar = false")
    database.execute("SET threads TO 1")
    # In the order of the rows, as the other side has it.
    database.execute("SET preserve_insertion_order = true")
    database.register("incoming", table)
    database.execute("CREATE TABLE t AS SELECT * FROM incoming")
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    for format in ["csv", "parquet"]:
        plain, parted = [], []
        for _ in range(repeats):
            for seconds, options in [(plain, ""), (parted, f", PARTITION_BY ({column}), WRITE_PARTITION_COLUMNS true")]:
                folder = tempfile.mkdtemp(dir=memory)
                try:
                    target = os.path.join(folder, "out" if options else "out.file")
                    start = time.process_time()
                    database.execute(f"COPY t TO '{target}' (FORMAT {format}{options})")
                    seconds.append(time.process_time() - start)
                finally:
                    shutil.rmtree(folder)
        print(format, statistics.median(plain), statistics.median(parted), flush=True)


if __name__ == "__main__":
    main()
