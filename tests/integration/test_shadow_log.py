"""The change log of a SQLite upstream, read while it is written: nothing lost, nothing out of order."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from connector.errors import ConnectionLost, CorruptedLog, DataRefused, ForeignLog, PositionLost, PreflightRefused
from connector.model import (
    CommitOrder,
    DatasetChange,
    DocChange,
    DocKey,
    Floor,
    Op,
    SourcePosition,
    Transaction,
)
from connector.settings import Settings, SourceSettings, TopicsSettings
from connector.source import Stream
from connector.source.shadow_log import SqliteSource
from connector.upstream import UpstreamRow
from connector.upstream.install import install
from connector.upstream.prune import prune
from connector.upstream.sqlite import SqliteUpstream, open_writer

ID_IS_KEY = """CREATE TABLE shadow_vec_docs (
    dataset_id TEXT NOT NULL REFERENCES vec_dataset(dataset_id) ON DELETE CASCADE,
    id TEXT NOT NULL PRIMARY KEY, content TEXT, meta TEXT, embedding BLOB, embedding_model TEXT,
    scn INTEGER NOT NULL DEFAULT 0, archived INTEGER NOT NULL DEFAULT 0)"""
UNRELATED = """CREATE TABLE shadow_vec_docs (
    dataset_id TEXT NOT NULL, id TEXT NOT NULL, content TEXT, meta TEXT, embedding BLOB, embedding_model TEXT,
    scn INTEGER NOT NULL DEFAULT 0, archived INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (dataset_id, id))"""
DATASETS = "CREATE TABLE vec_dataset (dataset_id TEXT PRIMARY KEY, description TEXT, source_uri TEXT)"


class Setup:
    """An upstream file, a writer on it and a source for it."""

    def __init__(self, path: Path, *ddl: str, snapshot: str = "initial") -> None:
        self.path = path
        self.settings = Settings(
            source=SourceSettings.model_validate(
                {"kind": "sqlite", "url": f"sqlite:///{path}", "snapshot": snapshot, "poll_interval_s": 0.01}
            ),
            topics=TopicsSettings(prefix="demo"),
        )
        self.db = open_writer(path, create=True)
        for statement in ddl:
            self.db.execute(statement)
        install(self.settings.source)
        self.upstream = SqliteUpstream(self.db, "shadow_vec_docs", self.settings.source.mapping)
        self.source = SqliteSource(self.settings)

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.db.execute(statement).fetchall()

    def rows(self) -> dict[tuple[str, str], str | None]:
        return {
            (dataset, id): content
            for dataset, id, content in self.db.execute("SELECT dataset_id, id, content FROM shadow_vec_docs")
        }

    def datasets(self) -> set[str]:
        return {id for (id,) in self.db.execute("SELECT dataset_id FROM vec_dataset")}


class Reader:
    """Applies a stream as a replica would, and refuses whatever a partition must never hold."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.docs: dict[tuple[str, str], tuple[CommitOrder, str | None, bool]] = {}
        self.known: dict[str, tuple[CommitOrder, bool]] = {}
        self.greatest = CommitOrder(0, 0, 0, 0)
        self.position = setup.source.start(1)
        self.stream: Stream | None = None
        self.snapshots = 0
        self.attempts = 1  # at the first snapshot: one more for each restart before its end
        self.seen: list[Transaction] = []

    def catch_up(self, limit: int | None = None) -> None:
        """Reads to the present head, or stops after some transactions."""
        head = self.setup.source.head()
        if self.stream is None:
            self.stream = self.setup.source.stream(self.position)
        while not self.stream.reached(head):
            transaction = self.stream.next(60)
            if transaction is None:
                assert self.stream.reached(head), "the stream has nothing, and did not reach the head"
                break
            self.apply(transaction)
            self.position = transaction.after
            if limit is not None and (limit := limit - 1) <= 0:
                return
        self.position = self.stream.position()

    def restart(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.attempts += not self.position.snapshot_done
        self.stream = None

    def apply(self, transaction: Transaction) -> None:
        changes = list(transaction.changes)
        transaction.changes = changes
        self.seen.append(transaction)
        for change in changes:
            assert change.order > self.greatest or (change.order == self.greatest and change.order.ordinal == 0)
            self.greatest = change.order
            if isinstance(change, DocChange):
                key = (change.key.dataset_id, change.key.id)
                content = change.after.content if change.after else None
                self.docs[key] = (change.order, content, change.op is not Op.DELETE)
            elif isinstance(change, DatasetChange):
                self.known[change.key.dataset_id] = (change.order, change.op is not Op.DELETE)
            else:
                assert isinstance(change, Floor)
                self.snapshots += change.key.dataset_id is None
                for key, (order, _, _) in list(self.docs.items()):
                    if change.key.dataset_id in (None, key[0]) and order < change.order:
                        del self.docs[key]

    def agrees(self) -> None:
        live = {key: content for key, (_, content, alive) in self.docs.items() if alive}
        assert live == self.setup.rows()
        assert {id for id, (_, alive) in self.known.items() if alive} == self.setup.datasets()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Setup]]:
    made: list[Setup] = []

    def build(*ddl: str, snapshot: str = "initial") -> Setup:
        made.append(Setup(tmp_path / f"upstream{len(made)}.db", *ddl, snapshot=snapshot))
        return made[-1]

    yield build
    for setup in made:
        setup.db.close()


