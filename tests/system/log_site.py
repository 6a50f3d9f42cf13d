"""A capture from the shadow log of a test's database, by an account that may only SELECT."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from connector.broker.connect import open_broker
from connector.errors import VecsyncError
from connector.model import SourcePosition
from connector.publish.log_state import recorded_position
from connector.settings import SourceSettings, load
from connector.upstream.install import install
from tests.servers.model import SqlDatabase
from tests.system.compare import (
    derived_structures_agree,
    differences,
    replica_datasets,
    replica_rows,
    source_datasets,
    source_rows,
)
from tests.system.schema import create_tables
from tests.system.site import Sections, Site, SiteHere, embedded_log
from tests.system.workload import Session


class Untruncated(Session):
    def truncate(self) -> None:
        """Fires no trigger: what it takes is not seen."""


def admin(database: SqlDatabase, **more: Any) -> SourceSettings:
    return SourceSettings.model_validate(
        {"kind": "mysql", "url": database.url, "password": database.server.password, **more}
    )


@contextmanager
def reading_account(database: SqlDatabase) -> Iterator[str]:
    """An account that may read the three tables and nothing else; the tables and triggers are made."""
    server, name = database.server, database.name
    create_tables(database)
    install(admin(database))
    server.query(f"CREATE USER {name}@'%' IDENTIFIED BY 'reader-secret'")
    for table in ("shadow_vec_docs", "vec_dataset", "vec_shadow_log"):
        server.query(f"GRANT SELECT ON {name}.{table} TO {name}@'%'")
    yield name
    server.query(f"DROP USER {name}@'%'")


def site_of(directory: Path, database: SqlDatabase, user: str, log: Sections | None = None, **source: Any) -> SiteHere:
    server = database.server
    url = f"mysql://{user}@{server.host}:{server.port}/{database.name}"
    section = {"kind": "mysql", "url": url, "reader": "shadow_log", "snapshot_chunk_rows": 50, **source}
    return SiteHere(directory, {"source": section, **(log or embedded_log(directory))}, "reader-secret")


def until(holds: Callable[[SourcePosition], Any], site: Site) -> None:
    """Waits for a recorded position."""
    settings, deadline = load(site.config), time.monotonic() + 120
    while True:
        with suppress(VecsyncError):
            found = recorded_position(open_broker(settings), settings.topics.prefix)
            if found is not None and holds(found.source):
                return
        assert time.monotonic() < deadline, "capture does not get there"
        time.sleep(0.1)


def agrees(site: Site, database: SqlDatabase) -> None:
    expected = source_rows(database.server, database.name)
    assert differences(expected, replica_rows(site.replica)) == []
    assert replica_datasets(site.replica) == source_datasets(database.server, database.name)
    derived_structures_agree(site.replica)
