"""The statements in docs/replica-file.md, run as any program would: SQLite with sqlite-vec, nothing of ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import apsw
import pytest
import sqlite_vec

from connector.model import Document
from tests.unit.replica.events import Replica, at, delete, document, put, vector

PAGE = Path(__file__).parents[3] / "docs" / "replica-file.md"
STATEMENTS = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

ANSWERS: list[list[tuple[object, ...]]] = [
    [("duck", "All about ducks", None), ("heron", "A heron wades", None), ("odd", "Ducks again", None)],
    [("duck",), ("heron",), ("odd",)],
    [("replica_vectors_1_g1", 4)],
    [("heron",), ("duck",)],
    [("handbook", "odd", "all values are zero: the vector has no direction")],
    [("handbook", 7), ("other", 1)],
]


@pytest.fixture
def connection(tmp_path: Path) -> apsw.Connection:
    def row(text: str, *values: float, archived: bool = False) -> Document:
        return document(text, vector(*values), embedding_model="hashing-4-v1", archived=archived)

    replica = Replica(tmp_path / "replica.db")
    replica.apply(
        put("handbook", "heron", at(1), row("A heron wades", 1, 2, 3, 4)),
        put("handbook", "duck", at(2), row("All about ducks", 4, 3, 2, 1), scn=7),
        put("handbook", "old", at(3), row("No bird here", 1, 2, 3, 4, archived=True)),
        put("handbook", "odd", at(4), row("Ducks again", 0, 0, 0, 0)),
        put("other", "heron", at(5), row("Herons, too", 1, 2, 3, 4)),
        put("handbook", "gone", at(6), row("Ducks that went", 1, 2, 3, 4)),
        delete("handbook", "gone", at(7)),
    )
    replica.close()
    plain = apsw.Connection(str(tmp_path / "replica.db"), flags=apsw.SQLITE_OPEN_READONLY)
    plain.enable_load_extension(True)
    plain.load_extension(sqlite_vec.loadable_path())
    return plain


def test_the_page_has_a_statement_for_every_answer() -> None:
    assert len(STATEMENTS) == len(ANSWERS)


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_a_statement_gives_what_the_page_says(connection: apsw.Connection, number: int) -> None:
    found = connection.execute(STATEMENTS[number]).fetchall()
    width = len(ANSWERS[number][0])
    rows: list[tuple[object, ...]] = [tuple(row)[:width] for row in found]
    assert (sorted(rows, key=str) if number == 1 else rows) == ANSWERS[number]
    connection.close()


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
def test_the_stock_shell_reads_it_while_it_is_written(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "replica.db")
    replica.apply(put("a", "x", at(1), document("text", vector(1, 2))))
    shell = ["sqlite3", "-readonly", str(replica.path), f".load {sqlite_vec.loadable_path()}"]
    for sql, answer in (
        ("SELECT dataset_id, id, content, hex(embedding), scn FROM shadow_vec_docs", "a|x|text|0000803F00000040|1"),
        ("SELECT rowid FROM document_text WHERE document_text MATCH 'collection:c1 AND texts'", "1"),
        ("SELECT rowid FROM replica_vectors_1_g1 WHERE embedding MATCH '[1, 2]' AND k = 3 AND collection = 1", "1"),
    ):
        found = subprocess.run([*shell, sql], capture_output=True, text=True, timeout=120, check=True)
        assert (found.stdout.strip(), found.stderr) == (answer, "")
    replica.close()