def row(id: str, content: str | None = "text") -> UpstreamRow:
    return UpstreamRow(id, content, None, b"\x00\x00\x80?", "m")


def changes_of(reader: Reader) -> list[object]:
    return [change for transaction in reader.seen for change in transaction.changes]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ddl", [(), (DATASETS, ID_IS_KEY), (DATASETS, UNRELATED)], ids=["usual", "id", "unrelated"])
def test_random_work_with_restarts(make: Callable[..., Setup], ddl: tuple[str, ...], seed: int) -> None:
    """Even seeds do only what the log can tell by itself; the others also what needs the tables to be read anew."""
    rng = random.Random(seed)
    calm = seed % 2 == 0
    setup = make(*ddl)
    reader = Reader(setup)
    db = setup.db
    for step in range(150):
        dataset, other = rng.choice("ABC"), rng.choice("ABC")
        id, target = str(rng.randrange(6)), str(rng.randrange(6))
        insert = "INTO shadow_vec_docs(dataset_id, id, content) VALUES (?, ?, ?)"
        do_nothing = "ON CONFLICT DO NOTHING"
        overwrite = "ON CONFLICT(id) DO UPDATE SET content = 'kept'" if ddl == (DATASETS, ID_IS_KEY) else do_nothing
        work: list[tuple[str, list[str]]] = [
            (f"INSERT OR IGNORE {insert}", [dataset, id, f"ignored {step}"]),
            (f"INSERT OR REPLACE {insert}", [dataset, id, f"replaced {step}"]),
            (f"INSERT OR REPLACE {insert}", [dataset, id, f"replaced again {step}"]),
            (f"INSERT {insert} {overwrite}", [dataset, id, f"new {step}"]),
            ("UPDATE shadow_vec_docs SET content = ? WHERE dataset_id = ?", [f"updated {step}", dataset]),
            ("UPDATE OR REPLACE shadow_vec_docs SET id = ? WHERE id = ?", [target, id]),
            ("UPDATE OR IGNORE shadow_vec_docs SET dataset_id = ? WHERE dataset_id = ?", [other, dataset]),
            ("DELETE FROM shadow_vec_docs WHERE id = ?", [id]),
            ("DELETE FROM vec_dataset WHERE dataset_id = ?", [dataset]),
            ("INSERT OR IGNORE INTO vec_dataset(dataset_id) VALUES (?)", [dataset]),
            ("INSERT OR IGNORE INTO vec_dataset(dataset_id) VALUES (?)", [other]),
            ("UPDATE vec_dataset SET description = ? WHERE dataset_id = ?", [str(step), dataset]),
            ("DELETE FROM vec_dataset_scn WHERE dataset_id = ?", [dataset]),
        ]
        if not calm:
            work += [
                ("INSERT OR REPLACE INTO vec_dataset(dataset_id, description) VALUES (?, ?)", [dataset, str(step)]),
                ("UPDATE OR IGNORE vec_dataset SET dataset_id = ? WHERE dataset_id = ?", [other, dataset]),
            ]
        db.execute(f"PRAGMA foreign_keys = {'on' if calm else rng.choice(('on', 'off'))}").fetchall()
        db.execute(f"PRAGMA recursive_triggers = {rng.choice(('on', 'off'))}").fetchall()
        refused = contextlib.suppress(ZeroDivisionError, apsw.ConstraintError, DataRefused)
        with refused, setup.upstream.transaction() if rng.random() < 0.3 else db:
            for sql, args in rng.choices(work, k=rng.randrange(1, 4)):
                db.execute(sql, args).fetchall()
            if rng.random() < 0.1:
                raise ZeroDivisionError
        if rng.random() < 0.2:
            reader.catch_up(rng.choice([1, None]))
        if rng.random() < 0.1:
            reader.restart()
    reader.catch_up()
    reader.agrees()
    if calm or ddl == (DATASETS, UNRELATED):
        assert reader.snapshots <= reader.attempts, "the log alone should have been enough"


