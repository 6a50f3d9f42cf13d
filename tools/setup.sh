#!/usr/bin/env bash
# Everything that tests and benchmarks need: system packages first, because the rest uses them, then the virtual
# environment, Kafka, MySQL, the schema registry and the saved binlogs side by side. Each step finds its own work done
# when it is; safe to run again.
set -euo pipefail
. "$(dirname "$0")/cache.sh"
here=$(cd "$(dirname "$0")" && pwd)

"$here/packages.sh"

declare -A step
for name in venv kafka mysql registry binlogs; do
    "$here/$name.sh" &
    step[$name]=$!
done
failed=()
for name in "${!step[@]}"; do
    wait "${step[$name]}" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || fail "these steps failed: ${failed[*]} (see above). make setup goes on where it stopped"
say "set up"
