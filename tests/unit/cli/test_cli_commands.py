"""The command line as a whole: every command explains itself, every error has its code and a hint, pages are fresh."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.cli import globals_first, run
from connector.cli.app import program
from connector.cli.failures import EXIT_CODES, report
from connector.cli.reference import commands, examples, pages
from connector.errors import (
    ConfigurationError,
    DataRefused,
    DifferenceFound,
    PreflightRefused,
    Unreachable,
    UsageError,
    VecsyncError,
)

ROOT = Path(__file__).parents[3]
ALL = list(commands(program()))
VECSYNC = [sys.executable, "-c", "from connector.cli import main; main()"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No vecsync.yaml, .env or environment of the person who runs the tests; and no logging left behind."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("VECSYNC_"):
            monkeypatch.delenv(name)
    yield
    logging.getLogger().handlers[:] = [
        h for h in logging.getLogger().handlers if type(h).__module__ != "connector.runtime.logs"
    ]


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_every_command_explains_itself_with_an_example_that_parses(words: tuple[str, ...], command: Any) -> None:
    assert command.help
    assert command.help.strip()[0].isupper()
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} is not explained"
    shown = examples(command)
    assert shown, "no example"
    for line in shown:
        first, *rest = shlex.split(line)
        assert first == "vecsync", line
        rest = globals_first(rest)
        while rest[0].startswith("--"):
            del rest[:2]  # --config FILE
        assert tuple(rest[: len(words)]) == words, f"{line} is an example of another command"
        command.make_context("vecsync", rest[len(words) :])  # raises when an option does not exist


def test_help_shows_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "check", "--help"]) == 0
    assert "$ vecsync --config vecsync.yaml config check" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(pages()))
def test_reference_pages_are_what_the_program_would_write(name: str) -> None:
    text = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert text == pages()[name], "stale: run python -m connector.cli.reference"


def test_globals_may_stand_anywhere() -> None:
    assert globals_first(["config", "show", "--config", "a.yaml"]) == ["--config", "a.yaml", "config", "show"]
    assert globals_first(["a", "--config=x", "--debug"]) == ["--config=x", "--debug", "a"]
    assert globals_first(["a", "--", "--debug"]) == ["a", "--", "--debug"]
    assert globals_first(["a", "--config"]) == ["--config", "a"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VecsyncError("m"), 1),
        (UsageError("m"), 2),
        (ConfigurationError("m"), 3),
        (PreflightRefused("m"), 4),
        (DifferenceFound("m"), 5),
        (Unreachable("m"), 6),
        (DataRefused("m", hint="h"), 7),
        (RuntimeError("m"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_have_their_code_and_no_traceback(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error, debug=False) == code
    assert code in EXIT_CODES
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_an_error_is_a_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    report(Unreachable("no [bold]answer[/bold] from db", hint="Check [host]."), debug=False)
    assert capsys.readouterr().err == "error: no [bold]answer[/bold] from db\nhint:  Check [host].\n"


def test_a_traceback_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise DataRefused("m", hint="h")
    except DataRefused as error:
        report(error, debug=True)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["confg"], 2, "No such command 'confg'"),
        (["config", "show", "--nope"], 2, "--nope"),
        (["docs", "show"], 2, "--dataset"),
        (["config", "check", "--config", "absent.yaml"], 3, "absent.yaml"),
        (["topics", "tail", "--from", "soon", "--until-current"], 3, "there is no topic"),
    ],
)
def test_wrong_calls(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("vecsync.yaml").write_text("broker: {kind: embedded}\n")
    assert run(arguments) == code
    shown = capsys.readouterr().err
    assert message in shown
    assert "hint:" in shown


def test_config_check_says_where_each_key_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("c.yaml").write_text("source: {kind: sqlite, url: 'sqlite:///x.db'}\nbroker: {options: {a.b: 1}}\n")
    monkeypatch.setenv("VECSYNC_TOPICS__PREFIX", "mine")
    assert run(["config", "check", "--config", "c.yaml", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {entry["key"]: (entry["value"], entry["from"]) for entry in shown["changed"]} == {
        "source.kind": ("sqlite", "c.yaml"),
        "source.url": ("sqlite:///x.db", "c.yaml"),
        "broker.options": ({"a.b": 1}, "c.yaml"),
        "topics.prefix": ("mine", "VECSYNC_TOPICS__PREFIX"),
    }


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("search", "`vecsync replica search`"),
        ("--debug snapshot --wait", "`vecsync capture snapshot`"),
        ("status", "`vecsync capture status` or `vecsync replica status`"),
        ("position set", "`vecsync capture position set`"),
        ("replica position show", "`vecsync capture position show`"),
        ("replica serch text", "`vecsync replica search`"),
        ("relica status", "`vecsync replica status` or `vecsync replica`"),
        ("replica image exprt", "`vecsync replica image export`"),
        ("topics --config c.yaml tial", "`vecsync topics tail`"),
    ],
)
def test_a_command_that_does_not_exist_names_those_like_it(
    said: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(said.split()) == 2
    assert f"hint:  Did you mean {meant}?\n" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["xyzzy", "config show --nope", "docs show", "demo unasked"])
def test_what_is_like_no_command_or_is_one_has_the_usual_hint(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(said.split()) == 2
    assert "hint:  Try `vecsync " in capsys.readouterr().err


def test_config_check_does_not_send_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("source: {ur: x}\n", "source: [", "- x\n"):
        Path("vecsync.yaml").write_text(text)
        assert run(["config", "check"]) == 3
        shown = capsys.readouterr().err
        assert "hint:" in shown
        assert "config check" not in shown


def test_unknown_keys_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text("source: {ur: x}\n")
    assert run(["config", "check", "--config", "c.yaml"]) == 3
    assert "source.ur: there is no such key" in capsys.readouterr().err


def test_secrets_are_masked_everywhere(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("secrets").mkdir()
    Path("secrets/VECSYNC_SOURCE__PASSWORD").write_text("very-secret-1\n")
    monkeypatch.setenv("VECSYNC_SECRETS_DIR", "secrets")
    monkeypatch.setenv("VECSYNC_BROKER__OPTIONS", '{"ssl.key.password": "very-secret-2"}')
    for arguments in (
        ["config", "show"],
        ["config", "show", "--json"],
        ["config", "check"],
        ["--debug", "config", "show"],
    ):
        assert run(arguments) == 0
        shown = capsys.readouterr()
        assert "very-secret" not in shown.out + shown.err
        assert "****" in shown.out


def test_a_reader_that_goes_away_ends_the_program_quietly(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run([*VECSYNC, "config", "show"], stdout=gone, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 141
    assert done.stderr == b""
