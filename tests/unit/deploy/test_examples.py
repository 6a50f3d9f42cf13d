"""What stands in deploy/ and compose.yaml is what the program and the tools understand. Starts nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.settings import load
from tests.servers import containers_kafka, containers_sql

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "deploy/examples").glob("*.yaml"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


def settings_of(service: str) -> dict[str, str]:
    environment: dict[str, str] = COMPOSE["services"][service].get("environment", {})
    return {name: str(value) for name, value in environment.items() if name.startswith("VECSYNC_")}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_are_configurations(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(file).model_fields_set == set(yaml.safe_load(file.read_text()))


def test_there_are_examples() -> None:
    assert {file.stem for file in EXAMPLES} >= {"capture", "replica", "embedded"}


@pytest.mark.parametrize("service", [name for name in COMPOSE["services"] if settings_of(name)])
def test_compose_sets_what_the_program_knows(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in settings_of(service).items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.broker.bootstrap_servers == "kafka:9092"
    # Each replica's own, or it would get only its share of the partitions.
    if service.startswith("replica-"):
        assert service == f"replica-{settings.replica.group}"
        assert settings.replica.group in settings.replica.datasets


def test_every_long_running_service_has_a_health_check_and_a_stop_time() -> None:
    for name, service in COMPOSE["services"].items():
        if service.get("restart"):
            assert service["healthcheck"]["test"], name
            assert service["stop_grace_period"], name
        else:
            completed = {"condition": "service_completed_successfully"}
            waiting = [other for other in COMPOSE["services"].values() if other.get("depends_on", {}).get(name)]
            assert waiting, f"nothing waits for {name}"
            assert all(other["depends_on"][name] == completed for other in waiting)


def test_no_password_has_a_default() -> None:
    text = (ROOT / "compose.yaml").read_text()
    passwords = re.findall(r"\$\{(\w*PASSWORD\w*)([^}]*)\}", text)
    assert passwords
    assert all(rest.startswith(":?") for _, rest in passwords)
    wanted = {name for name, _ in passwords}
    example = (ROOT / "deploy/examples/compose.env").read_text()
    assert wanted <= set(re.findall(r"^(\w+)=", example, re.MULTILINE))


def test_every_tool_means_the_same_images() -> None:
    """What compose.yaml names is what the stand-ins are called, and what the tests run on."""
    named = {service["image"] for service in COMPOSE["services"].values() if not service["image"].startswith("$")}
    tools = (ROOT / "tools/images.sh").read_text()
    assert named == {containers_sql.IMAGES["mysql"], containers_kafka.IMAGE}
    for image in {*named, containers_sql.IMAGES["mariadb"], "debian:bookworm-slim"}:
        assert re.search(rf"={re.escape(image)}\b", tools), image
    assert "ARG BASE=debian:bookworm-slim" in (ROOT / "deploy/Dockerfile").read_text()
