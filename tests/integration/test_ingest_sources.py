"""Ingesting into real databases: SQLite, MariaDB and MySQL, as `source install` sets them up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from connector import embed
from connector.errors import UsageError
from connector.ingest import Corpus, IngestReport, Unit, files, formats, ingest
from connector.settings import IngestSettings, SourceSettings
from connector.upstream import StoredRow, Upstream, UpstreamRow, connect
from connector.upstream.install import install
from tests.servers.fix_sql import fresh_database
from tests.servers.model import SqlServer

DATASET = "docs"
SETTINGS = IngestSettings(embedder="hashing", chunk_chars=100, batch_rows=3)
HASHING = embed.load("hashing")


@pytest.fixture
def sqlite_source(tmp_path: Path) -> SourceSettings:
    source = SourceSettings(kind="sqlite", url=f"sqlite:///{tmp_path}/upstream.db")
    install(source)
    return source


@pytest.fixture(params=["sqlite", "mariadb", "mysql"])
def upstream(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    if request.param == "sqlite":
        connected = connect(request.getfixturevalue("sqlite_source"))
        yield connected
        connected.close()
        return
    server: SqlServer = request.getfixturevalue(f"{request.param}_server")
    with fresh_database(server) as database:
        source = SourceSettings(kind="mysql", url=database.url, password=SecretStr(server.password))
        install(source)
        connected = connect(source)
        yield connected
        connected.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "handbook"
    (root / "sub").mkdir(parents=True)
    (root / "guide.md").write_text("# Guide\n\nHow to begin.\n\n# More\n\nWhat comes next.\n")
    (root / "notes.txt").write_text("One note.\n")
    (root / "sub/code.py").write_text('"""A module."""\n\n\ndef answer():\n    return 42\n')
    return root


Run = Callable[..., IngestReport]


@pytest.fixture
def run(upstream: Upstream, folder: Path) -> Run:
    def go(path: Path = folder, **options: object) -> IngestReport:
        return ingest(upstream, DATASET, files(path), HASHING, SETTINGS, **options)  # type: ignore[arg-type]

    return go


def stored(upstream: Upstream) -> dict[str, StoredRow]:
    rows = [upstream.get(DATASET, row.id) for row in upstream.listing(DATASET)]
    return {row.id: row for row in rows if row is not None}


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    return report.new, report.changed, report.reactivated, report.unchanged, report.retired


def test_rows_are_exact_slices_with_their_vectors(upstream: Upstream, run: Run, folder: Path) -> None:
    report = run(description="The handbook")
    assert counts(report) == (5, 0, 0, 0, 0)
    assert report.complete
    rows = stored(upstream)
    assert list(rows) == ["guide.md#0", "guide.md#1", "notes.txt#0", "sub/code.py#0", "sub/code.py#1"]
    for id, row in rows.items():
        meta = json.loads(row.meta or "")
        text = (folder / meta["path"]).read_text()
        assert row.content == text[meta["start"] : meta["end"]]
        assert id.startswith(meta["path"] + "#")
        assert meta["root"] == "handbook"
        assert row.embedding_model == HASHING.name
        assert len(row.embedding or b"") == 4 * HASHING.dims
        assert not row.archived
    assert json.loads(rows["sub/code.py#1"].meta or "")["title"] == "answer"


def test_a_second_run_writes_nothing(upstream: Upstream, run: Run) -> None:
    run()
    before = stored(upstream)
    assert counts(run()) == (0, 0, 0, 5, 0)
    assert stored(upstream) == before, "not even a change number"


def test_only_what_changed_is_written_and_what_went_is_archived(upstream: Upstream, run: Run, folder: Path) -> None:
    run()
    before = stored(upstream)
    (folder / "guide.md").write_text("# Guide\n\nHow to begin.\n\n# More\n\nWhat follows.\n")
    (folder / "notes.txt").unlink()
    (folder / "sub/code.py").write_text('"""A module."""\n')
    assert counts(run()) == (0, 1, 0, 2, 2)
    after = stored(upstream)
    assert {id for id in after if after[id] != before[id]} == {"guide.md#1", "notes.txt#0", "sub/code.py#1"}
    assert {id for id, row in after.items() if row.archived} == {"notes.txt#0", "sub/code.py#1"}
    assert counts(run()) == (0, 0, 0, 3, 0), "what is archived is not retired again"

    (folder / "notes.txt").write_text("One note.\n")
    (folder / "sub/code.py").write_text('"""A module."""\n\n\ndef other():\n    return 42\n')
    assert counts(run()) == (0, 1, 1, 3, 0)
    again = stored(upstream)
    assert not any(row.archived for row in again.values())
    assert again["notes.txt#0"].embedding == before["notes.txt#0"].embedding


def test_retiring_by_deletion_takes_archived_ones_too(upstream: Upstream, run: Run, folder: Path) -> None:
    run()
    (folder / "notes.txt").unlink()
    run()
    (folder / "guide.md").unlink()
    report = run(retire="delete")
    assert sorted(report.retired_ids) == ["guide.md#0", "guide.md#1", "notes.txt#0"]
    assert list(stored(upstream)) == ["sub/code.py#0", "sub/code.py#1"]


def test_a_dry_run_says_the_same_and_changes_nothing(upstream: Upstream, run: Run, folder: Path) -> None:
    would = run(dry_run=True)
    assert upstream.datasets() == []
    did = run()
    assert (counts(would), would.details) == (counts(did), did.details)
    (folder / "guide.md").unlink()
    before = stored(upstream)
    assert run(dry_run=True).retired_ids == ("guide.md#0", "guide.md#1")
    assert stored(upstream) == before


def test_another_model_is_a_change(upstream: Upstream, run: Run, folder: Path) -> None:
    run()
    report = ingest(upstream, DATASET, files(folder), embed.load("wordllama"), SETTINGS)
    assert counts(report) == (0, 5, 0, 0, 0)
    assert {row.embedding_model for row in stored(upstream).values()} == {embed.load("wordllama").name}


def test_bad_files_are_named_stop_nothing_and_lose_nothing(upstream: Upstream, run: Run, folder: Path) -> None:
    run()
    (folder / "notes.txt").write_bytes(b"\x00\x01 binary")
    (folder / "latin.md").write_bytes(b"caf\xe9")
    (folder / "new.md").write_text("New.")
    report = run()
    assert [error.path for error in report.errors] == ["latin.md", "notes.txt"]
    assert not report.complete
    assert counts(report) == (1, 0, 0, 4, 0), "what could not be read did not go away"
    assert not stored(upstream)["notes.txt#0"].archived


def test_a_single_file_speaks_for_itself_only(upstream: Upstream, run: Run, folder: Path) -> None:
    run()
    (folder / "notes.txt").write_text("Another note.\n\n" + "long " * 19)
    (folder / "guide.md").unlink()
    assert counts(run(folder / "notes.txt")) == (1, 1, 0, 0, 0)
    assert not stored(upstream)["guide.md#0"].archived


def test_another_root_is_left_alone(upstream: Upstream, run: Run, tmp_path: Path) -> None:
    run()
    other = tmp_path / "appendix"
    other.mkdir()
    (other / "z.txt").write_text("Z.")
    report = run(other)
    assert counts(report) == (1, 0, 0, 0, 0)
    assert report.other_roots == 5
    assert not any(row.archived for row in stored(upstream).values())


def test_documents_of_others_are_never_overwritten(upstream: Upstream, run: Run, folder: Path, tmp_path: Path) -> None:
    upstream.ensure_dataset(DATASET)
    upstream.upsert(DATASET, [UpstreamRow("notes.txt#0", "by hand", '{"md5": "x"}', None, None)])
    before = stored(upstream)
    with pytest.raises(UsageError, match=r"notes\.txt#0.*was not written by ingest"):
        run()
    assert stored(upstream) == before
    upstream.delete(DATASET, ["notes.txt#0"])
    run()
    folder.rename(tmp_path / "manual")
    with pytest.raises(UsageError, match="from another root, 'handbook'"):
        run(tmp_path / "manual")
    renamed = files(tmp_path / "manual", label="handbook")
    assert counts(ingest(upstream, DATASET, renamed, HASHING, SETTINGS)) == (0, 0, 0, 5, 0)


def test_a_name_in_new_spelling_replaces_the_old(upstream: Upstream, run: Run, folder: Path) -> None:
    run()
    (folder / "guide.md").rename(folder / "Guide.md")
    (folder / "Guide.md").write_text("# Guide\n\nHow to begin.\n")
    run()
    live = [id for id, row in stored(upstream).items() if not row.archived]
    assert sorted(live) == ["Guide.md#0", "notes.txt#0", "sub/code.py#0", "sub/code.py#1"]
    assert counts(run()) == (0, 0, 0, 4, 0)


def test_names_that_differ_by_case_only_are_refused(upstream: Upstream, run: Run, folder: Path) -> None:
    (folder / "Guide.md").write_text("# Twin\n")
    report = run()
    assert [error.path for error in report.errors] == ["guide.md"]
    assert "Guide.md#0" in stored(upstream)


def test_what_the_database_refuses_is_named_and_stops_nothing(upstream: Upstream, run: Run, folder: Path) -> None:
    long = "n" * 240 + ".md"
    (folder / long).write_text("Its name is longer than a column.")
    report = run()
    if len(stored(upstream)) == 6:
        assert report.complete, "SQLite takes any length"
    else:
        assert [error.path for error in report.errors] == [long]
        assert counts(report) == (5, 0, 0, 0, 0)


def test_files_that_change_while_they_are_ingested(sqlite_source: SourceSettings, tmp_path: Path) -> None:
    """Each is read twice: once to see what there is to do, and once to do it."""
    looks: dict[str, int] = {}

    def text(path: str) -> str:
        looks[path] = looks.get(path, 0) + 1
        if looks[path] % 2:
            return "first\n\n" + "x" * 95
        if path == "goes.txt":
            raise FileNotFoundError(2, "No such file or directory")
        return "second" if path == "shrinks.txt" else "second\n\n" + "y" * 95 + "\n\n" + "z" * 95

    units = tuple(
        Unit(path, lambda target, path=path: formats.cut(text(path), path, target))  # type: ignore[misc]
        for path in ("goes.txt", "grows.txt", "over.txt", "shrinks.txt")
    )
    upstream = connect(sqlite_source)
    upstream.ensure_dataset(DATASET)
    by_hand = UpstreamRow("over.txt#2", "by hand", None, None, None)
    upstream.upsert(DATASET, [by_hand])
    try:
        report = ingest(upstream, DATASET, Corpus("docs", None, "", units), HASHING, SETTINGS)
        assert [(error.path, error.reason) for error in report.errors] == [
            ("goes.txt", "cannot be read: No such file or directory"),
            ("over.txt", "over.txt#2 was not written by ingest, or comes from another root"),
        ]
        assert counts(report) == (4, 0, 0, 0, 0)
        rows = stored(upstream)
        assert {id: row.content for id, row in rows.items()} == {
            "grows.txt#0": "second", "grows.txt#1": "y" * 95, "grows.txt#2": "z" * 95,
            "over.txt#2": "by hand", "shrinks.txt#0": "second",
        }  # fmt: skip
    finally:
        upstream.close()


def test_progress_reaches_its_totals(upstream: Upstream, run: Run, folder: Path) -> None:
    totals: dict[str, int] = {}
    done: dict[str, int] = {}

    class Counting:
        def begin(self, phase: str, total: int) -> None:
            if phase == "read":
                totals.clear()
                done.clear()
            totals[phase], done[phase] = total, 0

        def advance(self, count: int) -> None:
            done[list(done)[-1]] += count

    run(progress=Counting())
    assert totals == done == {"read": 3, "write": 5, "retire": 0}
    (folder / "guide.md").unlink()
    run(progress=Counting())
    assert totals == done == {"read": 2, "write": 0, "retire": 2}


KILLED_WRITER = """
import sys
from pathlib import Path
from connector import embed
from connector.ingest import files, ingest
from connector.settings import IngestSettings, SourceSettings
from connector.upstream import connect

