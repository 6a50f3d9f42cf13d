"""Binlogs that other people made: each gives exactly what is expected of it, rows that other readers have too, or an
error that says why not."""

from __future__ import annotations

import pytest

from tests.conformance.binlogs.saved import COLLECTIONS, Expected, agreement, directory, expectations, ours
from tests.servers.fix_provider import server_needed

_FILES = [
    (collection, name, expected) for collection in COLLECTIONS for name, expected in expectations(collection).items()
]


@pytest.mark.parametrize(
    ("collection", "name", "expected"),
    [
        pytest.param(*each, id=each[1], marks=[pytest.mark.long] if each[0].startswith("mysql") else [])
        for each in _FILES
    ],
)
def test_a_saved_binlog_gives_what_is_expected(collection: str, name: str, expected: Expected) -> None:
    with server_needed():
        path = directory(collection) / name
    if not path.exists():
        pytest.skip(f"{collection} of this version has no such file")
    found = ours(path)
    assert (found.transactions, len(found.rows), found.statements, found.refused) == (
        expected.transactions,
        expected.rows,
        expected.statements,
        expected.refused,
    )
    with server_needed():
        agree = agreement(path, found)
    # A tool of another version may read more.
    assert agree.keys() >= expected.agree.keys()
    assert all(agree[reader] >= rows for reader, rows in expected.agree.items())
