#!/bin/bash
# Stands in for the entry point of the official images of MySQL and MariaDB. Of their variables it knows, each also
# with _FILE: {MYSQL,MARIADB}_ROOT_PASSWORD, _ROOT_HOST, _DATABASE, _USER, _PASSWORD and _ALLOW_EMPTY_PASSWORD; of
# their directories, /docker-entrypoint-initdb.d (*.sql, *.sh) and /var/lib/mysql. A container may run as any user.
set -euo pipefail

server=mysqld client=mysql
if command -v mariadbd >/dev/null; then server=mariadbd client=mariadb; fi
[ "${1:-}" = mysqld ] && set -- "$server" "${@:2}"
[[ "${1:-}" == -* ]] && set -- "$server" "$@"
[ $# -gt 0 ] || set -- "$server"
[ "$1" = "$server" ] || exec "$@"

data=/var/lib/mysql
if [ "$(id -u)" = 0 ]; then
    chown mysql:mysql "$data"
    exec setpriv --reuid mysql --regid mysql --clear-groups -- "$0" "$@"
fi

value() { # NAME [DEFAULT]
    local name file
    for name in "MYSQL_$1" "MARIADB_$1"; do
        file="${name}_FILE"
        if [ -n "${!name:-}" ]; then printf '%s' "${!name}"; return; fi
        if [ -n "${!file:-}" ]; then cat "${!file}"; return; fi
    done
    printf '%s' "${2:-}"
}
quoted() { printf '%s' "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/''/g"; }

if [ ! -d "$data/mysql" ]; then
    root=$(value ROOT_PASSWORD) database=$(value DATABASE) user=$(value USER)
    if [ -z "$root" ] && [ -z "$(value ALLOW_EMPTY_PASSWORD)" ]; then
        echo "error: set ${server%d}_ROOT_PASSWORD" | tr a-z A-Z >&2
        exit 1
    fi
    echo "initializing the data directory"
    if [ "$server" = mariadbd ]; then
        mariadb-install-db --force --skip-name-resolve --skip-test-db --auth-root-authentication-method=normal >/dev/null
    else
        mysqld "${@:2}" --initialize-insecure
    fi
    # Reachable by its socket alone, so that nobody takes it for the server that is to come.
    "$@" --skip-networking &
    pid=$!
    until "$client" --user=root --execute 'SELECT 1' >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || { echo "error: the server ended while it was set up" >&2; exit 1; }
        sleep 0.1
    done
    host=$(quoted "$(value ROOT_HOST %)")
    {
        echo "SET @@SESSION.SQL_LOG_BIN = 0;"
        # MariaDB makes these, without a password; they would go before root@%.
        echo "DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1', 'root'@'$(hostname)';"
        echo "CREATE USER IF NOT EXISTS 'root'@'$host' IDENTIFIED BY '$(quoted "$root")';"
        echo "GRANT ALL ON *.* TO 'root'@'$host' WITH GRANT OPTION;"
        [ -z "$database" ] || echo "CREATE DATABASE IF NOT EXISTS \`$database\`;"
        if [ -n "$user" ]; then
            echo "CREATE USER '$(quoted "$user")'@'%' IDENTIFIED BY '$(quoted "$(value PASSWORD)")';"
            [ -z "$database" ] || echo "GRANT ALL ON \`$database\`.* TO '$(quoted "$user")'@'%';"
        fi
        echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$(quoted "$root")';"
    } | "$client" --user=root
    export MYSQL_PWD="$root"
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sql) echo "running $file"; "$client" --user=root ${database:+--database="$database"} <"$file" ;;
            *.sh) echo "running $file"; if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
        esac
    done
    "$client" --user=root --execute SHUTDOWN
    wait "$pid"
    unset MYSQL_PWD
fi
exec "$@"
