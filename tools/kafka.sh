#!/usr/bin/env bash
# Fetches the jars of the Kafka broker into the cache, with Maven, and checks them against the sums kept beside
# this script. It starts nothing.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

here=$(cd "$(dirname "$0")" && pwd)
version=4.3.0
target="$cache_root/kafka-$version"

cache_lock kafka
if cache_is_whole "$target"; then
    say "Kafka $version: cached in $target"
    exit 0
fi
say "Kafka $version: fetching its jars with Maven (some 50 MB, usually well under a minute)"
new="$cache_root/.kafka.new"
mvn --batch-mode --quiet --no-transfer-progress --strict-checksums -f "$here/kafka-pom.xml" \
    dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$new" 2>&1 |
    sed 's/\x1b\[[0-9;]*m//g' # Maven resets the terminal's colours even when it is told to use none.
(cd "$new" && sha256sum --check --quiet --strict "$here/kafka-$version.sha256") ||
    fail "the jars that Maven fetched are not the ones that tools/kafka-$version.sha256 names"
cache_seal "$new"
rm -rf --one-file-system "$target"
mv "$new" "$target"
say "Kafka $version: ready in $target"
