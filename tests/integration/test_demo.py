"""`vecsync demo` as a person runs it: twice, and then every command that it prints, as it is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from connector.runtime.demo import FOLLOWED, remove
from connector.runtime.demo_check import compare

VECSYNC = Path(sys.executable).with_name("vecsync")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("VECSYNC_")}


def _run(cwd: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(VECSYNC), *arguments], cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory with a space in its name, where the demo ran once; and what it said."""
    cwd = tmp_path_factory.mktemp("demo here")
    return cwd, _run(cwd, "demo")


def test_the_whole_way_twice_and_what_is_printed_works(ran: tuple[Path, str]) -> None:
    cwd, first = ran
    assert first.count("✓") == 4
    assert "35 documents" in first or "documents)" in first
    assert "os.remove" in first.partition("how do I remove a file")[2][:400]

    second = _run(cwd, "demo", "--directory", "demo")
    assert second.count("✓") == 4
    assert "set up already" in second
    assert " 1 of them written" in second

    commands = [line.strip() for line in second.splitlines() if " --config demo/" in line]
    assert len(commands) >= 7
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout, command

    # They archived a document, published that and applied it to one of the replicas.
    demo = cwd / "demo"
    assert compare(demo / "upstream.db", demo / "desk.db", FOLLOWED["desk"]).equal
    assert ("files", "os.md#0") in compare(demo / "upstream.db", demo / "server.db", FOLLOWED["server"]).different


def test_the_comparison_sees_every_kind_of_difference(ran: tuple[Path, str], tmp_path: Path) -> None:
    demo = ran[0] / "demo"
    copy = tmp_path / "upstream.db"
    with apsw.Connection(str(demo / "upstream.db")) as original, apsw.Connection(str(copy)) as changed:
        with changed.backup("main", original, "main") as backup:
            backup.step()
        for statement in (
            "DELETE FROM shadow_vec_docs WHERE dataset_id = 'data' AND id = 'heapq.md#0'",
            "UPDATE shadow_vec_docs SET archived = 1 - archived WHERE dataset_id = 'data' AND id = 'bisect.md#0'",
            "UPDATE shadow_vec_docs SET embedding = zeroblob(1024) WHERE dataset_id = 'text' AND id = 're.md#0'",
            "UPDATE shadow_vec_docs SET id = 'new' WHERE dataset_id = 'text' AND id = 'json.md#0'",
        ):
            changed.execute(statement)
    before = set(compare(demo / "upstream.db", demo / "desk.db", FOLLOWED["desk"]).different)
    found = set(compare(copy, demo / "desk.db", FOLLOWED["desk"]).different)
    assert found - before == {
        ("data", "heapq.md#0"),
        ("data", "bisect.md#0"),
        ("text", "re.md#0"),
        ("text", "json.md#0"),
        ("text", "new"),
    }


def test_beginning_anew_removes_only_what_the_demo_made(tmp_path: Path) -> None:
    for name in ("upstream.db", "desk.g1.db", "desk.db-wal", "desk.db.lock", "server.yaml", "mine.txt", "desktop.db"):
        (tmp_path / name).touch()
    (tmp_path / "desk.db").symlink_to("desk.g1.db")
    (tmp_path / "library").mkdir()
    remove(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desktop.db", "mine.txt"]


def test_the_demo_never_goes_where_the_environment_points(tmp_path: Path) -> None:
    other = tmp_path / "production.db"
    done = subprocess.run(
        [str(VECSYNC), "demo"],
        cwd=tmp_path, env={**CLEAN, "VECSYNC_SOURCE__URL": f"sqlite:///{other}"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "VECSYNC_SOURCE__URL" in done.stderr
    assert not other.exists()
