"""The file of the embedded log, made by whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from connector.broker.embedded_file import open_log

OPENERS = 4


def test_made_by_several_at_once(tmp_path: Path) -> None:
    """None of them takes a file that another is making for one of another application."""
    with ThreadPoolExecutor(OPENERS) as pool:
        for n in range(60):
            for opened in pool.map(open_log, [tmp_path / f"{n}.db"] * OPENERS):
                opened.close()
