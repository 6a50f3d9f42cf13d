"""MariaDB and MySQL as processes of this machine.

A server listens on loopback only, reads no option file, keeps everything under one temporary directory, and
ends with its context. It never touches the system's own service or its data.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

from tests.servers.model import Options, SqlKind, SqlServer
from tests.servers.ports import HOST, claimed_ports
from tests.servers.process import ServerProcess, run_to_end
from tests.servers.programs import sql_programs

_USER, _PASSWORD = "admin", "vecsync-tests"

# Servers refuse to run as root unless told to, and anybody else may not name a user.
_AS_THIS_USER = ["--user=root"] if os.geteuid() == 0 else []

# What the connector asks of a source, so that a test names only what it wants otherwise.
_BINLOG: dict[str, str | int | None] = {
    "log_bin": "binlog",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "character_set_server": "utf8mb4",
    "max_allowed_packet": 64 << 20,
    # A killed process loses nothing that it has handed to the kernel. Only a power cut could tell these from the
    # defaults, and they spare two fsyncs per commit.
    "sync_binlog": 0,
    "innodb_flush_log_at_trx_commit": 2,
    "skip_name_resolve": "ON",
}
SQL_DEFAULTS: dict[SqlKind, dict[str, str | int | None]] = {
    "mariadb": _BINLOG | {"gtid_domain_id": 0, "gtid_strict_mode": "ON", "collation_server": "utf8mb4_unicode_ci"},
    "mysql": _BINLOG | {"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "mysqlx": "OFF"},
}


@contextmanager
def local_sql_server(kind: SqlKind, options: Options | None = None) -> Iterator[SqlServer]:
    """A new, empty server. Raises ServerUnavailable, ServerFailed."""
    programs = sql_programs(kind)
    # A Unix socket's path may have 107 bytes: the directory's name is kept short.
    with tempfile.TemporaryDirectory(prefix=f"vecsync-{kind}-") as name, claimed_ports(1) as (port,):
        directory = Path(name)
        (directory / "tmp").mkdir()
        _make_data_directory(kind, directory)
        settings: dict[str, str | int | None] = {
            "datadir": str(directory / "data"),
            "tmpdir": str(directory / "tmp"),
            "secure_file_priv": str(directory / "tmp"),
            "socket": str(directory / "socket"),
            "pid_file": str(directory / "pid"),
            "bind_address": HOST,
            "port": port,
            "server_id": port,
        }
        settings |= SQL_DEFAULTS[kind] | dict(options or {})
        process = ServerProcess(
            kind,
            [*programs.server, *_AS_THIS_USER, *as_arguments(settings)],
            directory,
            answers=lambda: _answers(port),
        )
        try:
            process.start()
            yield SqlServer(kind=kind, host=HOST, port=port, user=_USER, password=_PASSWORD, process=process)
        finally:
            # The data goes with the server, so there is nothing to shut down in an orderly way.
            process.kill()


def _make_data_directory(kind: SqlKind, directory: Path) -> None:
    programs = sql_programs(kind)
    users = directory / "users.sql"
    # Both programs run this file with the grant tables switched off; FLUSH switches them on.
    users.write_text(
        f"FLUSH PRIVILEGES;\nCREATE USER {_USER}@'%' IDENTIFIED BY '{_PASSWORD}';\n"
        f"GRANT ALL ON *.* TO {_USER}@'%' WITH GRANT OPTION;\n"
    )
    # Two of these at once take each other's temporary tables for old ones of their own in the common directory.
    data = [f"--datadir={directory}/data", f"--tmpdir={directory}/tmp"]
    if programs.install is not None:
        # --force: the machine's own name need not resolve.
        arguments = ["--force", "--skip-name-resolve", "--skip-test-db", f"--extra-file={users}"]
        command = [*programs.install, *_AS_THIS_USER, *data, "--auth-root-authentication-method=normal", *arguments]
    else:
        command = [*programs.server, *_AS_THIS_USER, *data, "--initialize-insecure", f"--init-file={users}"]
    run_to_end(f"making the data directory of {kind}", command, directory)


def as_arguments(settings: Options) -> list[str]:
    return [
        f"--{name.replace('_', '-')}" + ("" if value == "" else f"={value}")
        for name, value in settings.items()
        if value is not None
    ]


def _answers(port: int) -> bool:
    try:
        connection = pymysql.Connection(
            host=HOST,
            port=port,
            user=_USER,
            password=_PASSWORD,
            connect_timeout=5,
            read_timeout=5,
            ssl_disabled=True,
        )
    except pymysql.err.OperationalError:
        return False
    connection.close()
    return True
