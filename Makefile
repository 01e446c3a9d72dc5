# Everything a newcomer types. Each target does its own set-up; rustup, make and a C compiler must be there.
.PHONY: demo demo-iceberg test lint bench cost commit-cost iceberg-cost peaks partition-memory tenants chaos kills dist setup peers

CARGO ?= cargo
DEMO_DIR ?= target/demo

## Writes example files through the sandbox to an S3 store in target/demo, and shows what is there.
demo: setup
	$(CARGO) build --workspace --bin lakegate
	rm -rf $(DEMO_DIR)
	@echo '$$ lakegate load examples/quickstart/*.csv --to s3://demo/{{TABLE}}/{{UUID}}.{{FORMAT}} --format parquet --local $(DEMO_DIR)'
	@target/debug/lakegate load examples/quickstart/*.csv --to 's3://demo/{{TABLE}}/{{UUID}}.{{FORMAT}}' --format parquet --local $(DEMO_DIR)
	@echo '$$ lakegate sync examples/quickstart/sync.yml --local $(DEMO_DIR)'
	@target/debug/lakegate sync examples/quickstart/sync.yml --local $(DEMO_DIR)
	@echo 'Objects in $(DEMO_DIR):'
	@find $(DEMO_DIR) -type f -not -path '*/.lakegate*' -exec ls -l {} + | awk '{print $$5, $$9}'

## Loads the example files into Iceberg tables, twice under one commit ID, and reads them with DuckDB: with a catalog and MinIO on this machine.
demo-iceberg: setup peers
	$(CARGO) build --workspace --bin lakegate
	rm -rf $(DEMO_DIR)-iceberg
	.venv/bin/python examples/iceberg/demo.py target/debug/lakegate $(DEMO_DIR)-iceberg

## All tests. With LAKEGATE_REQUIRE_ALL=1 a tier that cannot run (no Python, no Go) is a failure instead of a line that says so.
test: setup peers
	$(CARGO) test --workspace

## Formatting, clippy, documentation, and the rules about who may depend on whom: crates, and modules (drawn in target/modules.txt).
lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --quiet
	sh tests/check-dependencies.sh
	$(CARGO) run --quiet -p lakegate-modules -- guest host/* > target/modules.txt

## Throughput of the encoders, in the sandbox and out, beside polars, pyarrow and duckdb; a guest's memory; load beside polars. ARGS='--scale 0.1'
bench: setup peers
	$(CARGO) build --release --workspace --bin plugin --bin bench
	target/release/bench $(ARGS)

## CPU of the plugin for a megabyte of Arrow, gRPC in and S3 out, beside the reference's. ARGS='--scale 0.2'
cost: setup peers
	$(CARGO) build --release --workspace --bin plugin --bin cost
	target/release/cost $(ARGS)

## What a commit costs: requests and CPU of an object in each way of delivery. ARGS='--objects 1000 --repeats 5'
commit-cost: setup
	$(CARGO) build --release --workspace --bin commit_cost
	target/release/commit_cost $(ARGS)

## What tables of an Iceberg catalog cost: requests and time of a table beside the same objects alone. ARGS='--repeats 3'
iceberg-cost: setup peers
	$(CARGO) build --release --workspace --bin iceberg_cost
	target/release/iceberg_cost $(ARGS)

## Peak memory of the plugin under loads of unusual shape. ARGS='parquet'
peaks: setup
	$(CARGO) build --release --workspace --bin plugin --bin peaks
	target/release/peaks $(ARGS)

## Peak memory of rows over very many partitions in no order, beside the same rows in one piece, duckdb and polars. ARGS='--rows 10000000'
partition-memory: setup peers
	$(CARGO) build --release --workspace --bin partition_memory
	target/release/partition_memory $(ARGS)

## What many tenants in one process cost, and what a hostile one takes from an honest one. ARGS='--scale 0.05 --repeats 3'
tenants: setup
	$(CARGO) build --release --workspace --bin plugin --bin tenants
	target/release/tenants $(ARGS)

## Twenty tenants, half of them hostile, on a store that fails, for an hour. ARGS='--seconds 60 --seed 2'
chaos: setup
	$(CARGO) build --release --workspace --bin plugin --bin chaos
	target/release/chaos $(ARGS)

## Loads of 200 files that are killed forty times each and repeated to their end, in every format, at the embedded store and MinIO. CI has a short form.
kills: setup peers
	$(CARGO) build --release --workspace --bin plugin
	LAKEGATE_KILLS=40 LAKEGATE_KILLS_PROGRAM=$(CURDIR)/target/release/plugin $(CARGO) test --workspace --test it exactly_once::kills -- --nocapture

## A stripped binary and its checksum in target/dist.
dist: setup
	$(CARGO) build --profile dist --workspace --bin lakegate
	strip target/dist/lakegate
	cd target/dist && sha256sum lakegate > lakegate.sha256 && cat lakegate.sha256

## The wasm target, which rustup does not install by itself.
setup:
	@rustup target list --installed | grep -q '^wasm32-unknown-unknown$$' || rustup target add wasm32-unknown-unknown

## The programs that some tests compare with or talk to: MinIO, SeaweedFS, versitygw, moto, pyarrow, polars, duckdb, Spark, grpcio, source plugins, Chromium.
peers:
	@sh tests/setup.sh || [ -z "$$LAKEGATE_REQUIRE_ALL" ]
