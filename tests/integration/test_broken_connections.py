"""Connections to the source that break anywhere, and networks that fall silent: no gap, no duplicate."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from connector.broker import Broker
from connector.broker.connect import open_broker
from connector.errors import Unreachable
from connector.model import DocChange, Lane
from connector.publish import Publisher, recorded_position
from connector.publish.log_state import read_to_end
from connector.settings import Settings
from connector.source import binlog_source
from connector.source.binlog_source import BinlogSource
from connector.topics import table_topics
from connector.wire import decode_value
from tests.servers.fix_proxy import Proxy, StartProxy, at_random
from tests.servers.model import SqlDatabase
from tests.system.schema import create_tables
from tests.system.settings import settings, source_section

ROWS = 400


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binlog_source, "SILENCE_S", 3)


def configured(database: SqlDatabase, proxy: Proxy, directory: Path) -> Settings:
    create_tables(database)
    database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    return settings(
        source=source_section(database, url=proxy.url(database), reconnect_max_s=120),
        broker={"kind": "embedded", "path": str(directory / "log.db")},
        topics={"partitions": 1},
        publish={"position_interval_s": 0.05},
    )


def published(broker: Broker, database: SqlDatabase) -> list[str]:
    lane = Lane(table_topics("vecsync", database.name, "shadow_vec_docs").data, 0)
    found = [decode_value(record.value or b"").change for record in read_to_end(broker, {lane: 0})]
    return [change.key.id for change in found if isinstance(change, DocChange)]


def put(database: SqlDatabase, first: int, last: int) -> None:
    connection = database.connect()
    with connection, connection.cursor() as cursor:
        for n in range(first, last):
            cursor.execute(
                "INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d', %s, %s)", (str(n), "x" * 2000)
            )


def test_cut_anywhere(sql_database: SqlDatabase, start_proxy: StartProxy, tmp_path: Path) -> None:
    """Handshakes and answers are shorter than a stretch of the log: some are cut too."""
    proxy = start_proxy(sql_database, at_random(1, 100, 90_000, 30))
    config = configured(sql_database, proxy, tmp_path)
    begin = BinlogSource(
        config.model_copy(update={"source": config.source.model_copy(update={"url": sql_database.url})})
    )
    broker = open_broker(config)
    Publisher(begin, broker, config, Event()).run(until_current=True)  # where it starts is not what is tried here
    begin.close()
    put(sql_database, 0, ROWS)
    source = BinlogSource(config)
    deadline = time.monotonic() + 200
    while True:  # what cannot even ask for the head raises: a supervisor starts it again
        assert time.monotonic() < deadline
        try:
            Publisher(source, broker, config, Event()).run(until_current=True)
            break
        except Unreachable as error:
            if not error.retriable:
                raise
    source.close()
    assert published(broker, sql_database) == [str(n) for n in range(ROWS)]
    assert proxy.cuts >= 3


def test_a_network_that_falls_silent(sql_database: SqlDatabase, start_proxy: StartProxy, tmp_path: Path) -> None:
    """Three heartbeats that did not come are the end of a connection."""
    proxy = start_proxy(sql_database)
    config = configured(sql_database, proxy, tmp_path)
    source, broker, stop = BinlogSource(config), open_broker(config), Event()
    failed: list[Any] = []

    def capture() -> None:
        try:
            Publisher(source, broker, config, stop).run()
        except BaseException as error:
            failed.append(error)

    running = threading.Thread(target=capture)
    running.start()
    try:
        deadline = time.monotonic() + 60
        while recorded_position(broker, "vecsync") is None:  # what comes before it begins is not published
            assert failed == []
            assert time.monotonic() < deadline
            time.sleep(0.1)
        put(sql_database, 0, 5)
        wait_for(broker, sql_database, 5)
        proxy.fall_silent()
        put(sql_database, 5, 10)
        wait_for(broker, sql_database, 10)
    finally:
        stop.set()
        running.join(60)
    assert not running.is_alive()
    assert failed == []
    source.close()
    assert published(broker, sql_database) == [str(n) for n in range(10)]


def wait_for(broker: Broker, database: SqlDatabase, count: int) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            if len(published(broker, database)) >= count:
                return
        except KeyError:
            pass  # no topic yet
        assert time.monotonic() < deadline
        time.sleep(0.1)
