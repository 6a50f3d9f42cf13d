"""QUERY events: the session state that rides with a statement. Pure. What the statement does: see `statements`."""

from __future__ import annotations

from typing import NamedTuple

from connector.errors import CorruptedLog
from connector.source.binlog.charsets import charset_name, text_decoder
from connector.source.binlog.compression import inflate_mariadb
from connector.source.binlog.integers import fixed, span

_NO_FOREIGN_KEY_CHECKS = 1 << 26
_ANSI_QUOTES, _NO_BACKSLASH_ESCAPES = 1 << 2, 1 << 20
_STRICT = 1 << 21 | 1 << 22  # STRICT_TRANS_TABLES, STRICT_ALL_TABLES


class Query(NamedTuple):
    db: str  # the default database
    sql: str
    no_foreign_key_checks: bool
    ansi_quotes: bool
    backslash_escapes: bool
    error_code: int  # with which the statement ended on its server; 0: well
    strict: bool = False  # a value that does not fit its column is an error, and is not made to fit


def parse_query(body: bytes, *, compressed: bool) -> Query:
    """Body of a QUERY or QUERY_COMPRESSED event, without header and checksum. Raises CorruptedLog."""
    db_size = fixed(body, 8, 1)
    error_code = fixed(body, 9, 2)
    status_size = fixed(body, 11, 2)
    status = span(body, 13, status_size)
    pos = 13 + status_size
    db = span(body, pos, db_size)
    pos += db_size + 1  # and a zero byte
    if pos > len(body):
        raise CorruptedLog("query event ends before its statement")
    text = inflate_mariadb(body, pos, len(body)) if compressed else body[pos:]
    options, sql_mode, collation = _session(status)
    return Query(
        db=db.decode("utf-8", "surrogateescape"),
        sql=_decode(text, collation),
        no_foreign_key_checks=bool(options & _NO_FOREIGN_KEY_CHECKS),
        ansi_quotes=bool(sql_mode & _ANSI_QUOTES),
        backslash_escapes=not sql_mode & _NO_BACKSLASH_ESCAPES,
        error_code=error_code,
        strict=bool(sql_mode & _STRICT),
    )


def _decode(text: bytes, collation: int) -> str:
    """Statements may hold literals that are no text at all, so names are what counts: those are always valid."""
    decode = text_decoder(charset_name(collation) or "") or bytes.decode
    try:
        return decode(text)
    except UnicodeDecodeError:
        return text.decode("utf-8", "surrogateescape")


# Status variables by code. Servers write them in ascending order of their introduction, so that a reader may stop at
# one that it does not know; those wanted here are among the oldest.
_OPTIONS, _SQL_MODE, _CATALOG, _CHARSET, _TIME_ZONE, _CATALOG_NZ, _CHARSET_COLLATIONS = 0, 1, 2, 4, 5, 6, 131
_SIZES = {_OPTIONS: 4, _SQL_MODE: 8, 3: 4, _CHARSET: 6, 7: 2, 8: 2, 9: 8, 10: 4}


def _session(status: bytes) -> tuple[int, int, int]:
    """(options, sql_mode, client collation)."""
    found: dict[int, bytes] = {}
    pos = 0
    while pos < len(status):
        code = status[pos]
        pos += 1
        if code in _SIZES:
            size = _SIZES[code]
        elif code in (_TIME_ZONE, _CATALOG_NZ):
            size = 1 + fixed(status, pos, 1)
        elif code == _CATALOG:
            size = 2 + fixed(status, pos, 1)
        elif code == _CHARSET_COLLATIONS:
            size = 1 + 4 * fixed(status, pos, 1)
        else:
            break
        found[code] = span(status, pos, size)
        pos += size
    options, sql_mode, charset = found.get(_OPTIONS, b""), found.get(_SQL_MODE, b""), found.get(_CHARSET, b"")
    return (
        int.from_bytes(options, "little"),
        int.from_bytes(sql_mode, "little"),
        int.from_bytes(charset[:2], "little"),
    )
