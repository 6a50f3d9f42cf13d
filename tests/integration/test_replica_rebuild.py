"""Rebuilding, copying, waiting for and describing replicas, on a real log."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from connector.broker.embedded import EmbeddedBroker
from connector.errors import ForeignLog, ReplicaRefused, UsageError
from connector.model import Lane
from connector.replica import digests, export, open_reader, replay, status, wait
from connector.topics import partition_of
from tests.integration.test_replica_follow import (
    PARTITIONS,
    TOPICS,
    Log,
    Running,
    catch_up,
    configured,
    ids,
    rows,
)
from tests.unit.replica.events import at, delete, document, floor, hide, put, vector


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(EmbeddedBroker(tmp_path / "events.db"))


def digests_of(path: Path) -> dict[str, str]:
    connection = open_reader(path)
    try:
        return digests(connection)
    finally:
        connection.close()


def test_a_replay_gives_the_same_documents_in_a_new_generation(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path)
    log.publish(*(put(f"d{i % 4}", f"x{i}", at(i + 1)) for i in range(50)), delete("d1", "x1", at(100)))
    catch_up(settings, log)
    before = digests_of(settings.replica.path)
    reader = open_reader(settings.replica.path)
    log.publish(put("d1", "later", at(200)))
    done = replay(settings, log.broker, threading.Event())
    assert done.caught_up
    assert os.readlink(settings.replica.path) == "replica.g2.db"
    assert digests(reader) == before  # who had the old one open is undisturbed
    reader.close()
    after = digests_of(settings.replica.path)
    assert {k: v for k, v in after.items() if k != "d1"} == {k: v for k, v in before.items() if k != "d1"}
    assert ("d1", "later") in ids(settings)
    for _ in range(2):
        replay(settings, log.broker, threading.Event())
    assert sorted(p.name for p in tmp_path.glob("replica.g*.db")) == ["replica.g3.db", "replica.g4.db"]
    assert digests_of(settings.replica.path) == after
    assert catch_up(settings, log).records == 0


def test_a_replay_follows_what_the_configuration_says_now(tmp_path: Path, log: Log) -> None:
    log.publish(put("a", "x", at(1)), put("b", "y", at(2)))
    catch_up(configured(tmp_path, datasets=["a"]), log)
    replay(configured(tmp_path), log.broker, threading.Event())
    assert ids(configured(tmp_path)) == [("a", "x"), ("b", "y")]


def test_a_replay_that_is_stopped_or_fails_changes_nothing(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path)
    log.publish(put("a", "x", at(1)))
    catch_up(settings, log)
    stop = threading.Event()
    stop.set()
    assert not replay(settings, log.broker, stop).caught_up
    log.send((Lane(TOPICS.data, 0), b"k", b"no event"))
    with pytest.raises(Exception, match="offset"):
        replay(settings, log.broker, threading.Event())
    assert os.readlink(settings.replica.path) == "replica.g1.db"
    assert [p.name for p in tmp_path.glob("replica.g*.db")] == ["replica.g1.db"]
    assert ids(settings) == [("a", "x")]


def test_a_copy_serves_as_a_base_and_only_the_rest_is_read(tmp_path: Path, log: Log) -> None:
    settings, other = configured(tmp_path), configured(tmp_path, "other.db")
    log.publish(
        *(put("a", f"x{i}", at(i + 1)) for i in range(40)),
        delete("a", "x3", at(50)),
        floor("a", at(10, 0)),
        hide("a", "x20", at(60)),
    )
    catch_up(settings, log)
    export(settings.replica.path, tmp_path / "base.db")
    log.publish(put("a", "x3", at(45)), put("a", "new", at(70)))  # the first is stale: only the tombstone knows
    done = replay(other, log.broker, threading.Event(), base=tmp_path / "base.db")
    assert (done.records, done.applied.skipped) == (2, 1)
    catch_up(settings, log)
    assert digests_of(other.replica.path) == digests_of(settings.replica.path)
    with pytest.raises(ReplicaRefused, match="exists"):
        export(settings.replica.path, tmp_path / "base.db")


def test_a_base_that_stands_elsewhere_is_refused(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path)
    log.publish(*(put("a", f"x{i}", at(i + 1)) for i in range(10)))
    catch_up(settings, log)
    base = tmp_path / "base.db"
    export(settings.replica.path, base)
    lane = Lane(TOPICS.data, partition_of("a", PARTITIONS))
    with pytest.raises(ReplicaRefused, match=r"stands at offset 10 .* behind the offset 9"):
        replay(settings, log.broker, threading.Event(), base=base, from_offset={lane: 9})
    with pytest.raises(UsageError, match="needs a base"):
        replay(settings, log.broker, threading.Event(), from_offset=5)
    replay(settings, log.broker, threading.Event(), base=base, from_offset={lane: 10})
    foreign = Log(EmbeddedBroker(tmp_path / "other.db"))
    with pytest.raises(ForeignLog):
        replay(settings, foreign.broker, threading.Event(), base=base)
    (tmp_path / "junk").write_bytes(b"junk" * 1000)
    with pytest.raises(ReplicaRefused):
        replay(settings, log.broker, threading.Event(), base=tmp_path / "junk")


def test_a_copy_can_be_made_while_the_replica_is_written(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path, batch_records=7)
    running = Running(settings, log.broker)
    try:
        running.wait(lambda p: p.ready)
        for i in range(10):
            log.publish(*(put("a", f"x{i}-{j}", at(i * 100 + j + 1)) for j in range(30)))
            export(settings.replica.path, tmp_path / f"copy{i}.db")
        running.wait_for_records(300)
    finally:
        running.end()
    for i in range(10):
        other = configured(tmp_path, f"from{i}.db")
        replay(other, log.broker, threading.Event(), base=tmp_path / f"copy{i}.db")
        assert digests_of(other.replica.path) == digests_of(settings.replica.path)


def test_a_plain_file_in_place_of_the_link_is_followed_but_never_replaced(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path)
    log.publish(put("a", "x", at(1)))
    catch_up(settings, log)
    plain = configured(tmp_path, "plain.db")
    export(settings.replica.path, plain.replica.path)
    log.publish(put("a", "y", at(2)))
    catch_up(plain, log)
    assert ids(plain) == [("a", "x"), ("a", "y")]
    with pytest.raises(ReplicaRefused, match="not a link"):
        replay(plain, log.broker, threading.Event())


def test_status_says_how_things_stand(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path, datasets=["a", "b"])
    log.publish(
        put("a", "x", at(1), document("t", vector(1, 2), archived=True), scn=4),
        put("a", "bad", at(2), document("t", vector(0, 0)), scn=5),
        put("a", "none", at(3), document("t"), scn=6),
        put("b", "gone", at(4)),
        delete("b", "gone", at(5)),
        hide("b", "hidden", at(6)),
    )
    catch_up(settings, log)
    log.publish(put("a", "unread", at(7)))
    found = status(settings.replica.path, log.broker)
    assert (found.ready, found.alive, found.generation, found.follows) == (True, False, 1, ["a", "b"])
    assert (found.lag, found.gc_waiting, found.collected) == (1, 0, 1)
    assert sum(p.next_offset for p in found.partitions) == 7
    assert found.file_bytes > 0
    a, b = found.datasets
    assert (a.dataset_id, a.documents, a.archived, a.vectors_committed, a.vectors_failed) == ("a", 3, 1, 1, 1)
    assert (a.last_scn, a.tombstones, a.position) == (6, 0, "1:1:3:1")
    assert (b.documents, b.tombstones, b.hidden) == (0, 1, 1)
    assert found.as_json()["datasets"][0]["dataset_id"] == "a"
    assert status(settings.replica.path).lag is None
    with pytest.raises(ReplicaRefused, match="no replica"):
        status(tmp_path / "none.db")


def test_waiting_for_a_dataset_and_for_offsets(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path)
    path, never = settings.replica.path, threading.Event()
    assert not wait(path, never, timeout_s=0.05)
    log.publish(put("a", "x", at(1), scn=4))
    catch_up(settings, log)
    assert wait(path, never, timeout_s=0)
    assert wait(path, never, dataset_id="a", scn=4, timeout_s=0)
    assert not wait(path, never, dataset_id="a", scn=5, timeout_s=0.05)
    assert not wait(path, never, dataset_id="b", timeout_s=0.05)
    lane = Lane(TOPICS.data, partition_of("a", PARTITIONS))
    assert wait(path, never, offsets={lane: 1}, timeout_s=0)
    assert not wait(path, never, offsets={lane: 2}, timeout_s=0.05)
    running = Running(settings, log.broker)
    try:
        log.publish(put("a", "x", at(2), scn=5))
        assert wait(path, never, dataset_id="a", scn=5, offsets={lane: 2}, timeout_s=90)
        assert status(path).alive
    finally:
        running.end()
    assert rows(settings, "SELECT last_scn FROM vec_sync_state") == [(5,)]


def test_what_a_killed_replay_left_is_removed_by_the_next(tmp_path: Path, log: Log) -> None:
    settings = configured(tmp_path)
    log.publish(put("a", "x", at(1)))
    catch_up(settings, log)
    left = [tmp_path / "replica.g2.draft.db", tmp_path / "replica.g2.draft.db-wal"]
    for file in left:
        file.write_bytes(b"half of a file")
    assert catch_up(settings, log).records == 0
    replay(settings, log.broker, threading.Event())
    assert sorted(p.name for p in tmp_path.glob("replica.*")) == [
        "replica.db",
        "replica.db.lock",
        "replica.g1.db",
        "replica.g2.db",
    ]
    assert ids(settings) == [("a", "x")]
