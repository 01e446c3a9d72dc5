"""Sinks a Parquet file with polars' streaming engine.

usage: sink.py FILE.parquet FORMAT URL-or-path; keys, region and endpoint of a store from the environment
"""

import os
import sys


def main():
    path, format, to = sys.argv[1:]
    import polars

    options = None
    if to.startswith("s3://"):
        options = {
            "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
            "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"],
            "aws_region": os.environ["AWS_REGION"],
            "aws_allow_http": "true",
        }
    rows = polars.scan_parquet(path)
    if format == "csv":
        rows.sink_csv(to, storage_options=options)
    elif format == "json":
        rows.sink_ndjson(to, storage_options=options)
    elif format == "parquet":
        rows.sink_parquet(to, compression="snappy", storage_options=options)
    elif format == "csv.gz":
        rows.sink_csv(to, compression="gzip", storage_options=options)
    elif format == "json.gz":
        rows.sink_ndjson(to, compression="gzip", storage_options=options)
    elif format == "csv.zst":
        rows.sink_csv(to, compression="zstd", storage_options=options)
    elif format == "json.zst":
        rows.sink_ndjson(to, compression="zstd", storage_options=options)
    elif format == "parquet.zst":
        rows.sink_parquet(to, compression="zstd", compression_level=3, storage_options=options)
    else:
        sys.exit(f"no format {format}")


main()
