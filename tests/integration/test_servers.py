"""The test servers themselves: they answer, keep their data, can be killed, and are set as tests rely on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pymysql
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.servers.fix_kafka import StartKafka
from tests.servers.fix_sql import StartSqlServer
from tests.servers.model import KafkaServer, Lifecycle, ServerFailed, SqlDatabase, SqlKind, SqlServer
from tests.servers.programs import kcat, sql_programs

KINDS: list[SqlKind] = ["mariadb", "mysql"]

EVERYWHERE = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "character_set_server": "utf8mb4",
}
PROMISED: dict[SqlKind, dict[str, str]] = {
    "mariadb": EVERYWHERE | {"gtid_strict_mode": "ON", "gtid_domain_id": "0"},
    "mysql": EVERYWHERE | {"gtid_mode": "ON", "enforce_gtid_consistency": "ON"},
}


def is_running(process: Lifecycle) -> bool:
    return process.pid is not None


def variables(server: SqlServer) -> dict[str, str]:
    return dict(server.query("SHOW GLOBAL VARIABLES"))


def test_binlog_settings_are_as_promised(sql_server: SqlServer) -> None:
    found = variables(sql_server)
    promised = PROMISED[sql_server.kind]
    assert {name: found[name].upper() for name in promised} == {n: v.upper() for n, v in promised.items()}
    assert int(found["server_id"]) > 1


def test_servers_listen_on_loopback_only(sql_server: SqlServer, kafka_server: KafkaServer) -> None:
    """This machine's other addresses lead to none of them."""
    others = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    }
    for address in others:
        for port in (sql_server.port, int(kafka_server.bootstrap_servers.rpartition(":")[2])):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=5).close()


def test_each_database_is_empty_and_writable(sql_database: SqlDatabase) -> None:
    assert sql_database.query("SHOW TABLES") == []
    sql_database.execute("CREATE TABLE t (a INT PRIMARY KEY, b TEXT)", "INSERT INTO t VALUES (1, '😀'), (2, 'é')")
    assert sql_database.query("SELECT b FROM t WHERE a = %s", [1]) == [("😀",)]


@pytest.mark.parametrize("kind", KINDS)
def test_data_survive_restart_and_kill(kind: SqlKind, start_sql_server: StartSqlServer) -> None:
    server = start_sql_server(kind)
    server.query("CREATE DATABASE kept")
    server.query("CREATE TABLE kept.t (a INT PRIMARY KEY)")
    server.query("INSERT INTO kept.t VALUES (1)")
    first = server.process.pid
    server.restart()
    assert server.process.pid not in (None, first)
    server.query("INSERT INTO kept.t VALUES (2)")
    server.process.kill()
    assert not is_running(server.process)
    with pytest.raises(pymysql.err.OperationalError):
        server.connect()
    server.process.start()
    assert server.query("SELECT a FROM kept.t ORDER BY a") == [(1,), (2,)]


@pytest.mark.parametrize("kind", KINDS)
def test_options_override_defaults_and_servers_run_side_by_side(
    kind: SqlKind, start_sql_server: StartSqlServer, request: pytest.FixtureRequest
) -> None:
    usual: SqlServer = request.getfixturevalue(f"{kind}_server")
    other = start_sql_server(kind, {"binlog_row_image": "MINIMAL", "binlog_row_metadata": None})
    assert usual.port != other.port
    assert variables(usual)["binlog_row_image"] == "FULL"
    assert variables(other)["binlog_row_image"] == "MINIMAL"
    assert variables(other)["binlog_row_metadata"] != "FULL"


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_start_shows_the_log(kind: SqlKind, start_sql_server: StartSqlServer) -> None:
    with pytest.raises(ServerFailed, match=r"(?s)ended with code.*End of its log.*no[-_]such[-_]option"):
        start_sql_server(kind, {"no_such_option": 1})


def test_a_paused_server_answers_nothing_until_resumed(start_sql_server: StartSqlServer) -> None:
    server = start_sql_server("mariadb")
    server.process.pause()
    with pytest.raises(pymysql.err.OperationalError):
        server.connect(connect_timeout=1, read_timeout=1)
    server.process.resume()
    assert server.query("SELECT 1") == [(1,)]
    server.process.pause()
    server.process.stop()
    assert not is_running(server.process)


