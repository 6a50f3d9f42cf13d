"""What a statement in the log does, as far as rows are concerned, and to which tables. Pure.

Rows themselves come as rows events; statements matter because some change or remove rows without any (TRUNCATE, DROP,
RENAME, partition operations), because some delimit transactions, and because data changes that were logged as
statements cannot be followed at all. A statement that begins with an unknown word is UNKNOWN, never harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from connector.errors import CorruptedLog
from connector.model import TableName
from connector.source.binlog.alterations import ColumnChange, alterations, cascades_from
from connector.source.binlog.heads import Xid
from connector.source.binlog.lexer import Token, tokens
from connector.source.binlog.query import Query


class StatementKind(Enum):
    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    SAVEPOINT = auto()
    ROLLBACK_TO = auto()
    XA_START = auto()
    XA_END = auto()
    XA_PREPARE = auto()
    XA_COMMIT = auto()
    XA_ROLLBACK = auto()
    TRUNCATE = auto()
    DROP_TABLE = auto()
    DROP_DATABASE = auto()
    RENAME = auto()
    ALTER = auto()
    CREATE = auto()
    DATA = auto()  # rows changed by a statement that was logged as text
    OTHER = auto()  # touches no row of a table: accounts, routines, views, indexes, maintenance
    UNKNOWN = auto()


class Statement(NamedTuple):
    """What was found out.

    tables        that it names as its objects; for RENAME the old names; for DATA the target, if that is certain
    renamed_to    RENAME, and ALTER ... RENAME: the new name of each of `tables`
    removes_rows  ALTER: of a partition or a tablespace, or IGNORE; CREATE: OR REPLACE
    columns       ALTER: those whose values may be others afterwards
    converts      ALTER: all text, to another character set
    relates       ALTER: foreign keys change
    cascades_from CREATE: tables whose rows take rows of this one with them
    db            DROP_DATABASE: which
    name          of a savepoint
    """

    kind: StatementKind
    tables: tuple[TableName, ...] = ()
    renamed_to: tuple[TableName, ...] = ()
    removes_rows: bool = False
    db: str = ""
    name: str = ""
    xid: Xid | None = None
    columns: tuple[ColumnChange, ...] = ()
    converts: bool = False
    relates: bool = False
    cascades_from: tuple[str, ...] = ()


_K = StatementKind
_BEGIN, _COMMIT, _OTHER = Statement(_K.BEGIN), Statement(_K.COMMIT), Statement(_K.OTHER)
_CONTROL = {"BEGIN": _BEGIN, "COMMIT": _COMMIT}
_DATA_WORDS = frozenset(
    "INSERT REPLACE UPDATE DELETE LOAD WITH SELECT CALL DO VALUES TABLE HANDLER EXECUTE MERGE IMPORT".split()
)
_HARMLESS_WORDS = frozenset(
    "GRANT REVOKE FLUSH ANALYZE OPTIMIZE REPAIR CHECK CHECKSUM SET INSTALL UNINSTALL CACHE PURGE RESET KILL USE "
    "SHOW CHANGE LOCK UNLOCK RELEASE SIGNAL STOP".split()
)


def classify(query: Query) -> Statement:
    """Raises CorruptedLog for a statement that stops before naming its object."""
    known = _CONTROL.get(query.sql)
    if known is not None:
        return known
    found = tokens(query.sql, ansi_quotes=query.ansi_quotes, backslash_escapes=query.backslash_escapes)
    parser = _Parser(found, query.db)
    try:
        return parser.statement()
    except _Incomplete:
        text = query.sql if len(query.sql) <= 200 else query.sql[:200] + "..."
        raise CorruptedLog(f"statement in the log is not complete: {text}") from None


class _Incomplete(Exception):
    """The statement ended where something had to follow. Never leaves this module."""


class _Parser:
    """One token ahead of a statement. `_take` past the end raises _Incomplete."""

    def __init__(self, found: Iterator[Token], db: str) -> None:
        self._found = found
        self._db = db
        self._ahead: Token | None = next(found, None)

    def statement(self) -> Statement:
        if self._ahead is None:
            return _OTHER  # comments only: nothing is executed
        first = self._take()
        word = first.value.upper() if first.kind == "word" else ""
        special = getattr(self, f"_{word.lower()}", None) if word in _PARSED else None
        if special is not None:
            result: Statement = special()
            return result
        if word in _DATA_WORDS or first == Token("sign", "("):
            return Statement(_K.DATA, self._data_target(word))
        return _OTHER if word in _HARMLESS_WORDS else Statement(_K.UNKNOWN)

    def _take(self) -> Token:
        token = self._ahead
        if token is None:
            raise _Incomplete
        self._ahead = next(self._found, None)
        return token

    def _accept(self, *words: str) -> bool:
        """Passes over the next token if it is one of these keywords."""
        if self._ahead is None or not self._ahead.is_word(*words):
            return False
        self._take()
        return True

    def _rest(self) -> Iterator[Token]:
        while self._ahead is not None:
            yield self._take()

    def _sign(self, sign: str) -> bool:
        if self._ahead != Token("sign", sign):
            return False
        self._take()
        return True

    def _table(self) -> TableName:
        first = self._take().value
        return TableName(first, self._take().value) if self._sign(".") else TableName(self._db, first)

    def _if_exists(self) -> None:
        if self._accept("IF"):
            self._accept("NOT")
            self._accept("EXISTS")

    def _wait(self) -> None:
        """MariaDB: WAIT seconds, or NOWAIT."""
        if self._accept("WAIT"):
            self._take()
        self._accept("NOWAIT")

    # Transactions

    def _begin(self) -> Statement:
        return _BEGIN

    def _start(self) -> Statement:
        return _BEGIN if self._accept("TRANSACTION") else _OTHER

    def _commit(self) -> Statement:
        return _COMMIT

    def _rollback(self) -> Statement:
        self._accept("WORK")
        if not self._accept("TO"):
            return Statement(_K.ROLLBACK)
        self._accept("SAVEPOINT")
        return Statement(_K.ROLLBACK_TO, name=self._take().value)

    def _savepoint(self) -> Statement:
        return Statement(_K.SAVEPOINT, name=self._take().value)

    def _xa(self) -> Statement:
        verb = self._take().value.upper()
        kind = {
            "START": _K.XA_START,
            "BEGIN": _K.XA_START,
            "END": _K.XA_END,
            "PREPARE": _K.XA_PREPARE,
            "COMMIT": _K.XA_COMMIT,
            "ROLLBACK": _K.XA_ROLLBACK,
        }.get(verb)
        if kind is None:
            return Statement(_K.UNKNOWN)
        gtrid = _octets(self._take())
        bqual, format_id = b"", 1
        if self._sign(","):
            bqual = _octets(self._take())
            if self._sign(","):
                number = self._take().value
                if not (number.isascii() and number.isdecimal()):
                    return Statement(_K.UNKNOWN)
                format_id = int(number)
        return Statement(kind, xid=Xid(gtrid, bqual, format_id))

    # Definitions

    def _truncate(self) -> Statement:
        self._accept("TABLE")
        return Statement(_K.TRUNCATE, (self._table(),))

    def _drop(self) -> Statement:
        if self._accept("TEMPORARY"):
            return _OTHER
        if self._accept("DATABASE", "SCHEMA"):
            self._if_exists()
            return Statement(_K.DROP_DATABASE, db=self._take().value)
        if not self._accept("TABLE", "TABLES"):
            return _OTHER
        self._if_exists()
        tables = [self._table()]
        while self._sign(","):
            tables.append(self._table())
        return Statement(_K.DROP_TABLE, tuple(tables))

    def _rename(self) -> Statement:
        if not self._accept("TABLE", "TABLES"):
            return _OTHER
        self._if_exists()
        old: list[TableName] = []
        new: list[TableName] = []
        while True:
            old.append(self._table())
            self._wait()
            if not self._accept("TO"):
                return Statement(_K.UNKNOWN)
            new.append(self._table())
            if not self._sign(","):
                return Statement(_K.RENAME, tuple(old), tuple(new))

    def _create(self) -> Statement:
        replace = False
        if self._accept("OR"):
            self._accept("REPLACE")
            replace = True
        if self._accept("TEMPORARY"):
            return _OTHER
        if self._accept("DATABASE", "SCHEMA"):
            self._if_exists()
            return Statement(_K.DROP_DATABASE, db=self._take().value) if replace else _OTHER
        if not self._accept("TABLE"):
            return _OTHER
        self._if_exists()
        table = self._table()
        # A server that logs rows writes CREATE ... SELECT as CREATE and rows: a SELECT here was not taken apart.
        rest: list[Token] = []
        for token in self._rest():
            following = self._ahead or Token("sign", "")
            if (
                token.is_word("SELECT")
                or (token.is_word("VALUES") and not following.is_word("LESS", "IN"))
                or (token.is_word("AS") and following.is_word("TABLE"))
            ):
                return Statement(_K.DATA, (table,))
            rest.append(token)
        return Statement(_K.CREATE, (table,), removes_rows=replace, cascades_from=cascades_from(rest))

    def _alter(self) -> Statement:
        self._accept("ONLINE")
        ignore = self._accept("IGNORE")  # rows that are twice by a new key are left out
        if not self._accept("TABLE"):
            return _OTHER
        self._if_exists()
        table = self._table()
        self._wait()
        found = alterations(list(self._rest()))
        others = [TableName(db or self._db, name) for db, name in found.others]
        renamed_to = tuple(TableName(db or self._db, name) for db, name in found.renamed_to)
        return Statement(
            _K.ALTER,
            (table, *others),
            renamed_to,
            removes_rows=ignore or found.moves_rows,
            columns=found.columns,
            converts=found.converts,
            relates=found.relates,
        )

    def _set(self) -> Statement:
        """MariaDB: SET STATEMENT variable = value FOR statement."""
        if self._accept("STATEMENT"):
            for token in self._rest():
                if token.is_word("FOR"):
                    return self.statement()
        return _OTHER

    # Data

    def _data_target(self, verb: str) -> tuple[TableName, ...]:
        """The one table that the statement writes to, where its beginning leaves no doubt."""
        while self._accept("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "QUICK", "IGNORE"):
            pass
        if verb in ("INSERT", "REPLACE"):
            self._accept("INTO")
            return (self._table(),)
        if verb == "UPDATE" or (verb == "DELETE" and self._accept("FROM")):
            table = self._table()
            if self._ahead is None or self._ahead.is_word("SET", "WHERE", "ORDER", "LIMIT"):
                return (table,)
        return ()


_PARSED = frozenset("BEGIN START COMMIT ROLLBACK SAVEPOINT XA TRUNCATE DROP RENAME CREATE ALTER SET".split())


def _octets(token: Token) -> bytes:
    if token.kind == "hex":
        try:
            return bytes.fromhex(token.value)
        except ValueError:
            raise CorruptedLog(f"XA transaction is named by {token.value!r}, which is not hexadecimal") from None
    return token.value.encode("utf-8", "surrogateescape")
