"""Passing over what was dealt with on another server, or before a position set by GTIDs: unlooked at, and beside it
looking into it first, as was done before.

    python -m tests.bench.bench_bridge [rows] [mariadb|mysql]

One file of the log holds all rows, and everything in it was dealt with. Each way is run three times in turn, the raw
drain of the same bytes first.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from connector.model import SourcePosition
from connector.settings import Settings
from connector.source.binlog.connection import peek_from_position
from connector.source.binlog.items import TransactionBegin
from connector.source.binlog_source import BinlogSource
from connector.source.binlog_stream import BinlogStream
from connector.upstream.mysql import open_connection
from tests.bench.load import insert, prepare, yardstick
from tests.servers.local import LocalProvider
from tests.servers.model import SqlDatabase

RUNS = 3
TRANSACTIONS = (1, 500, 100_000)


def drain(config: Settings, begin: SourcePosition) -> None:
    reader = peek_from_position(open_connection(config.source), file=begin.file, position=4, patience_s=30)
    while not reader.ended:
        try:
            reader.read_event(1.0)
        except Exception:
            assert reader.ended
    reader.close()


def bridge(config: Settings, begin: SourcePosition) -> None:
    source = BinlogSource(config)
    head = source.head()
    assert head.gtid_set is not None
    after = source.place(head.gtid_set)
    assert (after.file, after.bridge != "") == (begin.file, True)
    stream = source.stream(replace(after, snapshot_done=True))
    while not stream.reached(head):
        assert stream.next(0.1) is None
    assert stream.position().bridge == ""
    stream.close()
    source.close()


def looking(config: Settings, begin: SourcePosition) -> None:
    asked = BinlogStream._known

    def not_said(self: BinlogStream, begin: TransactionBegin) -> bool:
        asked(self, begin)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BinlogStream, "_known", not_said)
        bridge(config, begin)


def settings(database: SqlDatabase) -> Settings:
    section = {"url": database.url, "password": database.server.password, "snapshot": "no_data", "plaintext": True}
    return Settings.model_validate({"source": section})


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    kind = sys.argv[2] if len(sys.argv) > 2 else "mysql"
    ways: dict[str, Callable[[Settings, SourcePosition], None]] = {
        "raw drain": drain,
        "looked into": looking,
        "passed over": bridge,
    }
    with LocalProvider().sql(kind) as server:  # type: ignore[arg-type]
        print(f"{kind}, {rows:,} rows of about 2.1 KB (384-d) that were dealt with, {RUNS} runs each")
        for size in TRANSACTIONS:
            database = prepare(server, f"bench{size}")
            server.query("FLUSH BINARY LOGS")
            config = settings(database)
            source = BinlogSource(config)
            begin = source.start(1)
            source.close()
            insert(database, rows if size > 1 else rows // 10, transaction=size)  # one at a time takes long
            count = rows if size > 1 else rows // 10
            rates: dict[str, list[float]] = {name: [] for name in ways}
            spent: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(RUNS):
                for name, way in ways.items():
                    began, used = time.perf_counter(), time.process_time()
                    way(config, begin)
                    rates[name].append(count / (time.perf_counter() - began))
                    spent[name].append((time.process_time() - used) / count * 1e6)
            for name, found in rates.items():
                shown = ", ".join(f"{rate:,.0f}" for rate in found)
                print(
                    f"{size:>7,} a transaction  {name:12} {statistics.median(found):>10,.0f} rows/s"
                    f" {statistics.median(spent[name]):>6.1f} us of CPU a row   ({shown})"
                )
    print(yardstick())


if __name__ == "__main__":
    main()
