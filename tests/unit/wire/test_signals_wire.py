"""Signals: Debezium's words, and nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import UsageError
from connector.wire import SnapshotSignal, decode_signal, encode_signal

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True).map(tuple)


@given(datasets=st.none() | names, tables=st.just(()) | names, id=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_asked_is_read(datasets: tuple[str, ...] | None, tables: tuple[str, ...], id: str) -> None:
    signal = SnapshotSignal(datasets, tables, id)
    assert decode_signal(encode_signal(signal)) == signal


def test_as_debezium_writes_it() -> None:
    value = b'{"type":"execute-snapshot","data": {"data-collections": ["app.docs"], "type": "INCREMENTAL"}}'
    assert decode_signal(value) == SnapshotSignal(None, ("app.docs",))
    assert decode_signal(b'{"type": "execute-snapshot"}') == SnapshotSignal()


@pytest.mark.parametrize(
    ("signal", "why"),
    [
        ({"type": "log"}, "its type is 'log'"),
        ({"type": "execute-snapshot", "data": []}, "is no JSON object"),
        ({"type": "execute-snapshot", "data": {"datasets": "d"}}, "no list of names"),
        ({"type": "execute-snapshot", "data": {"datasets": [1]}}, "no list of names"),
        ({"type": "execute-snapshot", "data": {"datasets": [""]}}, "no list of names"),
        ({"type": "execute-snapshot", "data": {"datasets": ["\ud800"]}}, "no Unicode text"),
        ({"type": "execute-snapshot", "data": {"additional-conditions": []}}, "additional-conditions, which"),
        (5, "no JSON object"),
    ],
)
def test_what_is_not_understood_is_refused(signal: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        decode_signal(json.dumps(signal).encode())


@given(value=st.none() | st.binary() | st.builds(lambda data: json.dumps(data).encode(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["execute-snapshot", "incremental"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["type", "data", "datasets", "id"]), inner),
)))  # fmt: skip
def test_anything_else_is_an_error_of_ours(value: bytes | None) -> None:
    with contextlib.suppress(UsageError):
        decode_signal(value)
