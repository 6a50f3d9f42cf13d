"""Another server of the same replication takes the source's place: followed where it has all that was published, and
refused where it has not."""

from __future__ import annotations

import secrets
from collections import Counter
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from connector.broker.connect import open_broker
from connector.errors import ForeignLog, PositionLost, UnsupportedChange
from connector.model import DocChange, Lane, PublishedPosition
from connector.publish import publish, recorded_position, request_snapshot, skip_transaction
from connector.publish.log_state import read_to_end
from connector.replica import run
from connector.settings import Settings
from connector.source.binlog_source import BinlogSource
from connector.topics import table_topics
from connector.wire import decode_position, decode_value, encode_position, position_key
from tests.servers.fix_replicas import ReplicaPair, purge, reset
from tests.servers.model import SqlDatabase, SqlServer
from tests.system.compare import (
    derived_structures_agree,
    differences,
    replica_datasets,
    replica_rows,
    source_datasets,
    source_rows,
)
from tests.system.schema import create_tables
from tests.system.settings import settings, source_section

INSERT = "INSERT INTO shadow_vec_docs (dataset_id, id, content, embedding, embedding_model, scn) VALUES "
PARTITIONS = 3


class Site:
    """A source that moves, an embedded log, a replica."""

    mode = "initial"

    def __init__(self, database: SqlDatabase, directory: Path) -> None:
        self.directory = directory
        self.at(database)
        self.broker = open_broker(self.settings)

    def at(self, database: SqlDatabase) -> None:
        """From now on the source is there."""
        self.database = database
        self.settings: Settings = settings(
            source=source_section(database, snapshot=self.mode, snapshot_chunk_rows=50),
            broker={"kind": "embedded", "path": str(self.directory / "log.db")},
            topics={"partitions": PARTITIONS},
            replica={"path": str(self.directory / "replica.db")},
        )

    def capture(self) -> None:
        source = BinlogSource(self.settings)
        try:
            publish(source, self.broker, self.settings, Event(), until_current=True)
        finally:
            source.close()

    def ask(self) -> None:
        source = BinlogSource(self.settings)
        try:
            request_snapshot(source, self.broker, self.settings)
        finally:
            source.close()

    def recorded(self) -> PublishedPosition:
        found = recorded_position(self.broker, self.settings.topics.prefix)
        assert found is not None
        return found

    def positions(self) -> list[PublishedPosition]:
        return [decode_position(r.value or b"") for r in read_to_end(self.broker, {Lane("vecsync.positions", 0): 0})]

    def rewind(self, to: PublishedPosition) -> None:
        """As if the publisher had died before it recorded anything after that."""
        producer = self.broker.producer(lambda _lane, _offset: None)
        producer.send(Lane("vecsync.positions", 0), position_key("vecsync"), encode_position(to))
        producer.flush(10)
        producer.close()

    def changes(self) -> list[DocChange]:
        """Every change of a document on the topic that was not read by a snapshot."""
        topic = table_topics("vecsync", self.database.name, "shadow_vec_docs").data
        lanes = {Lane(topic, p): 0 for p in range(PARTITIONS)}
        found = [decode_value(record.value or b"").change for record in read_to_end(self.broker, lanes)]
        return [change for change in found if isinstance(change, DocChange) and change.order.ordinal]

    def check(self, *, once: bool = True) -> None:
        """The replica is the source's present state, and every change stands once, as its GTID tells."""
        run(self.settings, self.broker, Event(), until_current=True)
        server, name = self.database.server, self.database.name
        replica = self.directory / "replica.db"
        assert differences(source_rows(server, name), replica_rows(replica)) == []
        assert replica_datasets(replica) == source_datasets(server, name)
        derived_structures_agree(replica)
        counts = Counter((change.source.gtid, change.order.ordinal) for change in self.changes())
        assert not once or [again for again, times in counts.items() if times > 1] == []


