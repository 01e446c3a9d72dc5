"""Loads the quickstart files into Iceberg tables and reads them with DuckDB: a catalog (Apache's REST servlet) and a store (MinIO) on this machine,
on loopback ports of their own, stopped at the end. Run by `make demo-iceberg`, which installs what it needs.

usage: demo.py LAKEGATE FOLDER
"""

import contextlib
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3

TOOLS = pathlib.Path("target/tools")
# The duckdb that has its extension for Iceberg beside it.
sys.path.insert(0, str(TOOLS / "duckdb-1.5.5"))
import duckdb
KEY, SECRET, BUCKET, NAMESPACE = "demo", "demo-secret", "lake", "demo"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def server(command, url, log, environment=None):
    """A server that answers at the URL when the block begins, and is gone when it ends."""
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(environment or {})})
    try:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{command[0]} does not answer: see {log}")
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def program(name):
    """A program that `make peers` has installed, or the one on the PATH."""
    own = TOOLS / "bin" / name
    return str(own) if own.exists() else name


def minio(folder, port):
    command = [program("minio"), "server", "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{free_port()}", f"{folder}/store"]
    return server(command, f"http://127.0.0.1:{port}/minio/health/ready", f"{folder}/minio.log", {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET})


def catalog(folder, port, store):
    command = ["java", "-Xmx256m", "-cp", f"{TOOLS}/iceberg-rest/classes:{TOOLS}/iceberg-rest/lib/*", "org.apache.iceberg.rest.Main",
               f"port={port}", "idempotency=false", f"uri=jdbc:sqlite:{folder}/catalog.db", "jdbc.schema-version=V1", "clients=1",
               f"warehouse=s3://{BUCKET}/warehouse", "io-impl=org.apache.iceberg.aws.s3.S3FileIO", f"s3.endpoint={store}",
               "s3.path-style-access=true", f"s3.access-key-id={KEY}", f"s3.secret-access-key={SECRET}", "client.region=us-east-1"]
    return server(command, f"http://127.0.0.1:{port}/v1/config", f"{folder}/catalog.log")


def read(store, uri):
    """Prints each table as DuckDB reads it from the catalog."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    packages = pathlib.Path(duckdb.__file__).parents[1]
    for name in ["httpfs", "avro", "iceberg"]:
        (extension,) = packages.glob(f"duckdb_extension_{name}/extensions/*/{name}.duckdb_extension")
        connection.execute(f"LOAD '{extension}'")
    host = store.removeprefix("http://")
    connection.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false, "
                       "REGION 'us-east-1')")
    connection.execute(f"ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{uri}', AUTHORIZATION_TYPE 'none')")
    tables = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_catalog = 'ice' ORDER BY 1").fetchall()
    for (table,) in tables:
        print(f"D SELECT * FROM ice.{NAMESPACE}.{table} LIMIT 3;", flush=True)
        connection.sql(f"SELECT * FROM ice.{NAMESPACE}.{table} LIMIT 3").show()


def main():
    lakegate, folder = sys.argv[1:]
    os.makedirs(folder)
    store_port, catalog_port = free_port(), free_port()
    store, uri = f"http://127.0.0.1:{store_port}", f"http://127.0.0.1:{catalog_port}"
    with minio(folder, store_port):
        client = boto3.client("s3", endpoint_url=store, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        with catalog(folder, catalog_port, store):
            files = sorted(str(file) for file in pathlib.Path("examples/quickstart").glob("*.csv"))
            command = [lakegate, "load", *files, "--to", f"s3://{BUCKET}/warehouse/{{{{TABLE}}}}/data/{{{{UUID}}}}.parquet", "--format", "parquet",
                       "--table-format", "iceberg", "--catalog", uri, "--namespace", NAMESPACE, "--commit-id", "demo-1",
                       "--endpoint", store, "--path-style", "--region", "us-east-1"]
            keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
            for _ in range(2):
                print("$", shlex.join(command), flush=True)
                subprocess.run(command, check=True, env={**os.environ, **keys})
            read(store, uri)


main()