def test_mysql_users_with_caching_sha2_password(mysql_database: SqlDatabase) -> None:
    user = mysql_database.name
    mysql_database.execute(
        f"CREATE USER {user}@'%' IDENTIFIED WITH caching_sha2_password BY 'secret'",
        f"GRANT SELECT ON {user}.* TO {user}@'%'",
        "FLUSH PRIVILEGES",  # The cache of passwords is cold now: PyMySQL has to use the server's RSA key.
    )
    for _ in range(2):
        with mysql_database.connect(user=user, password="secret", ssl_disabled=True) as connection:
            connection.ping(reconnect=False)
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        mysql_database.connect(user=user, password="wrong")
    mysql_database.execute(f"DROP USER {user}@'%'")


def test_binlog_programs_read_the_servers_own_files(sql_database: SqlDatabase) -> None:
    sql_database.execute("CREATE TABLE t (a INT PRIMARY KEY)", "INSERT INTO t VALUES (4711)", "FLUSH BINARY LOGS")
    server = sql_database.server
    names = [row[0] for row in server.query("SHOW BINARY LOGS")]
    program = sql_programs(server.kind).binlog
    files = [str(server.process.directory / "data" / name) for name in names]
    done = subprocess.run([*program, "-v", *files], capture_output=True, check=True)
    out = done.stdout.decode(errors="replace")  # other tests of the run write bytes that are no text
    assert "@1=4711" in out
    assert f"`{sql_database.name}`.`t`" in out


def round_trip(server: KafkaServer, topic: str, value: bytes) -> list[bytes]:
    """Produce one record, then read the topic from its beginning."""
    producer = Producer({"bootstrap.servers": server.bootstrap_servers, "enable.idempotence": True})
    producer.produce(topic, value)
    assert producer.flush(60) == 0
    settings = {"bootstrap.servers": server.bootstrap_servers, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer(settings | {"enable.auto.commit": False, "enable.partition.eof": True})
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error() is not None:
                break
            values.append(message.value() or b"")
    finally:
        consumer.close()
    return values


def create_topic(server: KafkaServer, topic: str, copies: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": server.bootstrap_servers})
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=copies)])[topic].result(30)


def test_kafka_round_trip(kafka_server: KafkaServer, topic_prefix: str) -> None:
    create_topic(kafka_server, topic_prefix)
    assert round_trip(kafka_server, topic_prefix, b"one") == [b"one"]


def test_kafka_makes_no_topic_by_itself(kafka_server: KafkaServer, topic_prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka_server.bootstrap_servers})
    assert topic_prefix not in admin.list_topics(topic_prefix, timeout=10).topics or (
        admin.list_topics(topic_prefix, timeout=10).topics[topic_prefix].error is not None
    )
    assert topic_prefix not in admin.list_topics(timeout=10).topics


def test_kafka_keeps_its_data_through_kill_and_restart(start_kafka: StartKafka, topic_prefix: str) -> None:
    kafka = start_kafka()
    create_topic(kafka, topic_prefix)
    assert round_trip(kafka, topic_prefix, b"one") == [b"one"]
    kafka.kill()
    assert not is_running(kafka.nodes[0])
    kafka.start()
    assert round_trip(kafka, topic_prefix, b"two") == [b"one", b"two"]
    kafka.restart()
    assert round_trip(kafka, topic_prefix, b"three") == [b"one", b"two", b"three"]


def test_three_kafka_nodes_serve_without_one_of_them(start_kafka: StartKafka, topic_prefix: str) -> None:
    kafka = start_kafka(3)
    create_topic(kafka, topic_prefix, copies=3)
    assert round_trip(kafka, topic_prefix, b"one") == [b"one"]
    kafka.nodes[1].kill()
    assert round_trip(kafka, topic_prefix, b"two") == [b"one", b"two"]
    kafka.start()
    assert all(is_running(node) for node in kafka.nodes)


def test_kcat_reads_what_was_produced(kafka_server: KafkaServer, topic_prefix: str) -> None:
    create_topic(kafka_server, topic_prefix)
    assert round_trip(kafka_server, topic_prefix, b"for kcat") == [b"for kcat"]
    command = [kcat(), "-C", "-e", "-q", "-b", kafka_server.bootstrap_servers, "-t", topic_prefix]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "for kcat\n"


def test_no_server_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """A run that is killed has no teardown, yet leaves no server behind."""
    script = (
        "from tests.servers.local import LocalProvider\n"
        "import time\n"
        "with LocalProvider().sql('mariadb') as server:\n"
        "    print(server.process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    try:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        os.kill(pid, 0)
    finally:
        run.kill()
        run.communicate()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"the server, process {pid}, is still there")
