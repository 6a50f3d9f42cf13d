"""A source that cannot be reached or is not set up right: a clear error, a hint, the documented exit code, no loss."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.fix_provider import server_needed
from tests.servers.fix_sql import fresh_database
from tests.servers.model import KafkaServer, Provider, SqlDatabase, SqlKind, SqlServer
from tests.system.schema import create_tables
from tests.system.site import Site, embedded_log, kafka_log, sql_source

FORMAT = "binlog_format"
IMAGE = "binlog_row_image"
DROP_LOGS: dict[SqlKind, str] = {"mariadb": "RESET MASTER", "mysql": "RESET BINARY LOGS AND GTIDS"}


@pytest.fixture
def site(sql_database: SqlDatabase, tmp_path: Path) -> Site:
    """The run's servers, with tables, a dataset and the embedded log."""
    return site_on(sql_database, tmp_path)


def site_on(database: SqlDatabase, directory: Path) -> Site:
    create_tables(database)
    database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    return Site(directory, {**sql_source(database), **embedded_log(directory)}, database.server.password)


@pytest.fixture(scope="module")
def own_mariadb(provider: Provider) -> Iterator[SqlServer]:
    yield from _own(provider, "mariadb")


@pytest.fixture(scope="module")
def own_mysql(provider: Provider) -> Iterator[SqlServer]:
    yield from _own(provider, "mysql")


def _own(provider: Provider, kind: SqlKind) -> Iterator[SqlServer]:
    with ExitStack() as ending:
        with server_needed():
            server = ending.enter_context(provider.sql(kind))
        yield server


@pytest.fixture(params=["mariadb", "mysql"])
def own_database(request: pytest.FixtureRequest) -> Iterator[SqlDatabase]:
    """On a server whose settings and logs these tests may spoil; its settings are mended after each."""
    server: SqlServer = request.getfixturevalue(f"own_{request.param}")
    with fresh_database(server) as database:
        yield database
        server.query(f"SET GLOBAL {FORMAT} = 'ROW'")
        server.query(f"SET GLOBAL {IMAGE} = 'FULL'")


def put(database: SqlDatabase, *ids: str, content: str = "text") -> None:
    database.execute(
        *(f"INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d', '{id}', '{content}')" for id in ids)
    )


def test_a_wrong_password(site: Site) -> None:
    for command in (["capture", "run"], ["source", "check"], ["docs", "show", "-d", "d", "--id", "x"]):
        said = site.refused(*command, code=6, VECSYNC_SOURCE__PASSWORD="not-the-word")
        assert "Access denied" in said
        assert "VECSYNC_SOURCE__PASSWORD" in said
        assert "not-the-word" not in said


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    """Port 1 is nobody's."""
    source = {"kind": "mysql", "url": "mysql://nobody@127.0.0.1:1/app", "connect_timeout_s": 2, "reconnect_max_s": 1}
    site = Site(tmp_path, {"source": source, **embedded_log(tmp_path)}, "secret-word")
    for command in (["capture", "run"], ["source", "check"], ["source", "install"]):
        said = site.refused(*command, code=6)
        assert "127.0.0.1" in said
        assert "server is running" in said
    assert not (tmp_path / "events.db").exists() or not site.ids()


def test_a_host_that_does_not_exist(tmp_path: Path) -> None:
    source = {"kind": "mysql", "url": "mysql://nobody@host.invalid/app", "connect_timeout_s": 2, "reconnect_max_s": 1}
    said = Site(tmp_path, {"source": source, **embedded_log(tmp_path)}).refused("capture", "run", code=6)
    assert "host.invalid" in said


def test_a_broker_that_is_not_there(mariadb_database: SqlDatabase, tmp_path: Path) -> None:
    create_tables(mariadb_database)
    sections = {
        **sql_source(mariadb_database),
        **kafka_log(KafkaServer("127.0.0.1:1", ()), "nobody"),
    }
    site = Site(tmp_path, sections, mariadb_database.server.password)
    for command in (["capture", "run"], ["replica", "run"]):
        assert "bootstrap_servers" in site.refused(*command, code=6)


@pytest.mark.parametrize(("name", "value"), [(FORMAT, "STATEMENT"), (IMAGE, "MINIMAL")])
def test_a_server_that_logs_too_little_is_refused_at_the_start(
    own_database: SqlDatabase, tmp_path: Path, name: str, value: str
) -> None:
    site = site_on(own_database, tmp_path)
    put(own_database, "before")
    own_database.server.query(f"SET GLOBAL {name} = '{value}'")
    said = site.refused("capture", "run", code=4)
    assert f"{name} is {value}" in said
    mend = "SET PERSIST" if own_database.server.kind == "mysql" else "SET GLOBAL"
    statement = f"{mend} {name} = '{'ROW' if name == FORMAT else 'FULL'}'"
    assert statement in said
    checked = site.run("source", "check", code=4)
    assert statement in checked.stdout
    own_database.server.query(statement)
    put(own_database, "after")
    site.capture()
    assert sorted(site.ids()) == ["after", "before"]


