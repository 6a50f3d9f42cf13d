"""Where a source database is: `source.url` taken apart. Pure; a url never holds a password (settings refuse it)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from connector.errors import ConfigurationError


class MysqlAddress(NamedTuple):
    user: str
    host: str
    port: int
    database: str


def mysql_address(url: str) -> MysqlAddress:
    """`mysql://user@host:port/database`; parts may be percent-encoded. Raises ConfigurationError."""
    hint = "Write it as mysql://user@host:3306/database."
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
    except ValueError as error:
        raise ConfigurationError(f"source.url {url!r} cannot be read: {error}", hint=hint) from error
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "mysql" or not parts.hostname or not parts.username or not database or "/" in database:
        raise ConfigurationError(f"source.url {url!r} does not name user, host and database", hint=hint)
    return MysqlAddress(unquote(parts.username), parts.hostname, port, database)


def sqlite_path(url: str) -> Path:
    """`sqlite:///relative.db` or `sqlite:////absolute.db`. Raises ConfigurationError."""
    name = unquote(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not name:
        raise ConfigurationError(
            f"source.url {url!r} names no file", hint="Write sqlite:///file.db, or sqlite:////absolute/file.db."
        )
    return Path(name)