def test_values_arrive_as_they_are(make: Callable[..., Setup]) -> None:
    setup = make()
    reader = Reader(setup)
    setup.upstream.ensure_dataset("ข้อมูล", "what 'it' is", "fs://x")
    content = 'quotes " \\ \n\t\x00\x1f 😀 é'
    setup.upstream.upsert("ข้อมูล", [UpstreamRow("ä/1#0", content, '{"a": 1}', b"\x00\x01\xff\x80", "m")])
    setup.upstream.upsert("ข้อมูล", [UpstreamRow("none", None, None, None, None)])
    setup.run("INSERT INTO shadow_vec_docs(dataset_id, id, content, embedding) VALUES ('ข้อมูล', 7, X'616263', X'')")
    reader.catch_up()
    setup.run("UPDATE shadow_vec_docs SET archived = 1")
    reader.catch_up()
    read = {(c.key.id, c.op): c for c in changes_of(reader) if isinstance(c, DocChange) and c.key.dataset_id == "ข้อมูล"}
    assert {id for id, _ in read} == {"ä/1#0", "none", "7"}
    for op in (Op.READ, Op.UPDATE):
        full, none, cast = read["ä/1#0", op].after, read["none", op].after, read["7", op].after
        assert full is not None
        assert (full.content, full.meta, full.embedding, full.embedding_model, full.scn) == (
            *(content, '{"a": 1}', b"\x00\x01\xff\x80", "m"),
            1,
        )
        assert full.archived is (op is Op.UPDATE)
        assert full.created_at is not None
        assert len(full.created_at) == 19
        assert none is not None
        assert (none.content, none.meta, none.embedding, none.embedding_model) == (None, None, None, None)
        assert cast is not None
        assert (cast.content, cast.embedding) == ("abc", None)
    logged = read["ä/1#0", Op.UPDATE]
    assert logged.scn > 1
    assert logged.source.connector == "sqlite"
    assert logged.source.ts_us > 1_700_000_000_000_000


def test_a_dataset_that_is_made_again_stands_above_its_old_life(make: Callable[..., Setup]) -> None:
    setup = make()
    reader = Reader(setup)
    reader.catch_up()
    for _ in range(2):
        setup.upstream.ensure_dataset("A")
        setup.upstream.upsert("A", [row(str(i)) for i in range(3)])
        setup.upstream.delete_dataset("A")
    setup.upstream.ensure_dataset("A")
    setup.upstream.upsert("A", [row("last")])
    reader.catch_up()
    reader.agrees()
    floors = [c for c in changes_of(reader) if isinstance(c, Floor) and c.key.dataset_id == "A"]
    assert len(floors) == 2
    assert reader.snapshots == 1, "what went with its dataset is no gap"