class Slow:
    name, dims = embed.load("hashing").name, embed.load("hashing").dims
    def embed(self, texts):
        print("batch", flush=True)
        sys.stdin.readline()
        return embed.load("hashing").embed(texts)

settings = IngestSettings(embedder="hashing", chunk_chars=100, batch_rows=3)
ingest(connect(SourceSettings(kind="sqlite", url=sys.argv[1])), "docs", files(Path(sys.argv[2])), Slow(), settings)
"""


def test_killed_in_the_middle_it_goes_on_where_it_ended(sqlite_source: SourceSettings, folder: Path) -> None:
    (folder / "long.txt").write_text("\n\n".join(f"Paragraph {i} " + "x" * 80 for i in range(20)))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, sqlite_source.url, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        for _ in range(3):  # two batches written, the third being embedded
            assert process.stdout.readline() == b"batch\n"
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert process.stdout.readline() == b"batch\n"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    upstream = connect(sqlite_source)
    try:
        assert len(stored(upstream)) == 9
        report = ingest(upstream, DATASET, files(folder), HASHING, SETTINGS)
        assert counts(report) == (16, 0, 0, 9, 0)
        assert counts(ingest(upstream, DATASET, files(folder), HASHING, SETTINGS)) == (0, 0, 0, 25, 0)
    finally:
        upstream.close()
