"""Damaged binlogs. With checksums any damage gives the same changes or an error; without them it may give other
changes, but nothing except an error of ours, in little time and memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.events import HEADER_SIZE
from tests.fuzz.logs import decoded, joined, split, unchecked
from tests.unit.binlog.cells import patiently
from tests.unit.binlog.listing import DATA, SERVERS

_WHOLE = {server: (DATA / f"{server}.binlog").read_bytes() for server in SERVERS}
_UNCHECKED = {server: split(unchecked(whole)) for server, whole in _WHOLE.items()}


@st.composite
def damage(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes overwritten, taken out, put in, repeated, or moved from elsewhere."""
    at = draw(st.integers(0, len(whole)))
    size = draw(st.integers(0, 60))
    other = draw(st.integers(0, len(whole)))
    inserted = draw(
        st.one_of(st.binary(max_size=40), st.just(whole[other : other + size]), st.just(whole[at : at + size]))
    )
    removed = draw(st.one_of(st.just(0), st.just(len(inserted)), st.just(size)))
    return whole[:at] + inserted + whole[at + removed :]


@pytest.mark.parametrize("server", SERVERS)
@patiently
@given(data=st.data())
def test_with_checksums_damage_gives_the_same_changes_or_an_error(server: str, data: st.DataObject) -> None:
    whole = _WHOLE[server]
    damaged = data.draw(damage(whole))
    if data.draw(st.booleans()):
        damaged = data.draw(damage(damaged))
    undamaged, _ = decoded(whole)
    found, error = decoded(damaged)
    assert found == undamaged[: len(found)]
    if len(found) < len(undamaged):
        # Only a file that ends behind an event is no error: so does one that its server is still writing.
        assert isinstance(error, CorruptedLog | UnsupportedChange) or whole.startswith(damaged)


@pytest.mark.parametrize("server", SERVERS)
@patiently
@given(data=st.data())
def test_without_checksums_damage_gives_nothing_worse_than_an_error(server: str, data: st.DataObject) -> None:
    events = list(_UNCHECKED[server])
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(events) - 1))
        event = events[number]
        events[number] = event[:HEADER_SIZE] + data.draw(damage(event[HEADER_SIZE:]))
    _, error = decoded(joined(events))
    assert error is None or isinstance(error, CorruptedLog | UnsupportedChange)
