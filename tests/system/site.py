"""One installation of the connector for a test: a directory with a configuration, and `vecsync` run in it as a person
would, with its output, its errors and its exit code."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from connector import cli
from tests.servers.model import KafkaServer, SqlDatabase
from tests.system.processes import COMMAND, END_S, Service, environment, write_config

Sections = Mapping[str, Mapping[str, Any]]


class Site:
    """sections: the configuration. secret: the source's password; secrets: what else is given by environment, by
    variable. No output may ever show either."""

    def __init__(
        self,
        directory: Path,
        sections: Sections,
        secret: str | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.secrets = dict(secrets or {}) | ({} if secret is None else {"VECSYNC_SOURCE__PASSWORD": secret})
        self.sections = {name: dict(section) for name, section in sections.items()}
        self.config = write_config(directory / "vecsync.yaml", self.sections)
        self.env = environment(**self.secrets)
        self.printed: list[str] = []  # by every run so far
        self.replica = Path(self.sections.get("replica", {}).get("path", directory / "replica.db"))

    def change(self, **sections: Mapping[str, Any]) -> None:
        """Edits the configuration."""
        for name, section in sections.items():
            self.sections.setdefault(name, {}).update(section)
        write_config(self.config, self.sections)

    def run(self, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, which must have that exit code."""
        done = subprocess.run(
            [*COMMAND, "--config", str(self.config), *arguments],
            env={**self.env, **variables}, cwd=self.directory, capture_output=True, text=True, timeout=END_S,
            check=False,
        )  # fmt: skip
        return self._checked(arguments, code, done)

    def _checked(
        self, arguments: tuple[str, ...], code: int, done: subprocess.CompletedProcess[str]
    ) -> subprocess.CompletedProcess[str]:
        printed = done.stdout + done.stderr
        self.printed.append(printed)
        assert done.returncode == code, (
            f"vecsync {' '.join(arguments)} ended with {done.returncode}:\n{printed[-4000:]}"
        )
        assert "Traceback" not in done.stderr or "--debug" in arguments
        assert not [secret for secret in self.secrets.values() if secret in printed]
        return done

    def refused(self, *arguments: str, code: int, **variables: str) -> str:
        """Runs a command that must fail with that code; returns the error and hint, the last things it printed."""
        errors = self.run(*arguments, code=code, **variables).stderr
        assert "error: " in errors, errors
        said = errors[errors.rindex("error: ") :]
        assert "\nhint: " in said, errors
        return said

    def capture(self) -> None:
        self.run("capture", "run", "--until-current")

    def apply(self) -> None:
        self.run("replica", "run", "--until-current")

    def events(self, *arguments: str) -> list[dict[str, Any]]:
        """Everything on a topic, oldest first per dataset."""
        shown = self.run("topics", "tail", "--from", "beginning", "--until-current", "--json", *arguments).stdout
        return [json.loads(line) for line in shown.splitlines()]

    def ids(self, *arguments: str) -> list[str]:
        """Documents on the data topic, by the order of their events."""
        return [event["key"]["id"] for event in self.events(*arguments) if "id" in event["key"]]

    def search(self, *arguments: str) -> list[str]:
        """Ids of what a search finds, best first."""
        found = json.loads(self.run("replica", "search", "--json", *arguments).stdout)
        return [hit["id"] for hit in found["hits"]]

    @contextmanager
    def service(self, *arguments: str) -> Iterator[Service]:
        """A `vecsync` that runs meanwhile, and is gone afterwards."""
        log = self.directory / f"{'-'.join(arguments)}.log"
        running = Service(*arguments, config=self.config, env=self.env, log=log)
        running.start()
        try:
            yield running
        finally:
            running.end()


class SiteHere(Site):
    """Runs its commands in this process, which takes a tenth of the time; for tests of many short ones."""

    def run(self, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        command = ["--config", str(self.config), *arguments]
        stdout, stderr, logs = StringIO(), StringIO(), logging.getLogger().handlers[:]
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
            for name in os.environ.keys() - self.env.keys():
                patch.delenv(name)
            for name, value in {**self.env, **variables}.items():
                patch.setenv(name, value)
            patch.setattr("sys.stdin", StringIO())
            patch.chdir(self.directory)
            ended = cli.run(command)
        logging.getLogger().handlers[:] = logs
        return self._checked(
            arguments, code, subprocess.CompletedProcess(command, ended, stdout.getvalue(), stderr.getvalue())
        )


def embedded_log(directory: Path, partitions: int = 3) -> Sections:
    """A log without any server."""
    return {
        "broker": {"kind": "embedded", "path": str(directory / "events.db")},
        "topics": {"partitions": partitions},
    }


def kafka_log(kafka: KafkaServer, prefix: str, partitions: int = 3) -> Sections:
    return {
        "broker": {"kind": "kafka", "bootstrap_servers": kafka.bootstrap_servers},
        "topics": {"prefix": prefix, "partitions": partitions},
        "publish": {"takeover_wait_s": 0.5, "position_interval_s": 0.3},
        "replica": {"group": prefix},
    }


def sql_source(database: SqlDatabase, **more: Any) -> Sections:
    return {"source": {"kind": "mysql", "url": database.url, "heartbeat_s": 1, "reconnect_max_s": 2, **more}}
