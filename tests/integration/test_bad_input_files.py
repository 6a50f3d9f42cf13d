"""Replica files and disks that do not serve, topics that are not the recorded ones, and requests to end."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.servers.model import KafkaServer, SqlDatabase
from tests.system.compare import derived_structures_agree
from tests.system.processes import COMMAND, Service
from tests.system.schema import create_tables
from tests.system.site import Site, embedded_log, kafka_log, sql_source

TEXT = "heron " * 2000


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A SQLite source with three documents, published to the embedded log."""
    made = Site(
        tmp_path,
        {
            "source": {"kind": "sqlite", "url": "sqlite:///upstream.db", "poll_interval_s": 0.05},
            **embedded_log(tmp_path),
            "replica": {"path": str(tmp_path / "replica.db"), "batch_records": 50},
        },
    )
    made.run("source", "install")
    write(made, 3)
    made.capture()
    return made


def write(site: Site, documents: int, content: str = "heron") -> None:
    connection = apsw.Connection(str(site.directory / "upstream.db"))
    connection.set_busy_timeout(10_000)
    with connection:
        connection.execute("INSERT OR IGNORE INTO vec_dataset (dataset_id) VALUES ('d')")
        connection.cursor().executemany(
            "INSERT OR REPLACE INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d', ?, ?)",
            [(str(number), f"{content} {number}") for number in range(documents)],
        )
    connection.close()


def documents(replica: Path) -> int:
    connection = apsw.Connection(str(replica), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.execute("SELECT count(*) FROM replica_document").get)
    finally:
        connection.close()


