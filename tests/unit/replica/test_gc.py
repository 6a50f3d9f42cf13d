"""The collector: when an entry runs, what it leaves alone, what is erased, and what space comes back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.model import FloorReason
from connector.replica.connection import file_bytes, open_reader
from connector.replica.gc import Collector
from tests.unit.replica.events import Replica, at, delete, document, floor, put, tombstone, vector


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    made = Replica(tmp_path / "r.db")
    yield made
    made.check()
    made.close()


@pytest.fixture
def collector(replica: Replica) -> Collector:
    return Collector(replica.connection, replica.path, replica.applier)


def uncollected(replica: Replica) -> list[str]:
    return [row[0] for row in replica.rows("SELECT id FROM replica_tombstone WHERE collected = 0")]


def test_an_entry_waits_for_the_deletion_it_belongs_to(replica: Replica, collector: Collector) -> None:
    replica.apply(put("a", "x", at(1)))
    replica.queue(tombstone("a", "x", at(2)), tombstone("never seen", "y", at(2)))
    for _ in range(3):
        assert collector.round().collected == 0
    assert collector.waiting() == 2
    assert replica.contents() == {"a.x": "x 1"}
    replica.apply(delete("a", "x", at(2)))
    assert uncollected(replica) == ["x"]
    assert collector.round().collected == 1
    assert collector.waiting() == 1
    assert uncollected(replica) == []


def test_a_document_made_again_is_left_alone(replica: Replica, collector: Collector) -> None:
    replica.apply(put("a", "x", at(1)), delete("a", "x", at(2)), put("a", "x", at(3)))
    replica.queue(tombstone("a", "x", at(2)))
    collector.round()
    assert collector.waiting() == 0
    assert replica.nearest("a", vector(1, 3, 0, 0)) == ["x"]


def test_an_older_entry_does_not_collect_a_later_deletion(replica: Replica, collector: Collector) -> None:
    replica.apply(put("a", "x", at(1)), delete("a", "x", at(2)), put("a", "x", at(3)), delete("a", "x", at(4)))
    replica.queue(tombstone("a", "x", at(2)))
    assert collector.round().collected == 0
    assert collector.waiting() == 0
    assert uncollected(replica) == ["x"]
    replica.queue(tombstone("a", "x", at(4)))
    assert collector.round().collected == 1


def test_what_no_entry_named_is_found_by_the_sweep(replica: Replica, collector: Collector) -> None:
    replica.apply(put("a", "x", at(1)), delete("a", "x", at(2)), floor("b", at(3)), floor(None, at(1)))
    assert collector.round().collected == 0
    assert collector.sweep().collected == 3
    assert collector.sweep().collected == 0
    assert replica.rows("SELECT collected FROM replica_state") == [(3,)]


def test_floors_collect_datasets_and_tables(replica: Replica, collector: Collector) -> None:
    replica.queue(tombstone("a", None, at(5)), tombstone(None, None, at(6)), tombstone("a", "x", at(4)))
    replica.apply(put("a", "x", at(1)), put("b", "y", at(1)))
    assert collector.round().collected == 0
    replica.apply(floor("a", at(5)))
    assert collector.round().collected == 1
    assert collector.waiting() == 1
    replica.apply(floor(None, at(6), FloorReason.TRUNCATE))
    assert collector.round().collected == 1
    assert collector.waiting() == 0


def test_a_forgotten_tombstone_lets_its_entry_run(replica: Replica, collector: Collector) -> None:
    replica.apply(put("a", "x", at(1)), delete("a", "x", at(3)))
    with replica.connection:
        replica.connection.execute("INSERT INTO replica_forgotten SELECT 1, 1, 1, 3, 1")
        replica.connection.execute("DELETE FROM replica_tombstone")
    replica.applier.reload()
    replica.queue(tombstone("a", "x", at(3)))
    collector.round()
    assert collector.waiting() == 0


def test_waiting_entries_hold_up_nobody(
    replica: Replica, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.replica.gc._ENTRIES", 5)
    replica.apply(*(put("a", f"x{i}", at(i + 1)) for i in range(20)))
    replica.queue(*(tombstone("a", f"x{i}", at(100 + i)) for i in range(20)))
    replica.apply(delete("a", "x19", at(119)))
    assert sum(collector.round().collected for _ in range(5)) == 1
    assert collector.waiting() == 19


def test_deleted_vectors_leave_no_bytes_and_their_space_comes_back(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r.db")
    collector = Collector(replica.connection, replica.path, replica.applier)
    rng = random.Random(4)
    dims, count = 256, 8_000
    embeddings = {f"x{i}": vector(*(rng.gauss(0, 1) for _ in range(dims))) for i in range(count)}
    ids = list(embeddings)
    for start in range(0, count, 4000):
        part = ids[start : start + 4000]
        replica.apply(*(put("a", id, at(1 + start + i), document(id, embeddings[id])) for i, id in enumerate(part)))
    collector.reclaim_all()
    before = file_bytes(replica.path)
    gone = set(rng.sample(ids, count * 9 // 10))
    for i, id in enumerate(ids):  # updates leave bytes behind, too
        if i % 50 == 0:
            replica.apply(put("a", id, at(30_000 + i), document(id, embeddings[id])))
    replica.apply(*(delete("a", id, at(60_000 + i)) for i, id in enumerate(sorted(gone))))
    replica.queue(*(tombstone("a", id, at(60_000 + i)) for i, id in enumerate(sorted(gone))))
    done = collector.round()
    while not (step := collector.round()).collected == step.freed_bytes == 0:
        done = done.plus(step)
    done = done.plus(collector.reclaim_all())
    assert done.collected == len(gone)
    after = file_bytes(replica.path)
    assert after < before * 0.4
    assert done.freed_bytes > before * 0.4
    assert replica.rows("SELECT name, generation FROM replica_vectors") == [("replica_vectors_1_g2", 2)]
    raw = b"".join(
        Path(f"{replica.path}{end}").read_bytes() for end in ("", "-wal") if Path(f"{replica.path}{end}").exists()
    )
    pieces = {embeddings[id][at_byte : at_byte + 16] for id in gone for at_byte in (0, dims * 2, dims * 4 - 16)}
    assert not [i for i in range(len(raw)) if raw[i : i + 16] in pieces]
    kept = sorted(set(ids) - gone)
    assert sum(embeddings[id][:16] in raw for id in kept[:100]) > 90  # where a vector crosses pages it is in two pieces
    stored = {row[0]: row[1] for row in replica.rows("SELECT id, embedding FROM shadow_vec_docs")}
    assert stored == {id: embeddings[id] for id in kept}
    replica.apply(put("a", "new", at(90_000), document("new", embeddings[kept[0]])))
    assert set(replica.nearest("a", embeddings[kept[0]], k=2)) == {"new", kept[0]}
    replica.check()
    replica.close()


def test_a_reader_goes_on_while_a_table_is_replaced(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r.db")
    collector = Collector(replica.connection, replica.path, replica.applier)
    rows = [put("a", f"x{i}", at(i + 1), document("t", vector(1, *[i] * 127))) for i in range(20_000)]
    replica.apply(*rows)
    few = [row.key.id for row in rows if row.key.id < "x11"]
    reader = open_reader(replica.path)
    with reader:
        assert reader.execute("SELECT count(embedding) FROM shadow_vec_docs WHERE id < 'x11'").get == len(few)
        replica.apply(*(delete("a", f"x{i}", at(30_000 + i)) for i in range(20_000) if i % 20))
        collector.sweep()
        collector.reclaim_all()
        assert replica.rows("SELECT generation FROM replica_vectors") == [(2,)]
        assert reader.execute("SELECT count(embedding) FROM shadow_vec_docs WHERE id < 'x11'").get == len(few)
    assert reader.execute("SELECT count(embedding) FROM shadow_vec_docs").get == 1000
    reader.close()
    replica.check()
    replica.close()


def test_bytes_go_even_where_too_little_is_free_for_a_rebuild(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r.db")
    collector = Collector(replica.connection, replica.path, replica.applier)
    rng = random.Random(5)
    good = {f"x{i}": vector(*(rng.gauss(0, 1) for _ in range(64))) for i in range(1000)}
    bad = {f"b{i}": rng.randbytes(301) for i in range(100)}
    every = {**good, **bad}
    replica.apply(*(put("a", id, at(i + 1), document("t", every[id])) for i, id in enumerate(every)))
    gone = [*rng.sample(sorted(good), 100), *rng.sample(sorted(bad), 50)]
    replica.apply(*(delete("a", id, at(9000 + i)) for i, id in enumerate(gone)))
    assert collector.sweep().collected == 150
    collector.reclaim_all()
    raw = replica.path.read_bytes()
    assert [id for id in every.keys() - set(gone) if every[id][100:116] in raw]
    assert [id for id in gone if every[id][100:116] in raw] == []
    replica.check()
    replica.close()
