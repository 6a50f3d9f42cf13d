"""GTID sets against plain Python sets of numbers, and both servers' texts and encodings."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, UsageError
from connector.source.binlog.gtid import Gtid, GtidSet, MariadbGtid, MariadbGtidList
from connector.source.binlog.integers import encode_varlen, packed, varlen, varlen_signed
from tests.unit.binlog.cells import patiently
from tests.unit.binlog.writer import packed as write_packed

A, B = UUID("3e11fa47-71ca-11e1-9e33-c80aa9429562"), UUID("f0000000-0000-0000-0000-00000000000f")
gtids = st.builds(Gtid, st.sampled_from([A, B]), st.sampled_from(["", "app", "z_9"]), st.integers(1, 12))
plain = st.frozensets(gtids, max_size=25)


def built(members: frozenset[Gtid]) -> GtidSet:
    ranges: dict[tuple[UUID, str], list[tuple[int, int]]] = {}
    for gtid in members:
        ranges.setdefault((gtid.uuid, gtid.tag), []).append((gtid.number, gtid.number))
    return GtidSet(ranges)


@patiently
@given(plain, plain)
def test_algebra_is_that_of_sets(left: frozenset[Gtid], right: frozenset[Gtid]) -> None:
    a, b = built(left), built(right)
    assert a.union(b) == built(left | right)
    assert a.subtract(b) == built(left - right)
    assert a.is_subset(b) == (left <= right)
    assert (a == b) == (left == right)
    assert bool(a) == bool(left)
    for gtid in left | right:
        assert (gtid in a) == (gtid in left)
    if left == right:
        assert hash(a) == hash(b)


@patiently
@given(st.lists(gtids, max_size=40))
def test_adding_one_by_one_in_any_order_makes_the_same_set(members: list[Gtid]) -> None:
    grown = GtidSet()
    for gtid in members:
        before = grown
        grown = grown.add(gtid)
        assert gtid in grown
        assert before.is_subset(grown)
    assert grown == built(frozenset(members))
    assert str(grown) == str(built(frozenset(members)))


@patiently
@given(plain)
def test_text_and_bytes_read_back(members: frozenset[Gtid]) -> None:
    whole = built(members)
    assert GtidSet.parse(str(whole)) == whole
    assert GtidSet.decode(whole.encode()) == whole


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", ""),
        (f"{A}:1-5", f"{A}:1-5"),
        (f" {str(A).upper()} : 6 : 1-5 ,\n{A}:7-9", f"{A}:1-9"),
        (f"{A}:3:1", f"{A}:1:3"),
        (f"{A}:1-3:tag:4-5:9:other:1,{B}:2", f"{A}:1-3:other:1:tag:4-5:9,{B}:2"),
        (f"{A}:Tag:1", f"{A}:tag:1"),
        (f"{B}:1,{A}:1", f"{A}:1,{B}:1"),
    ],
)
def test_text_becomes_normal(text: str, normal: str) -> None:
    assert str(GtidSet.parse(text)) == normal


@pytest.mark.parametrize("text", ["x", "x:1", f"{A}", f"{A}:tag", f"{A}:0", f"{A}:5-1", f"{A}:1-x", f"{A}:ta-g:1"])
def test_text_that_is_no_gtid_set_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        GtidSet.parse(text)


def test_an_encoded_set_is_what_mysql_documents() -> None:
    assert GtidSet.parse(f"{A}:1-5:7").encode().hex() == (
        "0100000000000000" + A.hex + "0200000000000000" + "0100000000000000" + "0600000000000000" + "0700000000000000"
        "0800000000000000"
    )


@pytest.mark.parametrize("cut", [4, 20, 30, 47])
def test_an_encoded_set_that_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(CorruptedLog):
        GtidSet.decode(GtidSet.parse(f"{A}:1-5").encode()[:cut])


def test_an_encoded_set_of_an_unknown_format_is_refused() -> None:
    with pytest.raises(CorruptedLog, match="unknown format 2"):
        GtidSet.decode((2 << 56).to_bytes(8, "little"))


def test_a_gtid_as_text() -> None:
    assert str(Gtid(A, "", 5)) == f"{A}:5"
    assert str(Gtid(A, "app", 5)) == f"{A}:app:5"


maria = st.builds(MariadbGtid, st.integers(0, 3), st.integers(1, 2), st.integers(1, 20))


@patiently
@given(st.lists(maria, max_size=10))
def test_a_mariadb_position_holds_the_newest_of_each_domain(added: list[MariadbGtid]) -> None:
    position = MariadbGtidList()
    last: dict[int, MariadbGtid] = {}
    for gtid in added:
        position = position.add(gtid)
        last[gtid.domain] = gtid
    assert list(position) == [last[domain] for domain in sorted(last)]
    assert MariadbGtidList.parse(str(position)) == position
    assert position.covers(position)
    for gtid in last.values():
        assert gtid in position
        assert gtid._replace(sequence=gtid.sequence + 1) not in position


def test_a_mariadb_position_covers_another_domain_by_domain() -> None:
    here = MariadbGtidList.parse("0-1-10,5-2-3")
    assert here.covers(MariadbGtidList.parse("0-9-10"))
    assert here.covers(MariadbGtidList())
    assert not here.covers(MariadbGtidList.parse("0-1-11"))
    assert not here.covers(MariadbGtidList.parse("1-1-1"))


@pytest.mark.parametrize("text", ["0-1", "0-1-2-3", "a-1-2", "0-1-1,0-2-2", f"{2**32}-1-1", f"0-1-{2**64}"])
def test_text_that_is_no_mariadb_position_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        MariadbGtidList.parse(text)


def test_a_gtid_list_event_names_each_server_of_a_domain() -> None:
    entries = [(0, 1, 9), (0, 2, 8), (4, 1, 1)]
    body = (3).to_bytes(4, "little") + b"".join(
        domain.to_bytes(4, "little") + server.to_bytes(4, "little") + sequence.to_bytes(8, "little")
        for domain, server, sequence in entries
    )
    assert str(MariadbGtidList.decode(body)) == "0-1-9,4-1-1"
    with pytest.raises(CorruptedLog):
        MariadbGtidList.decode(body[:-1])


@patiently
@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=9))
def test_integers_of_variable_length_read_back(value: int, before: bytes, after: bytes) -> None:
    at = len(before)
    assert varlen(before + encode_varlen(value) + after, at) == (value, at + len(encode_varlen(value)))
    assert packed(before + write_packed(value) + after, at) == (value, at + len(write_packed(value)))
    for reader, written in ((varlen, encode_varlen(value)), (packed, write_packed(value))):
        with pytest.raises(CorruptedLog):
            reader(written[:-1], 0)


@pytest.mark.parametrize(("raw", "value"), [("00", 0), ("04", 1), ("02", -1), ("06", -2), ("fc", 63)])
def test_signed_integers_of_variable_length(raw: str, value: int) -> None:
    assert varlen_signed(bytes.fromhex(raw), 0) == (value, 1)


def test_a_set_of_one() -> None:
    uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    assert str(GtidSet.parse(f"{uuid}:7").single) == f"{uuid}:7"
    assert str(GtidSet.parse(f"{uuid}:app:7").single) == f"{uuid}:app:7"
    assert [GtidSet.parse(text).single for text in ("", f"{uuid}:7-8", f"{uuid}:7:9", f"{uuid}:7:app:7")] == [None] * 4
    assert str(MariadbGtidList.parse("0-1-7").single) == "0-1-7"
    assert [MariadbGtidList.parse(text).single for text in ("", "0-1-7,1-1-7")] == [None] * 2
