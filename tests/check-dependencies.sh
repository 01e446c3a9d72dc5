#!/bin/sh
# Who may depend on whom: the guest holds nothing that could reach outside, guest and host never link each other, and the library and the crates
# below it bring nothing of a command line, a protocol server or an embedded store.
set -eu
# The crates that a package brings, itself included. $1: the package; the rest: more arguments.
crates() { cargo tree -p "$@" -e normal,no-proc-macro --prefix none --locked | awk '{print $1}' | sort -u; }
# Fails if a package brings what it may not. $1: the package; $2: what it may not bring; $3: a crate that it does bring, or the check is broken.
refuse() {
    printf '%s\n' "$found" | grep -qx "$3" || { echo "this check is broken: $1 has no $3" >&2; exit 1; }
    bad=$(printf '%s\n' "$found" | grep -xE "$2" || true)
    [ -z "$bad" ] || { echo "$1 depends on:" $bad >&2; exit 1; }
}
found=$(crates lakegate-guest --target wasm32-unknown-unknown)
refuse lakegate-guest 'tokio|hyper|wasmtime|aws-.*|wasm-bindgen|js-sys|getrandom|lakegate|lakegate-base' arrow-array
program='clap|indicatif|serde-saphyr|toml|jsonschema|tonic|prost|s3s|lakegate-(cli|cloudquery|local-store|telemetry|guest)'
found=$(crates lakegate)
refuse lakegate "$program|lakegate-files|parquet|arrow-csv|arrow-json" wasmtime
found=$(crates lakegate-files)
refuse lakegate-files "$program|wasmtime|aws-.*|hyper|lakegate" parquet
found=$(crates lakegate-local-store)
refuse lakegate-local-store "clap|indicatif|tonic|wasmtime|parquet|lakegate|lakegate-(cli|cloudquery|files|guest)" s3s
found=$(crates lakegate-cloudquery)
refuse lakegate-cloudquery 'clap|indicatif|serde-saphyr|toml|jsonschema|s3s|lakegate-(cli|local-store|guest)' tonic
found=$(crates lakegate-telemetry)
refuse lakegate-telemetry 'clap|indicatif|serde-saphyr|toml|jsonschema|tonic|s3s|parquet|opentelemetry.*|lakegate-(cli|cloudquery|files|local-store|guest)' prost
found=$(crates lakegate-iceberg)
refuse lakegate-iceberg "$program|wasmtime|parquet|arrow-(array|ipc)|lakegate" arrow-schema
found=$(crates lakegate-cli)
refuse lakegate-cli 'lakegate-guest' lakegate-local-store
echo 'dependencies: the guest is pure, guest and host do not link each other, and each crate of the host keeps its place'
