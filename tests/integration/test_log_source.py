"""The shadow log of MySQL and MariaDB, read while it is written: the same final state as the source, whatever commits
late, is rolled back, is deleted by a cascade, or happens while nobody reads."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from connector.model import DatasetKey, DocChange, DocKey, Floor, FloorReason, Op
from connector.source import RowKey
from connector.source.reread import RereadingStream
from connector.upstream import UpstreamRow, connect
from connector.upstream.install import install
from tests.servers.model import SqlDatabase
from tests.system.late import Late
from tests.system.log_reading import LogFollower
from tests.system.log_site import Untruncated
from tests.system.schema import PrimaryKey, create_tables
from tests.system.snapshot_reading import source_state
from tests.system.workload import RETRY, create_datasets, run_sessions

Follow = Callable[..., LogFollower]


@pytest.fixture(params=["dataset_and_id", "id"])
def primary_key(request: pytest.FixtureRequest) -> PrimaryKey:
    key: PrimaryKey = request.param
    return key


@pytest.fixture
def follow() -> Iterator[Follow]:
    opened: list[LogFollower] = []

    def begin(database: SqlDatabase, **overrides: Any) -> LogFollower:
        opened.append(LogFollower(database, **overrides))
        return opened[-1]

    yield begin
    for found in opened:
        found.close()


@pytest.fixture
def installed(sql_database: SqlDatabase) -> SqlDatabase:
    """As `source install` makes everything."""
    install(source_of(sql_database))
    sql_database.execute("INSERT INTO vec_dataset(dataset_id, description) VALUES ('a', 'A'), ('b', 'B')")
    return sql_database


def source_of(database: SqlDatabase) -> Any:
    from tests.system.settings import settings, source_section

    return settings(source=source_section(database)).source


def put(database: SqlDatabase, dataset: str, *ids: str, content: str = "text") -> None:
    upstream = connect(source_of(database))
    upstream.ensure_dataset(dataset)
    upstream.upsert(dataset, [UpstreamRow(id, content, None, b"\0" * 16, "m") for id in ids])
    upstream.close()


def test_every_kind_of_change(installed: SqlDatabase, follow: Follow) -> None:
    put(installed, "a", "1", "2", "3")
    installed.execute("INSERT INTO shadow_vec_docs(dataset_id, id) VALUES ('b', 'x')")
    follower = follow(installed)
    follower.to_head()
    assert follower.state() == source_state(installed)
    (floor,) = [c for c in follower.log if isinstance(c, Floor)]
    assert floor.reason is FloorReason.SNAPSHOT
    put(installed, "a", "1", "4", content="new")
    put(installed, "c", "1")
    installed.execute(
        "DELETE FROM shadow_vec_docs WHERE id = '2'",
        "UPDATE shadow_vec_docs SET id = '33' WHERE id = '3'",
        "UPDATE shadow_vec_docs SET dataset_id = 'b' WHERE dataset_id = 'a' AND id = '4'",
        "REPLACE INTO shadow_vec_docs(dataset_id, id, content) VALUES ('b', 'x', 'replaced')",
        "UPDATE vec_dataset SET description = 'other' WHERE dataset_id = 'b'",
    )
    follower.to_head()
    assert follower.state() == source_state(installed)
    last = {change.key: change for change in follower.log if isinstance(change, DocChange)}
    deleted = last[DocKey("a", "2")]
    numbers = installed.query("SELECT scn FROM vec_shadow_log WHERE document_id = '2' AND op = 'delete'")
    assert (deleted.op, deleted.scn) == (Op.DELETE, numbers[0][0])
    assert last[DocKey("a", "4")].op is Op.DELETE
    assert last[DocKey("b", "4")].after is not None


def test_a_dataset_that_goes_and_comes_back(installed: SqlDatabase, follow: Follow) -> None:
    """Its entries go with it, and its numbers begin anew: also when as many were given out again meanwhile."""
    put(installed, "a", "1", "2")
    follower = follow(installed)
    follower.to_head()
    installed.execute("DELETE FROM vec_dataset WHERE dataset_id = 'a'")
    follower.to_head()
    assert follower.state() == source_state(installed)
    put(installed, "a", "1", "2")
    follower.to_head()
    installed.execute("DELETE FROM vec_dataset WHERE dataset_id = 'a'")
    put(installed, "a", "3", "4")
    put(installed, "b", "1")
    follower.to_head()
    assert follower.state() == source_state(installed)
    assert DocKey("a", "1") not in follower.state()
    position = follower.position
    installed.execute("DELETE FROM vec_dataset WHERE dataset_id IN ('a', 'b')")
    put(installed, "a", "5", "6", "7", "8")
    follower.again(position)
    follower.to_head()
    assert follower.state() == source_state(installed)


def test_late_ones_within_the_window_are_found(sql_database: SqlDatabase, follow: Follow) -> None:
    source = Late(sql_database)
    early, never, other = source.session(), source.session(), source.session()
    source.write(other, "a", "0", "zero")
    other.commit()
    follower = follow(sql_database, late_commit_window_s=300)
    follower.to_head()
    source.write(early, "a", "1", "early")
    source.write(early, "a", "0", None)
    source.write(never, "a", "2", "rolled back")
    source.write(other, "a", "3", "at once")
    other.commit()
    follower.to_head()
    state = follower.state()
    assert DocKey("a", "3") in state
    assert DocKey("a", "1") not in state
    never.rollback()
    early.commit()
    deadline = time.monotonic() + 90
    while follower.state() != source_state(sql_database):
        assert time.monotonic() < deadline, "what was late was not found"
        follower.step()
    assert DocKey("a", "1") in follower.state()
    assert DocKey("a", "0") not in follower.state()


def test_late_ones_are_found_after_a_restart(sql_database: SqlDatabase, follow: Follow) -> None:
    source = Late(sql_database)
    early, other = source.session(), source.session()
    follower = follow(sql_database, late_commit_window_s=300)
    follower.to_head()
    source.write(early, "a", "1", "early")
    source.write(other, "a", "2", "at once")
    other.commit()
    follower.to_head()
    follower.stream.close()
    early.commit()
    follower.again()
    follower.to_head()
    assert follower.state() == source_state(sql_database)


def test_beyond_the_window_only_a_new_snapshot_finds_them(sql_database: SqlDatabase, follow: Follow) -> None:
    source = Late(sql_database)
    early, other = source.session(), source.session()
    follower = follow(sql_database, late_commit_window_s=0.5)
    follower.to_head()
    source.write(early, "a", "1", "early")
    source.write(other, "a", "2", "at once")
    other.commit()
    follower.to_head()
    deadline = time.monotonic() + 90
    while any(cursor.missing for cursor in follower.position.cursors.values()):
        assert time.monotonic() < deadline, "it waits for a number that does not come"
        follower.step()
    early.commit()
    follower.to_head()
    for _ in range(5):
        follower.step()
    assert DocKey("a", "1") not in follower.state()
    follower.again(follower.source.start(epoch=2))
    follower.to_head()
    assert follower.state() == source_state(sql_database)


def test_behind_the_triggers_of_install_nothing_is_late(installed: SqlDatabase) -> None:
    """Whoever took a number keeps the counter of its dataset to the end of the transaction."""
    insert = "INSERT INTO shadow_vec_docs(dataset_id, id) VALUES (%s, %s)"
    early, other = installed.connect(autocommit=False), installed.connect(autocommit=False)
    with early.cursor() as first, other.cursor() as second:
        first.execute(insert, ["a", "1"])
        second.execute("SET SESSION innodb_lock_wait_timeout = 1")
        second.execute(insert, ["b", "1"])
        with pytest.raises(pymysql.OperationalError, match="Lock wait timeout"):
            second.execute(insert, ["a", "2"])
    for session in (early, other):
        session.rollback()
        session.close()


def test_rows_are_read_again_between_two_looks(installed: SqlDatabase, follow: Follow) -> None:
    """As a repair asks for them: above all that was published of them, and below the next look."""
    put(installed, "a", "1", "2")
    follower = follow(installed)
    follower.to_head()
    greatest = max(change.order for change in follower.log)
    stream = RereadingStream(follower.stream, follower.source.rows)
    follower.stream = stream
    installed.execute("DELETE FROM shadow_vec_docs WHERE id = '2'")
    wanted: set[RowKey] = {DocKey("a", "1"), DocKey("a", "2"), DatasetKey("b"), DatasetKey("gone")}
    for key in wanted:
        stream.ask("shadow_vec_docs", key, greatest)
    before = len(follower.log)
    put(installed, "a", "1", content="new")
    follower.to_head()
    again = [change for change in follower.log[before:] if change.key in wanted and change.order.ordinal == 0]
    assert {change.key: change.op for change in again if not isinstance(change, Floor)} == {
        DocKey("a", "1"): Op.READ,
        DocKey("a", "2"): Op.DELETE,
        DatasetKey("b"): Op.READ,
        DatasetKey("gone"): Op.DELETE,
    }
    later = [change.order for change in follower.log[before:] if change not in again]
    assert greatest < min(change.order for change in again)
    assert max(change.order for change in again) < min(later)
    assert follower.state() == source_state(installed)


def test_late_and_lost_transactions_at_random(sql_database: SqlDatabase, follow: Follow) -> None:
    """Sessions hold their transactions open while others commit greater numbers; the reader dies in between, its last
    positions unrecorded."""
    source = Late(sql_database)
    follower = follow(sql_database, late_commit_window_s=300)
    rng, stop = random.Random(5), threading.Event()
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            mine = random.Random(seed)
            session = source.session()
            while not stop.is_set():
                try:
                    for _ in range(mine.randrange(1, 4)):
                        content = mine.choice([f"{mine.random()}"] * 4 + [None])
                        source.write(session, mine.choice("ab"), str(mine.randrange(12)), content)
                        stop.wait(mine.choice([0, 0, 0.01, 0.1]))
                    if mine.random() < 0.25:
                        session.rollback()
                    else:
                        session.commit()
                except pymysql.err.MySQLError as error:
                    if error.args[0] not in RETRY:
                        raise
                    session.rollback()
            session.rollback()
            session.close()
        except BaseException as error:
            failures.append(error)

    sessions = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(6)]
    for session in sessions:
        session.start()
    end, positions = time.monotonic() + 4, [follower.position]
    while time.monotonic() < end or len(follower.log) < 400:
        if follower.step(0.05) is not None:
            positions.append(follower.position)
        if rng.random() < 0.05:
            number = follower.position.dataset_log_seq
            recorded = rng.choice([p for p in positions if p.dataset_log_seq == number])
            follower.again(recorded)
            positions = [follower.position]
    stop.set()
    for session in sessions:
        session.join(90)
    assert not failures, failures
    deadline = time.monotonic() + 90
    follower.to_head()
    while follower.state() != source_state(sql_database):
        assert time.monotonic() < deadline, "something was lost"
        follower.step()
    assert len({change.order for change in follower.log}) > 100


def test_a_random_workload(sql_database: SqlDatabase, primary_key: PrimaryKey, follow: Follow) -> None:
    create_tables(sql_database, primary_key)
    install(source_of(sql_database))
    create_datasets(sql_database.server, sql_database.name)

    writers = threading.Thread(
        target=run_sessions,
        args=(sql_database.server, sql_database.name),
        kwargs={"changes": 600, "sessions": 4, "seed": 3, "id_only": primary_key == "id", "kind": Untruncated},
        daemon=True,
    )
    writers.start()
    time.sleep(0.5)
    follower = follow(sql_database, late_commit_window_s=0)  # behind these triggers nothing is late
    rng = random.Random(1)
    while writers.is_alive():
        follower.step(0.05)
        if rng.random() < 0.03:
            follower.again()
    writers.join()
    follower.to_head()
    assert follower.position.snapshot_done
    found, expected = follower.state(), source_state(sql_database)
    assert found.keys() == expected.keys()
    assert found == expected
    assert {c.source.table for c in follower.log if isinstance(c, Floor)} == {"shadow_vec_docs"}
