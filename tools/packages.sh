#!/usr/bin/env bash
# Installs the system packages that the test servers need and that are not on this machine yet (Debian or a
# relative of it, as root). It must never start a database service: MariaDB comes from the package that holds
# only the program, without a service, and should a dependency bring one, policy-rc.d keeps it from starting.
set -euo pipefail
. "$(dirname "$0")/cache.sh"
. "$(dirname "$0")/apt.sh"

# Debian keeps servers in sbin, which an ordinary user's PATH may lack.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

java_is_recent() {
    command -v java >/dev/null || return 1
    local major
    major=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.specification.version = //p')
    [ "${major%%.*}" -ge 17 ] 2>/dev/null
}

missing=()
want() { command -v "$1" >/dev/null || missing+=("$2"); }
want mariadbd mariadb-server-core
want mariadb-install-db mariadb-server-core
want mariadb-binlog mariadb-client
want kcat kcat
want debootstrap debootstrap
want gpgv gpgv
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
want strace strace
want sqlite3 sqlite3
want mvn maven
java_is_recent || missing+=(default-jre-headless)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -eq 0 ]; then
    say "system packages: all there"
    exit 0
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    fail "these are missing, and installing them takes root and apt. Install them by hand, then run make setup" \
        "again:
    apt-get install --no-install-recommends ${missing[*]}"
fi

say "system packages: installing ${missing[*]} (up to two minutes)"
apt_install "${missing[@]}"
