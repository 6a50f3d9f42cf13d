"""The commands up to the topics, as a person types them: a SQLite source, the embedded log, a process each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

VECSYNC = [sys.executable, "-c", "from connector.cli import main; main()"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("VECSYNC_")}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in an empty directory with a configuration; code: the exit code that is expected."""
    config = {
        "source": {"kind": "sqlite", "url": "sqlite:///upstream.db", "poll_interval_s": 0.05},
        "broker": {"kind": "embedded", "path": "events.db"},
        "topics": {"partitions": 3},
    }
    (tmp_path / "vecsync.yaml").write_text(yaml.safe_dump(config))
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.md").write_text("# Cats\n\nCats sleep.\n\n# Dogs\n\nDogs bark.\n")
    (texts / "b.txt").write_text("Fish swim.\n")

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*VECSYNC, *arguments], cwd=tmp_path, env=CLEAN, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def _events(run: Run, *arguments: str) -> list[dict[str, Any]]:
    shown = run("topics", "tail", "--from", "beginning", "--until-current", "--json", *arguments).stdout
    return [json.loads(line) for line in shown.splitlines()]


def test_the_way_from_files_to_events(run: Run) -> None:
    planned = run("source", "install", "--dry-run").stdout
    assert 'CREATE TABLE "shadow_vec_docs"' in planned
    assert "there is no file" in run("docs", "show", "-d", "x", "--id", "1", code=3).stderr
    assert "set up" in run("source", "install").stdout
    assert run("source", "install").stdout == "Nothing was missing.\n"

    assert json.loads(run("ingest", "texts", "-d", "pets", "--dry-run", "--json").stdout)["new"] == 3
    assert json.loads(run("ingest", "texts", "-d", "pets", "--json").stdout)["new"] == 3
    assert json.loads(run("ingest", "texts", "-d", "pets", "--json").stdout)["unchanged"] == 3
    assert json.loads(run("docs", "show", "-d", "pets", "--id", "a.md#0", "--json").stdout)["archived"] is False

    assert json.loads(run("capture", "status", "--json").stdout)["position"] is None
    published = json.loads(run("capture", "run", "--until-current", "--json").stdout)
    assert published["caught_up"] is True
    status = json.loads(run("capture", "status", "--json").stdout)
    assert (status["caught_up"], status["behind"], status["closed"]) == (True, 0, True)

    events = _events(run, "--dataset", "pets")
    rows = {e["key"]["id"]: e["value"]["after"] for e in events if "id" in e["key"]}
    assert set(rows) == {"a.md#0", "a.md#1", "b.txt#0"}
    assert rows["b.txt#0"]["content"] == "Fish swim."
    assert rows["b.txt#0"]["embedding_bytes"] == rows["b.txt#0"]["dims"] * 4 > 0

    assert run("docs", "archive", "-d", "pets", "--id", "a.md#0", "--id", "a.md#1").stdout == "2 documents archived.\n"
    assert run("docs", "archive", "-d", "pets", "--id", "a.md#0").stdout == "0 documents archived, 1 already so.\n"
    assert "'nope'" in run("docs", "archive", "-d", "pets", "--id", "a.md#0", "--id", "nope", code=2).stderr
    assert json.loads(run("capture", "status", "--json").stdout)["behind"] >= 2
    run("capture", "run", "--until-current")
    event = _events(run, "--dataset", "pets", "--id", "a.md#0")[-1]
    assert event["value"]["after"]["archived"] is True
    with_vector, *_ = _events(run, "--dataset", "pets", "--id", "b.txt#0", "--vectors")
    assert len(with_vector["value"]["after"]["embedding"]) == rows["b.txt#0"]["dims"]

    assert "5 topics" in run("topics", "list").stdout
    assert len(_events(run, "--topic", "positions")) >= 2
    assert all("floor" in event["value"] for event in _events(run, "--dataset", "elsewhere"))
    assert "removed" in run("source", "prune", "--keep-days", "0").stdout


def test_events_as_lines_for_people(run: Run) -> None:
    run("source", "install")
    run("ingest", "texts", "-d", "pets")
    run("capture", "run", "--until-current")
    lines = run("topics", "tail", "--from", "beginning", "--until-current", "-n", "100").stdout.splitlines()
    (fish,) = [line for line in lines if "Fish swim." in line]
    assert "b.txt#0" in fish
    assert "read" in fish
    assert len(run("topics", "tail", "--from", "beginning", "-n", "2").stdout.splitlines()) == 2


def test_a_file_that_is_not_text_is_named_and_the_rest_is_ingested(run: Run, tmp_path: Path) -> None:
    (tmp_path / "texts" / "c.md").write_bytes(b"\xff\xfe\x00")
    run("source", "install")
    done = run("ingest", "texts", "-d", "pets", code=7)
    assert "c.md" in done.stdout
    assert "1 file could not be ingested" in done.stderr
    assert json.loads(run("ingest", "texts", "-d", "pets", "--json", code=7).stdout)["unchanged"] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_capture_follows_and_ends_in_order(run: Run, tmp_path: Path, number: signal.Signals) -> None:
    run("source", "install")
    log = tmp_path / "capture.log"
    with (
        log.open("wb") as out,
        subprocess.Popen([*VECSYNC, "capture", "run"], cwd=tmp_path, env=CLEAN, stdout=out, stderr=out) as service,
    ):
        run("ingest", "texts", "-d", "pets")
        deadline = time.monotonic() + 120
        while len(_try_events(run)) < 3:
            assert service.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        service.send_signal(number)
        assert service.wait(120) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    assert json.loads(run("capture", "status", "--json").stdout)["closed"] is True


def _try_events(run: Run) -> list[dict[str, Any]]:
    """Nothing while the topics are not made yet."""
    listed = json.loads(run("topics", "list", "--json").stdout)
    if not any(topic["name"].endswith("shadow_vec_docs") for topic in listed):
        return []
    return [event for event in _events(run, "--dataset", "pets") if "id" in event["key"]]
