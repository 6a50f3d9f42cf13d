"""compose.yaml, up: what a test can do to it. By the commands that users have, on ports and passwords of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.servers.ports import HOST, claimed_ports

ROOT = Path(__file__).parents[2]
IMAGE = "vecsync-connector:test"
# Set by tools/engine.sh for its own engine, which has the classic builder, and no way out but this machine's network.
OURS = bool(os.environ.get("CONTAINER_ENGINE_IS_OURS"))


class Stack:
    """A project of its own, so several can be up side by side."""

    def __init__(self, directory: Path, ports: Mapping[str, int]) -> None:
        self.project = f"vecsync-test-{secrets.token_hex(4)}"
        self.ports = ports
        names = ["MYSQL_ROOT_PASSWORD", "INSTALL_PASSWORD", "CAPTURE_PASSWORD", "INGEST_PASSWORD"]
        self.passwords = {name: secrets.token_hex(12) for name in names}
        self._environment = directory / "compose.env"
        values = self.passwords | {name: str(port) for name, port in ports.items()} | {"CONNECTOR_IMAGE": IMAGE}
        self._environment.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def compose(self, *arguments: str, check: bool = True) -> str:
        options = ["--env-file", str(self._environment), "--project-name", self.project]
        return run([*compose_command(), *options, *arguments], check=check)

    def container(self, service: str) -> str:
        """Its id, also when it does not run."""
        label = f"label=com.docker.compose.project={self.project}"
        name = f"label=com.docker.compose.service={service}"
        (found,) = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label, "--filter", name).split()
        return found

    def state(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", self.container(service)))
        return found

    def vecsync(self, service: str, *arguments: str) -> str:
        return docker("exec", self.container(service), "vecsync", *arguments)

    def rows(self, service: str, sql: str) -> list[dict[str, Any]]:
        """Of the replica that the service keeps."""
        return [json.loads(line) for line in self.vecsync(service, "replica", "sql", sql, "--json").splitlines()]

    def mysql(self, user: str, password: str) -> pymysql.Connection[Any]:
        return pymysql.connect(
            host=HOST, port=self.ports["MYSQL_PORT"], user=user, password=self.passwords[password], database="app",
            charset="utf8mb4", autocommit=True,
        )  # fmt: skip

    def kill(self, service: str) -> None:
        """SIGKILL its process, as a crash would. (`docker kill` counts as wanted, and nothing would be restarted.)"""
        pid = int(self.state(service)["Pid"])
        docker("run", "--rm", "--network", "none", "--pid", "host", "--user", "0", "--entrypoint", "sh", IMAGE,
               "-c", f"kill -KILL {pid}")  # fmt: skip

    def wait_healthy(self, *services: str, seconds: float = 120) -> None:
        for service in services:
            eventually(
                lambda service=service: self.state(service).get("Health", {}).get("Status") == "healthy",  # type: ignore[misc]
                f"{service} is not healthy",
                seconds,
            )


def eventually(done: Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"{otherwise} after {seconds:g} s")
        time.sleep(0.5)


@contextmanager
def up(directory: Path) -> Iterator[Stack]:
    """Everything started and set up once; removed with its volumes at the end."""
    with claimed_ports(2) as (mysql, kafka):
        stack = Stack(directory, {"MYSQL_PORT": mysql, "KAFKA_PORT": kafka})
        try:
            stack.compose("up", "--detach", "--no-build")
            yield stack
        finally:
            # pytest shows this when a test failed.
            print(stack.compose("ps", check=False))
            print(stack.compose("logs", "--no-color", "--tail", "60", check=False))
            stack.compose("down", "--volumes", "--timeout", "20")


def build_image() -> None:
    """The present sources. The first stage gets a name too, so that its layers are kept for the next time."""
    options = ["--network", "host"] if OURS else []
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        if os.environ.get(name):
            options += ["--build-arg", name]
    build = ["build", "--quiet", *options, "--file", "deploy/Dockerfile"]
    docker(*build, "--target", "build", "--tag", f"{IMAGE}-build", ".")
    docker(*build, "--tag", IMAGE, ".")


def compose_command() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        pytest.fail("there is neither `docker compose` nor `docker-compose`: install one")
    return ["docker-compose"]


def docker(*arguments: str) -> str:
    return run(["docker", *arguments])


def run(command: list[str], *, check: bool = True) -> str:
    """Its output, without the line's end. A failure shows both outputs."""
    environment = os.environ | ({"DOCKER_BUILDKIT": "0"} if OURS else {})
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()