@pytest.fixture
def site(replica_pair: ReplicaPair, tmp_path: Path) -> Site:
    name = f"test_{secrets.token_hex(4)}"
    replica_pair.primary.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    database = SqlDatabase(replica_pair.primary, name)
    create_tables(database)
    database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('a'), ('b'), ('c'), ('d')")
    put(database, "before")
    found = Site(database, tmp_path)
    found.capture()
    return found


def put(database: SqlDatabase, *ids: str, content: str = "text") -> None:
    """In one transaction each: a document in four datasets."""
    database.execute(
        *(INSERT + ",".join(f"('{d}','{id}','{content}',X'0000803F','m',1)" for d in "abcd") for id in ids)
    )


def work(database: SqlDatabase) -> None:
    """Changes and deletions of what may stand in the log already."""
    database.execute(
        "UPDATE shadow_vec_docs SET content = CONCAT(content, ' again'), scn = scn + 1 WHERE id IN ('one', 'before')",
        "DELETE FROM shadow_vec_docs WHERE id = 'two' AND dataset_id IN ('a', 'b')",
        "UPDATE shadow_vec_docs SET id = 'moved' WHERE id = 'three' AND dataset_id = 'c'",
    )


def on(server: SqlServer, site: Site) -> SqlDatabase:
    return SqlDatabase(server, site.database.name)


def published(site: Site) -> list[tuple[Any, ...]]:
    return [(change.op, change.key, change.order) for change in site.changes()]


def test_a_promoted_replica_is_followed(replica_pair: ReplicaPair, site: Site) -> None:
    """With records beyond the recorded position, as a crash leaves them, and in order."""
    begin = site.recorded()
    replica_pair.replica.query("FLUSH BINARY LOGS")
    put(site.database, "one", "two", "three")
    site.capture()
    work(site.database)
    site.capture()
    stood = published(site)
    assert stood
    put(site.database, "four")  # committed, replicated, and not published yet
    site.rewind(begin)
    replica_pair.catch_up()
    replica_pair.promote()
    site.at(on(replica_pair.replica, site))
    put(site.database, "five")
    site.capture()
    recorded = site.recorded().source
    assert (recorded.epoch, recorded.bridge) == (begin.source.epoch + 1, "")
    assert recorded.identity != begin.source.identity
    assert set(stood) <= set(published(site))
    site.check()

    # Dead again before it recorded more than that it is with another server now.
    claim = next(position for position in site.positions() if position.source.epoch == recorded.epoch)
    work(site.database)
    site.capture()
    site.rewind(claim)
    site.capture()
    site.check()

    # And back, once the old one follows.
    swapped = replica_pair.swapped()
    swapped.catch_up()
    swapped.promote()
    site.at(on(swapped.replica, site))
    put(site.database, "six")
    site.capture()
    assert site.recorded().source.epoch == begin.source.epoch + 2
    site.check()

    # The same server after a restart is the same.
    put(site.database, "seven")
    site.database.server.restart()
    put(site.database, "eight")
    site.capture()
    assert site.recorded().source.epoch == begin.source.epoch + 2
    site.check()


def test_a_replica_that_lacks_what_was_published_is_refused(replica_pair: ReplicaPair, site: Site) -> None:
    """With records beyond the recorded position, as a crash leaves them, and in order."""
    begin = site.recorded()
    put(site.database, "one")
    replica_pair.catch_up()
    replica_pair.detach()
    put(site.database, "lost")
    site.capture()
    lost = max(site.changes(), key=lambda change: change.order).source.gtid
    assert lost is not None
    ended, stood = site.recorded(), published(site)
    replica_pair.promote()
    site.at(on(replica_pair.replica, site))
    for n, before in enumerate((ended, begin, begin)):
        site.rewind(before)
        with pytest.raises(ForeignLog, match=lost) as refused:
            site.capture()
        assert "capture snapshot" in refused.value.hint
        assert site.recorded() == before
        assert published(site) == stood
        put(site.database, f"new{n}")  # MariaDB: under the numbers of those that were lost
    site.ask()
    site.capture()
    run(site.settings, site.broker, Event(), until_current=True)
    rows = replica_rows(site.directory / "replica.db")
    assert differences(source_rows(site.database.server, site.database.name), rows) == []


