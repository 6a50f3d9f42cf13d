"""Batches of events in a file: what is written, hidden, removed, kept, and what belongs together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConfigurationError, ReplicaRefused
from connector.model import FloorReason, Lane
from connector.replica import schema
from connector.replica.apply import Applier, Offset
from connector.replica.connection import open_reader, open_writer
from connector.settings import ModelSettings
from tests.unit.replica.events import (
    LANE,
    TOPIC,
    Replica,
    at,
    dataset_row,
    delete,
    document,
    floor,
    hide,
    put,
    vector,
)


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    made = Replica(tmp_path / "r.db", models={"fixed": ModelSettings(dims=4)})
    yield made
    made.check()
    made.close()


def test_a_document_stands_exactly_as_the_source_has_it(replica: Replica) -> None:
    row = document(
        "Grüße\x00 🦆",
        vector(1.5, -0.0, 3, 1e-20),
        meta='{"a": [1]}',
        scn=7,
        archived=True,
        created_at="2026-01-01 00:00:00.000001",
        updated_at="0000-00-00 00:00:00",
    )
    replica.apply(put("d'1\"", "i%d", at(1), row))
    found = replica.rows("SELECT * FROM shadow_vec_docs")
    assert found == [
        (
            "d'1\"",
            "i%d",
            row.content,
            row.meta,
            row.embedding,
            "m",
            7,
            1,
            "2026-01-01 00:00:00.000001",
            "0000-00-00 00:00:00",
        )
    ]


def test_text_and_vector_are_found_at_once_and_only_in_their_dataset(replica: Replica) -> None:
    replica.apply(
        put("a", "x", at(1), document("running elephants", vector(1, 0, 0, 0))),
        put("b", "y", at(2), document("an elephant ran", vector(1, 0, 0, 0))),
        put("a", "z", at(3), document("ducks", vector(0, 1, 0, 0))),
    )
    assert replica.matching("elephant") == ["x", "y"]
    assert replica.matching("collection:c1 AND elephant") == ["x"]
    assert replica.nearest("a", vector(1, 0.1, 0, 0)) == ["x", "z"]


def test_text_that_changes_again_in_a_batch_is_found_as_it_is_in_the_end(replica: Replica) -> None:
    replica.apply(
        put("a", "x", at(1), document("first")),
        put("a", "y", at(2), document("first")),
        dataset_row("a", at(3), "written in between"),
        put("a", "x", at(4), document("second")),
        dataset_row("a", at(5), "and again"),
        delete("a", "y", at(6)),
    )
    assert (replica.matching("first"), replica.matching("second")) == ([], ["x"])


def test_what_is_given_up_before_its_text_is_indexed_leaves_nothing_to_the_next_batch(replica: Replica) -> None:
    replica.apply(put("a", "x", at(1), document("stands")))

    def fails() -> None:
        raise RuntimeError("while it was written")

    with pytest.raises(RuntimeError, match="while it was written"):
        replica.applier.apply([(LANE, put("a", "x", at(2), document("never")))], [], {LANE: Offset(2)}, fails)
    assert replica.next_offset() == 1
    replica.apply(put("a", "y", at(3), document("stands")), next_offset=3)
    assert (replica.matching("stands"), replica.matching("never")) == (["x", "y"], [])


def test_an_update_replaces_text_and_vector(replica: Replica) -> None:
    replica.apply(put("a", "x", at(1), document("old words", vector(1, 0, 0, 0))))
    replica.apply(put("a", "x", at(2), document("new words", vector(0, 1, 0, 0), archived=True)))
    assert replica.matching("old") == []
    assert replica.matching("new") == ["x"]
    assert replica.contents() == {"a.x": "new words"}
    assert replica.nearest("a", vector(0, 1, 0, 0)) == ["x"]


def test_a_document_whose_text_stays_is_found_as_before(replica: Replica) -> None:
    rows = [document("same words", vector(1, 0, 0, 0)), document(None, vector(1, 0, 0, 0))]
    replica.apply(put("a", "x", at(1), rows[0]), put("a", "null", at(2), rows[1]))
    changed = [document("same words", vector(0, 1, 0, 0), archived=True), document(None, None, meta="m")]
    replica.apply(put("a", "x", at(3), changed[0]), put("a", "null", at(4), changed[1]), put("a", "y", at(5)))
    assert replica.matching("same") == ["x"]
    assert replica.rows("SELECT id, archived, meta FROM shadow_vec_docs ORDER BY id") == [
        ("null", 0, "m"),
        ("x", 1, None),
        ("y", 0, None),
    ]
    replica.apply(put("a", "null", at(6), document("now a text")), put("a", "x", at(7), document(None)))
    assert replica.matching("text OR same") == ["null"]


def test_a_deletion_takes_everything_and_leaves_its_order(replica: Replica) -> None:
    replica.apply(put("a", "x", at(1)), put("a", "y", at(2)))
    replica.apply(delete("a", "x", at(3)))
    replica.apply(put("a", "x", at(1)))
    assert replica.contents() == {"a.y": "y 2"}
    assert replica.matching("x") == []
    assert replica.rows("SELECT id, position, collected FROM replica_tombstone") == [("x", 3, 0)]
    assert replica.rows("SELECT id, state FROM vec_lifecycle ORDER BY id") == [("x", "tombstone"), ("y", "committed")]


def test_a_document_may_be_made_again_after_its_deletion(replica: Replica) -> None:
    applied = replica.apply(put("a", "x", at(1)), delete("a", "x", at(2)), put("a", "x", at(3)))
    assert (applied.upserted, applied.deleted, applied.skipped) == (2, 1, 0)
    assert replica.contents() == {"a.x": "x 3"}
    replica.apply(delete("a", "x", at(4)))
    replica.apply(put("a", "x", at(5)))
    assert replica.contents() == {"a.x": "x 5"}
    assert replica.rows("SELECT * FROM replica_tombstone") == []


def test_what_is_not_above_the_stored_order_is_skipped_and_counted(replica: Replica) -> None:
    replica.apply(put("a", "x", at(5)))
    applied = replica.apply(put("a", "x", at(5)), put("a", "x", at(4)), delete("a", "x", at(5)))
    assert applied.skipped == 3
    assert replica.contents() == {"a.x": "x 5"}


def test_what_could_not_be_published_is_hidden_until_a_later_version(replica: Replica) -> None:
    replica.apply(put("a", "x", at(1)), put("a", "y", at(2)))
    replica.apply(hide("a", "x", at(3)))
    replica.apply(put("a", "x", at(2)))
    assert replica.contents() == {"a.y": "y 2"}
    assert replica.nearest("a", vector(1, 1, 0, 0)) == ["y"]
    assert replica.rows("SELECT id, state, error FROM vec_lifecycle WHERE state = 'tombstone'") == [
        ("x", "tombstone", "too large")
    ]
    replica.apply(put("a", "x", at(4)))
    assert replica.contents() == {"a.x": "x 4", "a.y": "y 2"}


def test_a_floor_takes_and_refuses_what_is_strictly_below(replica: Replica) -> None:
    replica.apply(put("a", "below", at(1)), put("a", "on", at(5, 0)), put("a", "above", at(6)), put("b", "x", at(1)))
    replica.apply(floor("a", at(5, 0)))
    replica.apply(put("a", "late", at(4)), put("a", "below", at(1)))
    assert sorted(replica.contents()) == ["a.above", "a.on", "b.x"]
    replica.apply(floor("a", at(2)))
    replica.apply(put("a", "late", at(4)))
    assert sorted(replica.contents()) == ["a.above", "a.on", "b.x"]


def test_a_floor_in_the_middle_of_a_batch_counts_from_there(replica: Replica) -> None:
    replica.apply(
        put("a", "x", at(1)),
        delete("a", "y", at(2)),
        floor("a", at(5)),
        put("a", "x", at(3)),
        put("a", "y", at(6)),
        put("a", "z", at(5)),
    )
    assert replica.contents() == {"a.y": "y 6", "a.z": "z 5"}


def test_a_tables_floor_counts_for_its_partition_only(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r.db", partitions=2)
    other = Lane(TOPIC, 1)
    replica.apply(put("a", "x", at(1)))
    replica.apply(put("b", "y", at(1, 2)), lane=other)
    replica.apply(floor(None, at(2), FloorReason.TRUNCATE))
    assert replica.contents() == {"b.y": "y 1"}
    replica.apply(put("c", "late", at(1)))  # a dataset first seen after the floor
    replica.apply(put("d", "fine", at(1)), lane=other)
    assert replica.contents() == {"b.y": "y 1", "d.fine": "fine 1"}
    replica.close()


def test_floors_outlive_the_process(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r.db")
    replica.apply(floor("a", at(5)), floor(None, at(3)))
    replica.close()
    replica = Replica(tmp_path / "r.db")
    applied = replica.apply(put("a", "x", at(4)), put("b", "x", at(2)), put("b", "y", at(3)))
    assert applied.skipped == 2
    assert replica.contents() == {"b.y": "y 3"}
    replica.close()


def test_forgotten_tombstones_go_on_refusing(replica: Replica) -> None:
    replica.apply(put("a", "x", at(1)), delete("a", "x", at(3)))
    with replica.connection:
        replica.connection.execute("INSERT INTO replica_forgotten SELECT 1, 1, 1, 3, 1")
        replica.connection.execute("DELETE FROM replica_tombstone")
    replica.applier.reload()
    assert replica.apply(put("a", "x", at(1)), put("a", "x", at(3))).skipped == 2
    assert replica.apply(put("a", "x", at(4))).upserted == 1


@pytest.mark.parametrize(
    ("embedding", "model", "says"),
    [
        (b"12345", "m", "5 bytes"),
        (vector(1, float("nan")), "m", "value 1 is not a number"),
        (vector(float("-inf"), 1), "m", "value 0 is infinite"),
        (vector(0, -0.0, 0), "m", "zero"),
        (vector(1e30, 0), "m", "length 1e+30"),
        (vector(1e-30, 0), "m", "length 1e-30"),
        (vector(1, 2, 3), "fixed", "3 dimensions"),
        (vector(*[1.0] * 8193), "m", "8193 dimensions"),
    ],
)
def test_a_bad_embedding_costs_the_vector_and_nothing_else(
    replica: Replica, embedding: bytes, model: str, says: str
) -> None:
    bad = document("still found", embedding, embedding_model=model)
    applied = replica.apply(put("a", "x", at(1), bad), put("a", "good", at(1, 2)))
    assert applied.failed_vectors == 1
    assert replica.documents()["a", "x"] == ("still found", embedding, 1)
    assert replica.matching("still") == ["x"]
    state = replica.rows("SELECT state, attempts, error FROM vec_lifecycle WHERE id = 'x'")
    assert state[0][:2] == ("failed", 1)
    assert says in state[0][2]
    assert replica.nearest("a", vector(1, 0, 0, 0)) == ["good"]
    replica.apply(put("a", "x", at(2), document("healed", vector(1, 0, 0, 0), embedding_model=model)))
    assert replica.rows("SELECT state FROM vec_lifecycle WHERE id = 'x'") == [("committed",)]
    assert replica.rows("SELECT * FROM replica_bad_vector") == []
    replica.apply(put("a", "x", at(3), bad))
    replica.apply(delete("a", "x", at(4)))
    assert replica.rows("SELECT * FROM replica_bad_vector") == []


def test_a_document_without_an_embedding_has_none(replica: Replica) -> None:
    replica.apply(put("a", "null", at(1), document(None, None)), put("a", "empty", at(2), document("", b"")))
    assert replica.documents() == {("a", "null"): (None, None, 1), ("a", "empty"): ("", b"", 1)}
    assert replica.rows("SELECT * FROM vec_lifecycle") == []


def test_models_and_dimensions_stand_side_by_side(replica: Replica) -> None:
    shapes: list[tuple[str | None, tuple[float, ...]]] = [
        ("m", (1, 2)),
        ("m", (1, 2, 3)),
        ("n", (1, 2)),
        (None, (1, 2)),
    ]
    for i, (model, values) in enumerate(shapes):
        replica.apply(put("a", f"x{i}", at(i + 1), document("t", vector(*values), embedding_model=model)))
    found = replica.rows("SELECT id, embedding, embedding_model FROM shadow_vec_docs ORDER BY id")
    assert found == [(f"x{i}", vector(*values), model) for i, (model, values) in enumerate(shapes)]
    assert replica.rows("SELECT model, dims FROM replica_vectors ORDER BY no") == [
        ("m", 2),
        ("m", 3),
        ("n", 2),
        ("", 2),
    ]
    replica.apply(put("a", "x0", at(9), document("t", vector(3, 2, 1), embedding_model="m")))
    assert replica.nearest("a", vector(3, 2, 1), table=2) == ["x0", "x1"]


def test_datasets_are_the_sources_rows(replica: Replica) -> None:
    replica.apply(dataset_row("a", at(1), "first"), dataset_row("b", at(2), "second"), dataset_row("a", at(1), "stale"))
    assert replica.rows("SELECT dataset_id, description, source_uri, last_scn FROM vec_dataset ORDER BY 1") == [
        ("a", "first", "fs://a", 1),
        ("b", "second", "fs://b", 1),
    ]
    replica.apply(dataset_row("a", at(3)), dataset_row("a", at(2), "stale"))
    assert replica.rows("SELECT dataset_id FROM vec_dataset") == [("b",)]
    replica.apply(floor(None, at(3), FloorReason.TRUNCATE))
    assert replica.rows("SELECT dataset_id FROM vec_dataset") == [("b",)]
    replica.apply(dataset_row("c", at(6, 0), "seen"), floor(None, at(5, 0), FloorReason.SNAPSHOT))
    assert replica.rows("SELECT dataset_id FROM vec_dataset") == [("c",)]


def test_the_watermark_is_the_greatest_scn_and_starts_over_with_the_dataset(replica: Replica) -> None:
    replica.apply(put("a", "x", at(1), scn=5), put("a", "y", at(2), scn=3), next_offset=17)
    assert replica.rows(
        "SELECT dataset_id, shadow_table, last_scn, topic, partition, next_offset, position FROM vec_sync_state"
    ) == [("a", "shadow_vec_docs", 5, TOPIC, 0, 17, "1:1:2:1")]
    replica.apply(floor("a", at(3)), next_offset=18)
    assert replica.rows("SELECT last_scn, next_offset FROM vec_sync_state") == [(0, 18)]
    replica.apply(put("a", "x", at(4), scn=2), next_offset=19)
    assert replica.rows("SELECT last_scn FROM vec_sync_state") == [(2,)]


def test_other_datasets_are_not_followed(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r.db", patterns=["docs-*", "exact"])
    applied = replica.apply(
        put("docs-1", "x", at(1)),
        put("other", "y", at(2)),
        put("Exact", "z", at(3)),
        dataset_row("other", at(4), "no"),
        floor("other", at(5)),
        put("exact", "w", at(6)),
    )
    assert (applied.upserted, applied.unfollowed) == (2, 4)
    assert sorted(replica.contents()) == ["docs-1.x", "exact.w"]
    assert replica.rows("SELECT * FROM vec_dataset") == []
    replica.close()


def test_nothing_of_a_batch_stands_when_it_fails(replica: Replica) -> None:
    replica.apply(put("a", "x", at(1)), next_offset=1)
    broken: Any = document("no text", vector(1, 0), scn="not a number")
    with pytest.raises(ReplicaRefused):
        replica.apply(put("new", "y", at(2)), delete("a", "x", at(3)), put("a", "z", at(4), broken), next_offset=9)
    assert replica.contents() == {"a.x": "x 1"}
    assert replica.next_offset() == 1
    assert replica.rows("SELECT dataset_id FROM replica_collection") == [("a",)]
    replica.apply(put("new", "y", at(2)), delete("a", "x", at(3)), next_offset=9)
    assert replica.contents() == {"new.y": "y 2"}
    assert replica.next_offset() == 9


def test_tables_have_views_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    connection = open_writer(path)
    schema.prepare(connection, path)
    topics = {"t.app.my_x64_docs": "my@docs", TOPIC: "shadow_vec_docs"}
    applier = Applier(connection, path, ["*"], {}, topics)
    first = Lane("t.app.my_x64_docs", 0)
    applier.apply([(first, put("a", "x", at(1)))], [], {})
    assert connection.execute('SELECT id FROM "my@docs"').fetchall() == [("x",)]
    assert connection.execute("SELECT id FROM shadow_vec_docs").fetchall() == [("x",)]
    applier.apply([(LANE, put("a", "y", at(2)))], [], {})
    assert connection.execute('SELECT id FROM "my@docs"').fetchall() == [("x",)]
    assert connection.execute("SELECT id FROM shadow_vec_docs").fetchall() == [("y",)]
    connection.close()


def test_a_table_named_like_something_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    connection = open_writer(path)
    schema.prepare(connection, path)
    applier = Applier(connection, path, ["*"], {}, {"t.app.GC_queue": "GC_queue"})
    with pytest.raises(ConfigurationError, match="GC_queue"):
        applier.apply([(Lane("t.app.GC_queue", 0), put("a", "x", at(1)))], [], {})
    connection.close()


def test_readers_cannot_write_and_see_whole_transactions(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r.db")
    reader = open_reader(tmp_path / "r.db")
    replica.apply(put("a", "x", at(1)))
    with reader:
        assert reader.execute("SELECT count(*) FROM shadow_vec_docs").get == 1
        replica.apply(put("a", "y", at(2)))
        assert reader.execute("SELECT count(*) FROM shadow_vec_docs").get == 1
    assert reader.execute("SELECT count(*) FROM shadow_vec_docs").get == 2
    with pytest.raises(Exception, match="readonly"):
        reader.execute("DELETE FROM replica_document")
    reader.close()
    replica.close()


def test_files_of_others_and_of_newer_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    connection = open_writer(path)
    connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(ReplicaRefused, match="is not a replica"):
        schema.prepare(connection, path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()
    with pytest.raises(ReplicaRefused, match="is not a replica"):
        open_writer(path)
    newer = Replica(tmp_path / "n.db")
    newer.connection.pragma("user_version", schema.VERSION + 1)
    newer.close()
    with pytest.raises(ReplicaRefused, match=f"version {schema.VERSION + 1}"):
        open_writer(tmp_path / "n.db")
    (tmp_path / "text").write_text("no database " * 1000)
    with pytest.raises(ReplicaRefused, match="no SQLite file"):
        open_writer(tmp_path / "text")


def test_a_full_disk_stops_it_and_loses_nothing(replica: Replica) -> None:
    replica.apply(put("a", "x", at(1)), next_offset=1)
    pages = replica.connection.pragma("page_count")
    replica.connection.pragma("max_page_count", pages)  # SQLite says the same when the disk is full
    many = [put("a", f"y{i}", at(i + 2), document("words " * 1000, vector(1, 2, 3, i))) for i in range(200)]
    with pytest.raises(ReplicaRefused, match="no space is left") as refused:
        replica.apply(*many, next_offset=201)
    assert "goes on" in refused.value.hint
    assert replica.contents() == {"a.x": "x 1"}
    assert replica.next_offset() == 1
    replica.connection.pragma("max_page_count", 1_000_000)
    replica.apply(*many, next_offset=201)
    assert len(replica.contents()) == 201
    assert replica.next_offset() == 201
