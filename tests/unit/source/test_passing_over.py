"""Transactions that were dealt with, in any order of shapes and from any border on: passed over unlooked at, they leave
the rest as it would be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import ConnectionLost, CorruptedLog, UnsupportedChange
from connector.model import SourceIdentity, SourcePosition
from connector.settings import Mapping as ColumnNames
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.events import EventType
from connector.source.binlog_following import Following
from connector.source.binlog_stream import BinlogStream
from tests.system.kept_events import Kept, look_into_all
from tests.unit.binlog.test_binlog_decoder import inner, payload
from tests.unit.binlog.writer import Column, Log, Table, image, packed_text, query_body, rows_body

FILE = "b.000001"
UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"
TEXT = 15
DATASETS = Table(
    [Column(TEXT, (764).to_bytes(2, "little"), collation=45, name="dataset_id")], name="vec_dataset", table_id=9
)
SHAPES = ("rows", "savepoint", "statement", "prepare", "commit", "rollback", "once", "payload", "died", "rotate")


class Written(NamedTuple):
    connector: str
    events: Sequence[bytes]
    transactions: int


def dataset(name: str) -> bytes:
    return rows_body(1, image([True], [packed_text(name).ljust(1, b"\0")[:1] + b"\0" + name.encode()]), table_id=9)


def written(connector: str, shapes: Sequence[str], *, poison: Iterable[int] = ()) -> Written:
    """A transaction of each shape; the poisoned ones hold what cannot be followed."""
    log = Log()
    mysql = connector == "mysql"
    version, files = "9.7.0" if mysql else "10.11.19-MariaDB-log", 1
    events = [log.rotate(FILE), log.format(version, created=1)]
    prepared: list[bytes] = []
    number = 0

    def begin(flags: int = 0, xid: bytes = b"") -> None:
        nonlocal number
        number += 1
        rest = (1).to_bytes(4, "little") + bytes([len(xid), 0]) + xid if xid else b""
        events.append(log.gtid(number) if mysql else log.mariadb_gtid(number, flags, rest))

    def rows() -> Iterator[bytes]:
        yield log.table_map(DATASETS)
        yield log.rows(EventType.WRITE_ROWS, dataset(f"{number}"))

    def quoted(xid: bytes) -> str:
        return f"X'{xid.hex()}',X'',1"

    for at, shape in enumerate(shapes):
        if at in poison:
            begin()
            events += [log.query("BEGIN"), log.query("INSERT INTO vec_dataset VALUES (1)"), *rows(), log.xid()]
        elif shape == "statement":
            begin(flags=1)
            events.append(log.query(("TRUNCATE TABLE docs", "CREATE TABLE x (n INT)")[at % 2]))
        elif shape == "prepare":
            xid = f"x{at}".encode()
            prepared.append(xid)
            begin(64, xid)
            events += [log.query(f"XA START {quoted(xid)}"), *rows(), log.query(f"XA END {quoted(xid)}")]
            events.append(log.xa_prepare(xid))
        elif shape in ("commit", "rollback") and prepared:
            xid = prepared.pop(0)
            begin(1 | 128, xid)
            events.append(log.query(f"XA {shape.upper()} {quoted(xid)}"))
        elif shape == "once":
            begin()
            events += [log.query(f"XA START {quoted(b'o')}"), *rows(), log.query(f"XA END {quoted(b'o')}")]
            events.append(log.xa_prepare(b"o", one_phase=True))
        elif shape == "payload" and mysql:
            begin()
            held = [
                inner(EventType.QUERY, query_body("BEGIN")),
                inner(EventType.TABLE_MAP, DATASETS.body()),
                inner(EventType.WRITE_ROWS, dataset(f"{number}")),
                inner(EventType.XID, bytes(8)),
            ]
            events.append(log.event(EventType.TRANSACTION_PAYLOAD, payload(held)))
        elif shape in ("died", "rotate"):
            begin()
            events += [log.query("BEGIN"), *rows(), *([] if shape == "died" else [log.xid()])]
            files += 1
            events.append(log.rotate(f"b.{files:06}"))
            log.position = 4
            # One that was begun when the server started says so, and takes back what was left open.
            events.append(log.format(version, created=files if shape == "died" else 0))
        else:
            begin()
            events.append(log.query("BEGIN"))
            events += rows()
            if shape == "savepoint":
                events += [log.query("SAVEPOINT `s`"), *rows(), log.query("ROLLBACK TO `s`")]
            events.append(log.xid() if at % 3 else log.query("COMMIT"))
    return Written(connector, events, number)


def read(log: Written, border: int, *, look: bool) -> list[Any]:
    """Each transaction, or the error; the position after each event. look: also into what was dealt with."""
    done = "" if not border else (f"{UUID}:1-{border}" if log.connector == "mysql" else f"3-7-{border}")
    at = SourcePosition(SourceIdentity(log.connector, None), 1, done or None, FILE, 4, snapshot_done=True, bridge=done)
    following = Following("app", {"docs": True}, ColumnNames())
    decoder = Decoder(following, FILE, 4)
    stream = BinlogStream(Kept(log.events), decoder, following, at, connector=log.connector, name="t")
    if look:
        look_into_all(decoder)
    found: list[Any] = []
    try:
        while True:
            transaction = stream.next(0)
            if transaction is not None:
                found.append((transaction.id, list(transaction.changes), transaction.after, transaction.xa))
            found.append(stream.position())
    except UnsupportedChange as error:
        found.append(str(error))
    except ConnectionLost:
        pass
    finally:
        stream.close()
    return found


@pytest.mark.parametrize("connector", ["mysql", "mariadb"])
@given(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=12), st.data())
@settings(deadline=None)
def test_from_any_border_on(connector: str, shapes: list[str], data: st.DataObject) -> None:
    log = written(connector, shapes)
    border = data.draw(st.integers(0, log.transactions))
    assert read(log, border, look=False) == read(log, border, look=True)


@pytest.mark.parametrize("connector", ["mysql", "mariadb"])
def test_changes_come_at_all(connector: str) -> None:
    log = written(connector, SHAPES)
    assert sum(isinstance(item, tuple) for item in read(log, 0, look=False)) >= 6
    assert sum(isinstance(item, tuple) for item in read(log, 4, look=False)) >= 3  # the XA commit among them


@pytest.mark.parametrize("connector", ["mysql", "mariadb"])
@pytest.mark.parametrize("poisoned", range(4))
def test_what_cannot_be_followed_stops_only_who_did_not_deal_with_it(connector: str, poisoned: int) -> None:
    log = written(connector, ["rows", "prepare", "rows", "rows", "commit"], poison=[poisoned])
    for border in range(log.transactions + 1):
        assert any(isinstance(item, str) for item in read(log, border, look=False)) == (border <= poisoned)
        assert any(isinstance(item, str) for item in read(log, border, look=True))


def test_a_transaction_that_turns_out_to_be_prepared_is_refused() -> None:
    """MariaDB's GTID event tells; if it did not, rows that count later would be lost."""
    log = Log()
    events = [log.rotate(FILE), log.format("10.11.19-MariaDB-log", created=1), log.mariadb_gtid(1)]
    events += [log.query("XA START X'78',X'',1"), log.query("XA END X'78',X'',1"), log.xa_prepare(b"x")]
    with pytest.raises(CorruptedLog, match="whose beginning said"):
        read(Written("mariadb", events, 1), 1, look=False)
