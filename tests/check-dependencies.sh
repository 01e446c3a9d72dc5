#!/bin/sh
# Who may depend on whom: the guest holds nothing that could reach outside, and guest and host never link each other.
set -eu
guest=$(cargo tree -p lakegate-guest -e normal,no-proc-macro --target wasm32-unknown-unknown --prefix none --locked | awk '{print $1}' | sort -u)
host=$(cargo tree -p lakegate -e normal --prefix none --locked | awk '{print $1}' | sort -u)
bad=$(printf '%s\n' "$guest" | grep -xE 'tokio|hyper|wasmtime|aws-.*|wasm-bindgen|js-sys|getrandom|lakegate' || true)
[ -z "$bad" ] || { echo "the guest depends on: $bad" >&2; exit 1; }
printf '%s\n' "$host" | grep -qx 'tokio' || { echo 'this check is broken: the host has no tokio' >&2; exit 1; }
if printf '%s\n' "$host" | grep -qx 'lakegate-guest'; then echo 'the host links the guest' >&2; exit 1; fi
echo 'dependencies: the guest is pure, and guest and host do not link each other'