def test_a_snapshot_when_needed(replica_pair: ReplicaPair, site: Site) -> None:
    """What only the lost server had goes, and so does what was deleted while nobody could see it."""
    put(site.database, "one", "two")
    site.capture()
    replica_pair.catch_up()
    replica_pair.detach()
    put(site.database, "lost")
    site.capture()
    replica_pair.promote()
    site.at(on(replica_pair.replica, site))
    begins_again_when_needed(site, "it lacks what was published")

    put(site.database, "three")
    purge(site.database.server)
    begins_again_when_needed(site, "it was purged")

    put(site.database, "never seen")
    reset(site.database.server)
    begins_again_when_needed(site, "it was reset", once=False)  # the same GTIDs are given again


def begins_again_when_needed(site: Site, why: str, *, once: bool = True) -> None:
    """And not before."""
    work(site.database)
    put(site.database, f"before: {why}")
    before, stood = site.recorded().source, published(site)
    site.mode = "initial"
    site.at(site.database)
    with pytest.raises((ForeignLog, PositionLost)):
        site.capture()
    assert published(site) == stood
    site.mode = "when_needed"
    site.at(site.database)
    site.capture()
    put(site.database, f"after: {why}")
    site.capture()
    assert site.recorded().source.epoch == before.epoch + 1
    site.check(once=once)


def test_a_new_primary_that_purged_what_comes_next(replica_pair: ReplicaPair, site: Site) -> None:
    put(site.database, "never published")
    replica_pair.catch_up()
    replica_pair.promote()
    site.at(on(replica_pair.replica, site))
    purge(replica_pair.replica)
    before = site.recorded()
    with pytest.raises(PositionLost):
        site.capture()
    assert site.recorded() == before


def test_a_snapshot_that_was_not_done(replica_pair: ReplicaPair, site: Site) -> None:
    """It begins again there; what stands beyond the position goes with the floor that ends it, and is read again."""
    begin = site.positions()[0]
    assert not begin.source.snapshot_done
    site.database.execute("INSERT INTO vec_dataset (dataset_id, description) VALUES ('e', 'also this one')")
    put(site.database, "one", "two")
    site.capture()
    work(site.database)
    site.capture()
    site.rewind(begin)
    replica_pair.catch_up()
    replica_pair.promote()
    site.at(on(replica_pair.replica, site))
    put(site.database, "three")
    site.capture()
    site.check()
    claim = next(position for position in site.positions() if position.source.epoch == begin.source.epoch + 1)
    work(site.database)
    site.capture()
    site.rewind(claim)
    site.capture()
    site.check()


def test_what_was_left_out_stays_out_on_another_server(replica_pair: ReplicaPair, site: Site) -> None:
    """Not even its statement is looked at, where it was the last that was dealt with and where it was not."""
    pair = replica_pair
    site.database.execute(
        "CREATE TABLE elsewhere (id INT)", "SET SESSION binlog_format = 'STATEMENT'", "INSERT INTO elsewhere VALUES (1)"
    )
    with pytest.raises(UnsupportedChange, match=r"\(transaction .*\)") as refused:
        site.capture()
    gtid = str(refused.value).rsplit("(transaction ", 1)[1].rstrip(")")
    source = BinlogSource(site.settings)
    skip_transaction(source, site.broker, site.settings, gtid, dry_run=False)
    source.close()
    for n in range(2):
        site.capture()
        site.check()
        pair.catch_up()
        pair.promote()
        site.at(on(pair.replica, site))
        put(site.database, f"there{n}")
        site.capture()
        site.check()
        assert site.recorded().source.bridge == ""
        pair = pair.swapped()