def wait_until_logged(service: Service, text: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while text not in service.log.read_text(errors="replace"):
        service.check()
        assert time.monotonic() < deadline, service.tail()
        time.sleep(0.05)


def test_a_second_writer_is_refused(site: Site) -> None:
    with site.service("replica", "run") as writer:
        wait_until_logged(writer, '"ready"')
        said = site.refused("replica", "run", code=7)
        assert "has a writer already" in said
        assert writer.process is not None
        assert str(writer.process.pid) in said
        assert len(site.search("heron", "--mode", "text")) == 3, "readers are welcome"
        writer.kill()
    site.apply()  # the lock went with its holder


@pytest.mark.parametrize("kind", ["another database", "text", "a directory"])
def test_a_file_that_is_something_else_is_left_alone(site: Site, kind: str) -> None:
    path = site.replica
    if kind == "another database":
        with apsw.Connection(str(path)) as other:
            other.execute("CREATE TABLE precious (x)")
    elif kind == "text":
        path.write_text("precious\n" * 1000)
    else:
        path.mkdir()
    before = path.read_bytes() if path.is_file() else b""
    for command in (["replica", "run", "--until-current"], ["replica", "search", "heron"]):
        said = site.refused(*command, code=7)
        assert "replica.db" in said
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_replica_of_a_newer_program(site: Site) -> None:
    site.apply()
    with apsw.Connection(str(site.replica)) as connection:
        connection.pragma("user_version", 99)
    said = site.refused("replica", "run", code=7)
    assert "version 99" in said


def test_other_datasets_than_the_file_was_made_for(site: Site) -> None:
    site.apply()
    site.change(replica={"datasets": ["other*"]})
    assert "replay" in site.refused("replica", "run", "--until-current", code=7)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    _mount("-t", "tmpfs", "-o", "size=6m", "none", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")


def test_a_directory_that_cannot_be_written(site: Site, small_disk: Path) -> None:
    _mount("-o", "remount,ro", str(small_disk))
    site.change(replica={"path": str(small_disk / "replica.db")})
    said = site.refused("replica", "run", code=7)
    assert str(small_disk) in said
    assert "permissions" in said
    _mount("-o", "remount,rw", str(small_disk))
    site.apply()
    assert documents(small_disk / "replica.db") == 3


def test_a_full_disk_under_a_replica(site: Site, small_disk: Path) -> None:
    site.change(replica={"path": str(small_disk / "replica.db")})
    site.apply()
    write(site, 2000, TEXT)
    site.capture()
    said = site.refused("replica", "run", code=7)
    assert "no space" in said
    assert "Free space" in said
    had = documents(small_disk / "replica.db")
    assert 3 <= had < 2000
    _mount("-o", "remount,size=200m", str(small_disk))
    site.apply()
    assert documents(small_disk / "replica.db") == 2000
    derived_structures_agree(small_disk / "replica.db")


def test_a_full_disk_under_the_log(site: Site, small_disk: Path) -> None:
    site.change(broker={"path": str(small_disk / "events.db")}, source={"reconnect_max_s": 1})
    write(site, 2000, TEXT)
    said = site.refused("capture", "run", code=6)
    assert "full" in said or "space" in said
    _mount("-o", "remount,size=400m", str(small_disk))
    site.capture()
    ids = site.ids()
    assert sorted(ids) == sorted(str(number) for number in range(2000)), "nothing lost, nothing twice"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_replica_that_fills_ends_in_order(site: Site, number: signal.Signals) -> None:
    write(site, 4000, "heron " * 50)
    site.capture()
    with site.service("replica", "run") as filling:
        wait_until_logged(filling, "replica starts")
        deadline = time.monotonic() + 60
        while not site.replica.exists() or not documents(site.replica):
            filling.check()
            assert time.monotonic() < deadline
        assert filling.process is not None
        filling.process.send_signal(number)
        assert filling.process.wait(120) == 0, filling.tail()
        assert "Traceback" not in filling.tail()
    derived_structures_agree(site.replica)
    site.apply()
    assert documents(site.replica) == 4000


def test_ctrl_c_in_an_ingest(site: Site) -> None:
    texts = site.directory / "texts"
    texts.mkdir()
    for number in range(4000):  # more than is written before the signal comes, however busy the machine
        (texts / f"{number}.txt").write_text(f"heron {number}\n\n" + "wading bird " * 200)
    site.change(ingest={"batch_rows": 5})
    command = [*COMMAND, "--config", str(site.config), "ingest", "texts", "--dataset", "birds"]
    with subprocess.Popen(
        command, env=site.env, cwd=site.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ingesting:
        connection = apsw.Connection(str(site.directory / "upstream.db"), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(10_000)
        count = "SELECT count(*) FROM shadow_vec_docs WHERE dataset_id = 'birds'"
        deadline = time.monotonic() + 60
        while not connection.execute(count).get:
            assert ingesting.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ingesting.send_signal(signal.SIGINT)
        _, errors = ingesting.communicate(timeout=120)
        assert ingesting.returncode == 130, errors
        assert "interrupted" in errors
        assert "Traceback" not in errors
        ids = [id for (id,) in connection.execute("SELECT id FROM shadow_vec_docs WHERE dataset_id = 'birds'")]
        connection.close()
    began = {id.rpartition("#")[0] for id in ids}
    for file in [file for file in texts.iterdir() if file.name not in began][1:]:
        file.unlink()
    done = json.loads(site.run("ingest", "texts", "--dataset", "birds", "--json").stdout)
    assert done["unchanged"] == len(ids)
    assert done["new"] > 0


def on_kafka(database: SqlDatabase, kafka: KafkaServer, prefix: str, directory: Path) -> Site:
    create_tables(database)
    database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    insert(database, "1", "2", "3")
    return Site(directory, {**sql_source(database), **kafka_log(kafka, prefix)}, database.server.password)


def insert(database: SqlDatabase, *ids: str) -> None:
    database.execute(
        *(f"INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d', '{id}', 'heron')" for id in ids)
    )


def make_again(kafka: KafkaServer, topic: str, partitions: int = 3) -> None:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in admin.delete_topics([topic]).values():
        future.result(30)
    deadline = time.monotonic() + 90
    while topic in admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    if partitions:
        config = {"cleanup.policy": "compact"}
        for future in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
            future.result(30)


@pytest.mark.parametrize("again", [True, False], ids=["made again", "missing"])
def test_a_topic_that_is_not_the_one_it_was(
    mariadb_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path, again: bool
) -> None:
    site = on_kafka(mariadb_database, kafka_server, topic_prefix, tmp_path)
    site.capture()
    site.apply()
    topic = f"{topic_prefix}.{mariadb_database.name}.shadow_vec_docs"
    make_again(kafka_server, topic, 3 if again else 0)
    insert(mariadb_database, "4")
    said = site.refused("replica", "run", code=7)
    assert topic in said
    assert "replay" in said
    said = site.refused("capture", "run", code=7)
    assert topic in said
    assert "made again" in said or "was made anew" in said
    assert "snapshot" in said
    assert documents(site.replica) == 3


def test_another_number_of_partitions(
    mariadb_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    site = on_kafka(mariadb_database, kafka_server, topic_prefix, tmp_path)
    site.capture()
    site.change(topics={"partitions": 5})
    for command in (["capture", "run"], ["topics", "create"]):
        said = site.refused(*command, code=3)
        assert "has 3 partitions, the configuration says 5" in said
        assert "Set topics.partitions to 3" in said
    site.change(topics={"partitions": 3})
    site.capture()
