"""Which files are found, which are passed over, and which are errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connector.errors import UsageError
from connector.ingest.corpus import Corpus, files


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")


def paths(corpus: Corpus) -> list[str]:
    return [unit.path for unit in corpus.units]


def test_a_directory_is_read_to_its_depths_in_a_fixed_order(tmp_path: Path) -> None:
    write(tmp_path, "z.md", "a.txt", "sub/b.rst", "sub/deep/c.PY", "other/d.py")
    corpus = files(tmp_path)
    assert paths(corpus) == ["a.txt", "z.md", "other/d.py", "sub/b.rst", "sub/deep/c.PY"]
    assert (corpus.root, corpus.scope, corpus.skipped, corpus.errors) == (tmp_path.name, "", (), ())
    assert corpus.uri == tmp_path.as_uri()


def test_hidden_and_version_control_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, ".git/a.md", ".hidden.md", "CVS/a.md", "__pycache__/a.py", "kept.md")
    assert paths(files(tmp_path)) == ["kept.md"]


def test_other_kinds_are_reported(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "image.png", "sub/LICENSE")
    os.mkfifo(tmp_path / "pipe.txt")
    corpus = files(tmp_path)
    assert paths(corpus) == ["a.md"]
    assert [(r.path, r.reason.split()[-3:] == ["a", "regular", "file"]) for r in corpus.skipped] == [
        ("image.png", False), ("pipe.txt", True), ("sub/LICENSE", False),
    ]  # fmt: skip


def test_links_cannot_loop(tmp_path: Path) -> None:
    write(tmp_path, "sub/a.md")
    (tmp_path / "sub/up").symlink_to(tmp_path)
    (tmp_path / "itself.md").symlink_to(tmp_path / "itself.md")
    (tmp_path / "nowhere.md").symlink_to(tmp_path / "gone")
    (tmp_path / "link.md").symlink_to(tmp_path / "sub/a.md")
    corpus = files(tmp_path)
    assert paths(corpus) == ["link.md", "sub/a.md"]
    assert [r.path for r in corpus.skipped] == ["sub/up"]
    assert [r.path for r in corpus.errors] == ["itself.md", "nowhere.md"]


def test_a_single_file_has_the_id_it_has_in_its_directory(tmp_path: Path) -> None:
    write(tmp_path, "sub/a.md")
    corpus = files(tmp_path / "sub/a.md")
    assert (paths(corpus), corpus.root, corpus.scope) == (["a.md"], "sub", "a.md")
    corpus = files(tmp_path / "sub/a.md", root=tmp_path, label="docs")
    assert (paths(corpus), corpus.root, corpus.scope) == (["sub/a.md"], "docs", "sub/a.md")
    corpus = files(tmp_path / "sub", root=tmp_path)
    assert (paths(corpus), corpus.scope) == (["sub/a.md"], "sub/")
    assert [corpus.covers(p) for p in ("sub/x.md", "sub", "subway/x.md")] == [True, False, False]


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md"))).write_text("x")
    corpus = files(tmp_path)
    assert [(r.path, r.reason) for r in corpus.errors] == [("caf\\xe9.md", "has a name that is not UTF-8")]


@pytest.mark.parametrize("name", ["missing", "image.png", "loop"])
def test_what_cannot_be_ingested_at_all(tmp_path: Path, name: str) -> None:
    write(tmp_path, "image.png")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UsageError, match=name):
        files(tmp_path / name)


def test_a_root_that_is_not_above_the_path(tmp_path: Path) -> None:
    write(tmp_path, "a/x.md", "b/y.md")
    with pytest.raises(UsageError, match="not below"):
        files(tmp_path / "a", root=tmp_path / "b")