def test_a_dataset_deleted_without_its_documents_takes_none(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.upstream.ensure_dataset("A")
    setup.upstream.upsert("A", [row("1"), row("2")])
    reader = Reader(setup)
    reader.catch_up()
    setup.run("PRAGMA foreign_keys = off", "DELETE FROM vec_dataset", "DELETE FROM shadow_vec_docs WHERE id = '1'")
    reader.catch_up()
    reader.agrees()
    assert set(setup.rows()) == {("A", "2")}


def test_pruning_spares_what_is_not_read_and_a_reader_left_behind_starts_anew(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.upstream.ensure_dataset("gone")
    setup.upstream.ensure_dataset("A")
    ahead, behind = Reader(setup), Reader(setup)
    behind.catch_up()
    behind.restart()
    setup.upstream.upsert("A", [row(str(i)) for i in range(10)])
    setup.upstream.delete_dataset("gone")
    ahead.catch_up()
    setup.upstream.upsert("A", [row("later")])
    setup.upstream.delete("A", ["3"])
    assert prune(setup.settings.source, keep_s=0, published=ahead.position) > 0
    ahead.catch_up()
    ahead.agrees()
    assert ahead.snapshots == 1
    behind.catch_up()
    behind.agrees()
    assert behind.snapshots == 2
    assert prune(setup.settings.source, keep_s=3600, published=ahead.position) == 0


def test_a_log_pruned_by_hand_is_noticed(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.upstream.ensure_dataset("A")
    reader = Reader(setup)
    reader.catch_up()
    setup.upstream.upsert("A", [row("1"), row("2")])
    setup.run("DELETE FROM vec_shadow_log WHERE document_id = '1'")
    reader.catch_up()
    reader.agrees()
    assert reader.snapshots == 2


def test_a_gap_without_snapshots_is_refused(make: Callable[..., Setup]) -> None:
    setup = make(snapshot="no_data")
    setup.upstream.ensure_dataset("A")
    reader = Reader(setup)
    setup.upstream.upsert("A", [row("1")])
    setup.run("DELETE FROM vec_shadow_log")
    with pytest.raises(PositionLost, match="no longer has entry"):
        reader.catch_up()


def test_no_data_begins_at_the_end(make: Callable[..., Setup]) -> None:
    setup = make(snapshot="no_data")
    setup.upstream.ensure_dataset("A")
    setup.upstream.upsert("A", [row("old")])
    reader = Reader(setup)
    reader.catch_up()
    assert changes_of(reader) == []
    setup.upstream.upsert("A", [row("new")])
    reader.catch_up()
    assert [c.key for c in changes_of(reader) if isinstance(c, DocChange)] == [DocKey("A", "new")]


def test_a_snapshot_that_was_interrupted_leaves_nothing_behind(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.upstream.ensure_dataset("A")
    setup.upstream.upsert("A", [row(str(i)) for i in range(1200)])
    reader = Reader(setup)
    reader.catch_up(limit=3)
    assert reader.position.snapshot is not None
    assert not reader.position.snapshot_done
    setup.run("DELETE FROM shadow_vec_docs WHERE CAST(id AS INTEGER) < 400")
    reader.restart()
    reader.catch_up()
    reader.agrees()


def test_writing_goes_on_during_a_snapshot(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.upstream.ensure_dataset("A")
    setup.upstream.upsert("A", [row(str(i)) for i in range(1200)])
    reader = Reader(setup)
    reader.catch_up(limit=2)
    setup.run("UPDATE shadow_vec_docs SET content = 'new'", "DELETE FROM shadow_vec_docs WHERE id = '700'")
    reader.catch_up()
    reader.agrees()
    assert reader.snapshots == 1


def test_triggers_that_were_missing_for_a_while(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.upstream.ensure_dataset("A")
    reader = Reader(setup)
    reader.catch_up()
    setup.run("DROP TRIGGER shadow_vec_docs_ai")
    setup.upstream.upsert("A", [row("unseen")])
    setup.upstream.ensure_dataset("B")
    with pytest.raises(PreflightRefused, match="shadow_vec_docs_ai"):
        reader.catch_up()
    reader.restart()
    assert install(setup.settings.source)
    reader.catch_up()
    reader.agrees()


def test_another_file_is_refused(make: Callable[..., Setup], tmp_path: Path) -> None:
    setup, other = make(), make()
    setup.upstream.ensure_dataset("A")
    position = setup.source.head()
    with pytest.raises(ForeignLog, match="is recorded"):
        other.source.stream(position)


def test_an_older_copy_is_refused(make: Callable[..., Setup], tmp_path: Path) -> None:
    setup = make()
    setup.upstream.ensure_dataset("A")
    setup.run("PRAGMA wal_checkpoint(truncate)")
    shutil.copy(setup.path, tmp_path / "copy.db")
    reader = Reader(setup)
    setup.upstream.upsert("A", [row("1")])
    reader.catch_up()
    setup.upstream.upsert("A", [row("2")])
    reader.catch_up()
    copy = Setup(tmp_path / "copy.db")
    try:
        with pytest.raises(ForeignLog, match="older copy"):
            copy.source.stream(reader.position)
        copy.upstream.ensure_dataset("B")
        copy.upstream.upsert("B", [row(str(i)) for i in range(9)])
        with pytest.raises(ForeignLog, match="went on by itself"):
            copy.source.stream(reader.position)
    finally:
        copy.db.close()


def test_a_file_replaced_under_the_reader_is_noticed(make: Callable[..., Setup], tmp_path: Path) -> None:
    setup, other = make(), make()
    reader = Reader(setup)
    reader.catch_up()
    other.run("PRAGMA wal_checkpoint(truncate)")
    (tmp_path / "new.db").write_bytes(other.path.read_bytes())
    (tmp_path / "new.db").rename(setup.path)
    assert reader.stream is not None
    with pytest.raises(ConnectionLost, match="replaced"):
        reader.stream.next(1)


def test_what_is_not_set_up_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.db"
    db = open_writer(path, create=True)
    db.execute("CREATE TABLE t(a)")
    db.close()
    source = SqliteSource(Settings(source=SourceSettings(kind="sqlite", url=f"sqlite:///{path}")))
    with pytest.raises(PreflightRefused, match="not set up"):
        source.head()


def test_a_damaged_payload_stops_the_reader(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.upstream.ensure_dataset("A")
    reader = Reader(setup)
    reader.catch_up()
    setup.upstream.upsert("A", [row("1")])
    setup.run("UPDATE vec_shadow_log SET payload = replace(payload, '803f', '80zz')")
    with pytest.raises(CorruptedLog, match="not hexadecimal"):
        reader.catch_up()


def test_a_quiet_stream_returns_in_time_and_sees_what_comes(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.upstream.ensure_dataset("A")
    stream = setup.source.stream(SourcePosition(setup.source.identity(), snapshot_done=True, dataset_log_seq=2))
    try:
        assert stream.next(0.05) is None
        setup.upstream.upsert("A", [row("1")])
        transaction = stream.next(60)
        assert transaction is not None
        assert [c.key for c in transaction.changes if isinstance(c, DocChange)] == [DocKey("A", "1")]
    finally:
        stream.close()


def test_a_row_replaced_by_a_changed_id_is_gone_from_its_dataset(make: Callable[..., Setup]) -> None:
    setup = make(DATASETS, ID_IS_KEY)
    setup.upstream.ensure_dataset("A")
    setup.upstream.ensure_dataset("B")
    setup.upstream.upsert("A", [row("1", "stays")])
    setup.upstream.upsert("B", [row("2", "goes")])
    reader = Reader(setup)
    reader.catch_up()
    setup.run("UPDATE OR REPLACE shadow_vec_docs SET id = '2' WHERE id = '1'")
    assert setup.rows() == {("A", "2"): "stays"}
    reader.catch_up()
    reader.agrees()
    setup.run("INSERT OR REPLACE INTO shadow_vec_docs(dataset_id, id, content) VALUES ('B', '2', 'moved')")
    reader.catch_up()
    reader.agrees()
    assert reader.snapshots == 1
    assert setup.db.execute("SELECT * FROM vec_trigger_note").fetchall() == []


def test_a_later_life_of_a_dataset_is_never_taken_for_the_earlier_one(make: Callable[..., Setup]) -> None:
    """Both lives wrote the same document under the same SCN, and the log holds the later one only."""
    setup = make()
    reader = Reader(setup)
    reader.catch_up()
    setup.upstream.ensure_dataset("A")
    setup.run("INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('A', '1', 'first life')")
    setup.run("INSERT OR REPLACE INTO vec_dataset(dataset_id) VALUES ('A')")
    assert setup.rows() == {}
    setup.run("INSERT INTO shadow_vec_docs(dataset_id, id, content) VALUES ('A', '1', 'second life')")
    assert len(setup.db.execute("SELECT 1 FROM vec_shadow_log").fetchall()) == 1
    reader.catch_up()
    reader.agrees()
    assert [c.op for c in changes_of(reader) if isinstance(c, DocChange)] == [Op.READ]
