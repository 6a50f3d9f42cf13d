"""The demo's text: real, the same every time, and cut where its headings are."""

from __future__ import annotations

import re
from pathlib import Path

from connector.runtime.demo_corpus import AREAS, write_corpus


def test_the_same_python_writes_the_same_files(tmp_path: Path) -> None:
    first = write_corpus(tmp_path)
    assert [area.name for area in first] == list(AREAS)
    assert sum(area.entries for area in first) > 2000
    assert all(area.changed == area.files for area in first)
    again = write_corpus(tmp_path)
    assert [area.changed for area in again] == [0] * len(AREAS)

    (tmp_path / "files" / "glob.md").unlink()
    (tmp_path / "files" / "stray.md").write_text("# Not ours\n")
    repaired = write_corpus(tmp_path)
    assert [area.changed for area in repaired] == [2, 0, 0, 0, 0, 0]
    assert not (tmp_path / "files" / "stray.md").exists()


def test_headings_are_titles_and_addresses_are_gone(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    text = (tmp_path / "files" / "os.md").read_text(encoding="utf-8")
    assert re.search(r"^## os\.remove\(.*\)\n\nRemove a file", text, re.MULTILINE)
    for path in tmp_path.glob("*/*.md"):
        text = path.read_text(encoding="utf-8")
        assert not re.search("0x[0-9a-fA-F]{6,}", text), path
        for heading in re.findall(r"^#.*", text, re.MULTILINE):
            assert re.match(r"##? [\w.]+(\(.*\)( -> .+)?)?$", heading), heading
