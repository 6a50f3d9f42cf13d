"""Databases of tenants beside a first one, and a capture that follows all of them by patterns."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from tests.servers.model import SqlDatabase
from tests.system.schema import SHADOW, create_tables
from tests.system.several import INSERT, Several

DOCS = "shadow_vec_docs"
END_S = 120.0


def docs(table: str) -> str:
    return SHADOW.format(table=table, key="dataset_id, id")


def rows(table: str, text: str, count: int = 5) -> str:
    values = (f"('d','{n}','{text} {n}',NULL,X'0000803F','m',{n})" for n in range(count))
    return INSERT.format(table) + ",".join(values)


class Tenants:
    """Databases that are made beside the first one, whose names begin with its name."""

    def __init__(self, first: SqlDatabase) -> None:
        self.first = first
        self.made: list[SqlDatabase] = []

    def make(self, name: str) -> SqlDatabase:
        tenant = SqlDatabase(self.first.server, f"{self.first.name}_{name}")
        self.made.append(tenant)
        tenant.server.query(f"CREATE DATABASE `{tenant.name}` CHARACTER SET utf8mb4")
        create_tables(tenant)
        tenant.execute(f"INSERT INTO vec_dataset (dataset_id, description) VALUES ('d', '{name}')", rows(DOCS, name))
        return tenant


@contextmanager
def tenants_beside(first: SqlDatabase) -> Iterator[Tenants]:
    create_tables(first)
    first.execute("INSERT INTO vec_dataset (dataset_id, description) VALUES ('d', 'first')", rows(DOCS, "first"))
    found = Tenants(first)
    yield found
    for tenant in found.made:
        tenant.server.query(f"DROP DATABASE IF EXISTS `{tenant.name}`")


def capture_of(tenants: Tenants, directory: Path, **overrides: Any) -> Several:
    first = tenants.first
    return Several(first, directory, tables=[DOCS, "docs_*", f"{first.name}_t*.{DOCS}"], **overrides)


def until_current(capture: Several) -> None:
    deadline = time.monotonic() + END_S
    while not capture.is_current():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def running(capture: Several, **overrides: Any) -> Iterator[threading.Thread]:
    """Raises what the capture raised, at the end. The thread ends by itself only if it raises."""
    stop = Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            capture.capture(stop, until_current=False, **overrides)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(END_S)
        if failed:  # what the block waited for did not come because of it
            raise failed[0]
        assert not thread.is_alive(), "the capture does not stop"
