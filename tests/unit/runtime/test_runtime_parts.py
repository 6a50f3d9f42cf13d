"""The pure parts of the running programs: progress lines, distances, masked logs, signals."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from connector.model import DatasetCursor, SourceIdentity, SourcePosition
from connector.runtime.capture import caught_up
from connector.runtime.logs import configure_logging
from connector.runtime.progress import ProgressLog
from connector.runtime.signals import stop_on_signals
from connector.settings import Settings
from connector.source.log_group import numbers_behind


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _remove_handlers() -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__ != "connector.runtime.logs"]


def test_progress_is_logged_every_ten_seconds_of_work_and_every_five_minutes_of_rest() -> None:
    now = 0.0
    log = logging.Logger("test")
    lines = _Lines()
    log.addHandler(lines)
    progress = ProgressLog(log, "done", lambda: now)
    now = 1.0
    progress.note(300, {})
    now = 9.9
    progress.note(500, {})
    assert lines.records == []
    now = 10.0
    progress.note(500, {"lag_s": 2})
    assert [(r.getMessage(), r.__dict__["per_s"], r.__dict__["lag_s"]) for r in lines.records] == [("done", 50, 2)]
    now = 300.0
    progress.note(500, {})
    assert len(lines.records) == 1
    now = 310.0
    progress.note(500, {})
    assert len(lines.records) == 2
    now = 320.0
    progress.note(100, {})  # it began anew, as capture does at a table that comes
    assert [lines.records[2].__dict__[name] for name in ("total", "per_s")] == [600, 10]


MYSQL = SourceIdentity("mysql", "u")


@pytest.mark.parametrize(
    ("at", "head", "expected"),
    [
        (SourcePosition(MYSQL, file="b.1", position=10, snapshot_done=True), ("b.1", 30), False),
        (SourcePosition(MYSQL, file="b.1", position=30, snapshot_done=True), ("b.1", 30), True),
        (SourcePosition(MYSQL, epoch=3, file="b.1", position=40, snapshot_done=True), ("b.1", 30), True),
        (SourcePosition(MYSQL, file="b.1", position=30, snapshot_done=False), ("b.1", 30), False),
        (SourcePosition(MYSQL, file="b.1", position=30, snapshot_done=True), ("b.2", 4), False),
    ],
)
def test_caught_up_with_a_binlog(at: SourcePosition, head: tuple[str, int], expected: bool) -> None:
    assert caught_up(at, SourcePosition(MYSQL, file=head[0], position=head[1])) is expected


def test_caught_up_with_another_server() -> None:
    """Files of the same name have nothing to do with each other."""
    head = SourcePosition(replace(MYSQL, uuid="another"), file="binlog.000002", position=100)
    assert not caught_up(SourcePosition(MYSQL, file="binlog.000002", position=100, snapshot_done=True), head)


def test_caught_up_with_a_trigger_log() -> None:
    identity = SourceIdentity("sqlite", "u")
    head = SourcePosition(identity, dataset_log_seq=7)
    assert not caught_up(SourcePosition(identity, dataset_log_seq=5, snapshot_done=True), head)
    assert caught_up(SourcePosition(identity, dataset_log_seq=7, snapshot_done=True), head)


@pytest.mark.parametrize("form", ["json", "console"])
def test_logs_hold_no_secret(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(
        source={"password": "hunter2"}, broker={"options": {"ssl.key.password": "hunter3"}}, log={"format": form}
    )
    configure_logging(settings)
    try:
        try:
            raise ValueError("refused hunter2")
        except ValueError:
            logging.getLogger("connector.test").exception("with hunter2", extra={"url": "x:hunter3@y"})
    finally:
        _remove_handlers()
    shown = capsys.readouterr().err
    assert "hunter" not in shown
    assert shown.count("**********") >= 3
    if form == "json":
        assert json.loads(shown)["level"] == "error"


def test_levels_are_respected(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log={"level": "warning", "format": "json"}))
    try:
        logging.getLogger("connector.test").info("quiet")
        logging.getLogger("connector.test").warning("loud")
    finally:
        _remove_handlers()
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud"]


def test_the_first_signal_asks() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(2)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(number: signal.Signals) -> None:
    program = (
        "import time\n"
        "from connector.runtime.signals import stop_on_signals\n"
        "with stop_on_signals() as stop:\n"
        "    print('ready', flush=True)\n"
        "    stop.wait()\n"
        "    print('asked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        run.send_signal(number)
        assert run.stdout.readline() == b"asked\n"
        started = time.monotonic()
        run.send_signal(number)
        assert run.wait(10) == 128 + number
        assert time.monotonic() - started < 5


def test_a_shadow_log_is_behind_by_the_numbers_of_each_dataset() -> None:
    identity = SourceIdentity("mysql", "x")

    def at(**scns: int) -> SourcePosition:
        cursors = {f"t/{dataset}": DatasetCursor(1, scn) for dataset, scn in scns.items()}
        return SourcePosition(identity, cursors=cursors, snapshot_done=True)

    behind, head = at(a=5, b=7), at(a=5, b=9, c=1)
    assert (caught_up(behind, head), numbers_behind(behind, head)) == (False, 3)
    assert caught_up(at(a=5, b=9, c=1, gone=4), head)
    assert not caught_up(replace(at(a=5, b=9, c=1), snapshot_done=False), head)
    assert caught_up(at(), at())