@pytest.mark.parametrize(("name", "value"), [(FORMAT, "STATEMENT"), (IMAGE, "MINIMAL")])
def test_a_session_that_logs_too_little_is_caught_in_the_stream(
    own_database: SqlDatabase, tmp_path: Path, name: str, value: str
) -> None:
    site = site_on(own_database, tmp_path)
    put(own_database, "a")
    site.capture()
    put(own_database, "b")
    own_database.execute(
        f"SET SESSION {name} = '{value}'", "UPDATE shadow_vec_docs SET content = 'changed' WHERE id = 'a'"
    )
    put(own_database, "c")
    for _ in range(2):  # trying again changes nothing
        said = site.refused("capture", "run", code=7)
        assert name in said or "statement" in said
        assert site.ids() == ["a", "b"]


def test_an_unknown_key_in_the_file(tmp_path: Path) -> None:
    site = Site(tmp_path, {"source": {"kind": "sqlite", "url": "sqlite:///up.db", "pasword": "x"}})
    said = site.refused("config", "check", code=3)
    assert "source.pasword" in said
    assert "source.pasword" in site.refused("capture", "run", code=3)
    (tmp_path / "vecsync.yaml").write_text("source: [this is no section\n")
    assert "vecsync.yaml" in site.refused("config", "check", code=3)


def test_an_unknown_key_in_the_environment(tmp_path: Path) -> None:
    site = Site(tmp_path, {"source": {"kind": "sqlite", "url": "sqlite:///up.db"}})
    for name in ("VECSYNC_SOURCE__PASWORD", "VECSYNC_SAUCE__URL", "VECSYNC_PREFIX"):
        said = site.refused("config", "check", code=3, **{name: "x"})
        assert name.removeprefix("VECSYNC_").split("__")[-1].lower() in said.lower()
    assert "topics.partitions" in site.refused("config", "check", code=3, VECSYNC_TOPICS__PARTITIONS="many")
    said = site.refused("capture", "run", code=3, VECSYNC_SOURCE__URL="mysql://u:secret-word@h/x")
    assert "VECSYNC_SOURCE__PASSWORD" in said
    assert "secret-word" not in said


def test_a_log_that_was_purged(own_database: SqlDatabase, tmp_path: Path) -> None:
    site = site_on(own_database, tmp_path)
    put(own_database, "a")
    site.capture()
    put(own_database, "b")
    server = own_database.server
    server.query("FLUSH BINARY LOGS")
    newest = server.query("SHOW BINARY LOGS")[-1][0]
    while server.query("SHOW BINARY LOGS")[0][0] != newest:  # files that somebody reads are passed over
        server.query(f"PURGE BINARY LOGS TO '{newest}'")
        time.sleep(0.1)
    said = site.refused("capture", "run", code=7)
    assert "no longer has" in said
    assert "snapshot" in said
    assert site.ids() == ["a"]


@pytest.mark.parametrize("then", ["less", "the same", "more"])
def test_a_log_that_was_reset(own_database: SqlDatabase, tmp_path: Path, then: str) -> None:
    """Whatever was written since: after the same statements the recorded file, position and GTIDs exist again."""
    server = own_database.server
    create_tables(own_database)
    own_database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    site = Site(tmp_path, {**sql_source(own_database), **embedded_log(tmp_path)}, server.password)
    server.query(DROP_LOGS[server.kind])
    put(own_database, "a", "b")
    site.capture()
    time.sleep(1.1)  # a log tells when it was begun in whole seconds
    server.query(DROP_LOGS[server.kind])
    for id in {"less": "c", "the same": "cd", "more": "cdef"}[then]:
        put(own_database, id)
    said = site.refused("capture", "run", code=7)
    assert "reset" in said or "no longer has" in said
    assert "snapshot" in said
    assert sorted(site.ids()) == ["a", "b"]


def test_two_readers_with_one_server_id(sql_database: SqlDatabase, tmp_path: Path) -> None:
    create_tables(sql_database)
    sql_database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    sites = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        source = sql_source(sql_database, server_id=4_000_000_000 + os.getpid() % 1000, reconnect_max_s=10)
        sites.append(Site(tmp_path / name, {**source, **embedded_log(tmp_path / name)}, sql_database.server.password))
    first, second = sites
    with first.service("capture", "run") as one:
        put(sql_database, "a")
        wait_for(one, "topic created")
        deadline = time.monotonic() + 60
        while first.ids() != ["a"]:  # it reads the log by then
            one.check()
            assert time.monotonic() < deadline
        with second.service("capture", "run") as two:
            assert one.process is not None
            assert one.process.wait(60) == 7
            assert "source.server_id" in one.tail()
            two.check()
            two.stop()


def wait_for(service: object, text: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while text not in service.log.read_text():  # type: ignore[attr-defined]
        service.check()  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, service.tail()  # type: ignore[attr-defined]
        time.sleep(0.1)
