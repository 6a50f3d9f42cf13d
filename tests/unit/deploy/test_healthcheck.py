"""The image's health check asks what suits the process, with that process's own configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HEALTHCHECK = Path(__file__).parents[3] / "deploy/healthcheck"


def asked(arguments: list[str], directory: Path, *, code: int = 0) -> tuple[int, list[str]]:
    """The check's exit code, and the command that it ran, for a process with these arguments."""
    (directory / "cmdline").write_bytes(b"".join(argument.encode() + b"\0" for argument in arguments))
    program = directory / "vecsync"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{directory}/asked\nexit {code}\n')
    program.chmod(0o755)
    done = subprocess.run(
        [str(HEALTHCHECK), str(directory / "cmdline")],
        env=os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    log = directory / "asked"
    return done.returncode, log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["python3", "vecsync", "capture", "run"], ["capture", "status", "--json"]),
        (["python3", "vecsync", "replica", "run"], ["replica", "wait", "--timeout", "5", "--json"]),
        (["tini", "--", "vecsync", "replica", "run", "--json"], ["replica", "wait", "--timeout", "5", "--json"]),
        (
            ["python3", "vecsync", "--config", "/etc/my vecsync.yaml", "capture", "run"],
            ["--config", "/etc/my vecsync.yaml", "capture", "status", "--json"],
        ),
        (
            ["python3", "vecsync", "replica", "run", "--config=/etc/a.yaml"],
            ["--config", "/etc/a.yaml", "replica", "wait", "--timeout", "5", "--json"],
        ),
        (["python3", "vecsync", "topics", "create"], []),
    ],
)
def test_it_asks_what_suits_the_process(arguments: list[str], expected: list[str], tmp_path: Path) -> None:
    assert asked(arguments, tmp_path) == (0, expected)


def test_it_is_as_healthy_as_the_answer(tmp_path: Path) -> None:
    code, _ = asked(["python3", "vecsync", "capture", "run"], tmp_path, code=5)
    assert code == 5
