#!/usr/bin/env bash
# Makes the virtual environment (.venv beside the Makefile, or the directory given): every package from
# requirements/dev.txt, each file checked against its recorded hash, then this project, editable.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

project=$(cd "$(dirname "$0")/.." && pwd)
venv=${1:-$project/.venv}
stamp="$venv/.installed"

cd "$project"
# What the installation depends on. The project's own metadata is in it, for its entry points and version.
wanted=$({ cat requirements/dev.txt pyproject.toml; printf '%s\n' "$project" "$venv"; } | sha256sum)
if [ -x "$venv/bin/vecsync" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    say "virtual environment: up to date in $venv"
    exit 0
fi

# Only an interpreter that pip can run in will do: an interrupted run may have left less.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3.x"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "this Python cannot make virtual environments: apt-get install python3-venv"
    say "virtual environment: making $venv"
    "$python" -m venv --clear "$venv"
fi
say "virtual environment: installing the locked packages (one to three minutes the first time)"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet install)
"${pip[@]}" --require-hashes --only-binary :all: -r requirements/dev.txt
# With the locked build backend: left to itself, pip would fetch another one, unchecked.
"${pip[@]}" --no-deps --no-build-isolation --no-index --editable .
printf '%s\n' "$wanted" >"$stamp"
say "virtual environment: ready in $venv"
