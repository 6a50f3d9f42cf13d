"""The image is built and compose.yaml brought up as users do it: documents travel, and what is killed recovers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import pymysql
import pytest
from confluent_kafka.admin import AdminClient

from tests.containers.compose_stack import IMAGE, Stack, build_image, docker, eventually, up
from tests.servers.model import Provider

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

RUNNING = ("mysql", "kafka", "capture", "replica-handbook", "replica-tickets")
ONCE = ("source-install", "source-grants", "topics")


@pytest.fixture(scope="module")
def image(provider: Provider) -> str:
    """Asks for the provider only because that knows whether there is an engine."""
    build_image()
    return IMAGE


@pytest.fixture(scope="module")
def stack(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with up(tmp_path_factory.mktemp("compose")) as found:
        yield found


def write(stack: Stack, *documents: tuple[str, str, str]) -> None:
    """(dataset, id, text), by the account that applications get."""
    with stack.mysql("vecsync_ingest", "INGEST_PASSWORD") as connection, connection.cursor() as cursor:
        for dataset, id, text in documents:
            cursor.execute("INSERT IGNORE INTO vec_dataset (dataset_id) VALUES (%s)", [dataset])
            cursor.execute(
                "REPLACE INTO shadow_vec_docs (dataset_id, id, content, meta, embedding, embedding_model) "
                "VALUES (%s, %s, %s, '{}', %s, 'three')",
                [dataset, id, text, struct.pack("<3f", 1, 2, 3)],
            )


def texts(stack: Stack, service: str, id: str) -> dict[str, str]:
    """Texts of the documents with that id, by dataset, as the service's replica has them."""
    sql = f"SELECT dataset_id, content FROM shadow_vec_docs WHERE id = '{id}'"
    found = stack.rows(service, sql)
    return {row["dataset_id"]: row["content"] for row in found}


def test_documents_travel_to_the_replicas_that_follow_them(stack: Stack) -> None:
    datasets = ("handbook", "tickets", "shared by both", "neither")
    write(stack, *((dataset, "travels", f"a duck of {dataset}") for dataset in datasets))
    for service, own in (("replica-handbook", "handbook"), ("replica-tickets", "tickets")):
        followed = {own: f"a duck of {own}", "shared by both": "a duck of shared by both"}
        eventually(lambda: texts(stack, service, "travels") == followed, f"{service} has not {followed}")  # noqa: B023
        found = stack.vecsync(service, "replica", "search", "duck", "--mode", "text", "--json")
        assert own in found
        assert "neither" not in found


def test_what_is_killed_comes_back_and_loses_nothing(stack: Stack) -> None:
    stack.wait_healthy("capture", "replica-handbook")
    write(stack, ("handbook", "before", "written before the kill"))
    started = {service: stack.state(service)["StartedAt"] for service in ("capture", "replica-handbook")}
    for service in started:
        stack.kill(service)
    write(stack, ("handbook", "during", "written while nobody listened"))
    for service, at in started.items():
        eventually(
            lambda service=service, at=at: (  # type: ignore[misc]
                stack.state(service)["Running"] and stack.state(service)["StartedAt"] != at
            ),
            f"{service} was not started again",
        )
    stack.wait_healthy(*started)
    for id, text in (("before", "written before the kill"), ("during", "written while nobody listened")):
        eventually(lambda: texts(stack, "replica-handbook", id) == {"handbook": text}, f"{id} is missing")  # noqa: B023


def test_a_stop_is_orderly_and_quick(stack: Stack) -> None:
    stack.wait_healthy("capture", "replica-tickets")
    for service in ("capture", "replica-tickets"):
        stack.compose("stop", service)
        assert stack.state(service)["ExitCode"] == 0, f"{service} did not end by itself"
    write(stack, ("tickets", "stopped", "written while all was stopped"))
    stack.compose("start", "capture", "replica-tickets")
    eventually(lambda: bool(texts(stack, "replica-tickets", "stopped")), "the document is missing")


def test_every_service_is_healthy_or_has_done_its_work(stack: Stack) -> None:
    stack.wait_healthy(*RUNNING)
    for service in ONCE:
        state = stack.state(service)
        assert (state["Status"], state["ExitCode"]) == ("exited", 0), service


def test_ports_are_published_on_loopback_only(stack: Stack) -> None:
    for service in RUNNING:
        ports = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Ports}}", stack.container(service)))
        published = [binding["HostIp"] for bindings in ports.values() for binding in bindings or []]
        assert set(published) <= {"127.0.0.1"}, service
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{stack.ports['KAFKA_PORT']}"})
    assert "vecsync.app.shadow_vec_docs" in admin.list_topics(timeout=20).topics


@pytest.mark.parametrize(
    ("user", "password", "statement"),
    [
        ("vecsync_capture", "CAPTURE_PASSWORD", "DELETE FROM shadow_vec_docs"),
        ("vecsync_capture", "CAPTURE_PASSWORD", "CREATE TABLE t (a INT)"),
        ("vecsync_ingest", "INGEST_PASSWORD", "DROP TABLE shadow_vec_docs"),
        ("vecsync_ingest", "INGEST_PASSWORD", "SHOW BINARY LOG STATUS"),
        ("vecsync_install", "INSTALL_PASSWORD", "CREATE USER u"),
    ],
)
def test_accounts_may_not_do_more_than_they_have_to(stack: Stack, user: str, password: str, statement: str) -> None:
    stack.wait_healthy("capture")
    connection = stack.mysql(user, password)
    with connection, pytest.raises(pymysql.err.OperationalError, match="denied"):
        connection.cursor().execute(statement)


def test_the_image_runs_as_nobody_in_particular_and_brings_no_tools(image: str) -> None:
    look = "id -u; id -g; touch /opt/vecsync/x /etc/x 2>/dev/null && echo writable; ls /opt/vecsync/bin; ls /src /build"
    found = docker(
        "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", f"{{ {look}; }} 2>&1 || true"
    ).splitlines()
    assert found[:2] == ["10001", "10001"]
    assert "vecsync" in found
    assert not {"writable", "pip", "pip3", "hatchling"} & set(found)
    assert sum("No such file" in line for line in found) == 2


def test_the_image_tells_its_version_and_explains_itself(image: str) -> None:
    assert docker("run", "--rm", "--network", "none", image, "--version").startswith("vecsync ")
    assert "capture" in docker("run", "--rm", "--network", "none", image)
