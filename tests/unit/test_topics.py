"""Names of topics, and the partition of a dataset."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConfigurationError
from connector.topics import (
    data_topic_config,
    dead_letters_topic,
    decode_name,
    encode_name,
    murmur2,
    partition_of,
    positions_topic,
    system_topics,
    table_topics,
    tombstone_topic_config,
)

LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")
names = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.text("_x0159abcdef.-X ", max_size=30),  # where escapes could be mistaken for names, and the other way round
)


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(text: bytes, signed: int) -> None:
    assert murmur2(text) == signed % 2**32


@given(st.binary())
def test_the_hash_has_32_bits(data: bytes) -> None:
    assert 0 <= murmur2(data) < 2**32


def test_partitions_of_datasets_never_change() -> None:
    """Written down once: a dataset that moved would lose its order."""
    found = {dataset: partition_of(dataset, 8) for dataset in ("", "21", "foobar", "root/A", "наборы", "x" * 191)}
    assert found == {"": 1, "21": 4, "foobar": 6, "root/A": 2, "наборы": 1, "x" * 191: 2}


@given(names, st.integers(1, 4096))
def test_a_partition_is_one_of_those_there_are(dataset: str, partitions: int) -> None:
    partition = partition_of(dataset, partitions)
    assert 0 <= partition < partitions
    assert partition == (murmur2(dataset.encode()) & 0x7FFFFFFF) % partitions


@given(names)
def test_encoded_names_are_legal_and_hold_no_separator(name: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]*", encode_name(name))


@given(names, names)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (encode_name(one) == encode_name(other)) == (one == other)


@given(names)
def test_every_escape_can_be_read_back(name: str) -> None:
    assert decode_name(encode_name(name)) == name


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("shadow_vec_docs", "shadow_vec_docs"),
        ("a.b", "a_x2e_b"),
        ("a_x2e_b", "a_x5f_x2e_b"),
        ("_", "_"),
        ("_x", "_x5f_x"),
        ("ü", "_xfc_"),
        ("Docs-1", "Docs-1"),
    ],
)
def test_encoded_names_never_change(name: str, encoded: str) -> None:
    assert encode_name(name) == encoded


def test_topics_of_a_table() -> None:
    topics = table_topics("vecsync", "app", "shadow_vec_docs")
    assert topics.data == "vecsync.app.shadow_vec_docs"
    assert topics.tombstones == "vecsync.app.shadow_vec_docs.tombstones"
    assert positions_topic("vecsync") == "vecsync.positions"
    assert dead_letters_topic("vecsync") == "vecsync.dlq"


@given(st.from_regex(r"[a-zA-Z0-9_-]{1,80}", fullmatch=True), names.filter(bool), names.filter(bool))
def test_topic_names_are_legal_or_refused(prefix: str, db: str, table: str) -> None:
    try:
        topics = table_topics(prefix, db, table)
    except ConfigurationError:
        assert len(prefix) + len(encode_name(db)) + len(encode_name(table)) + len("..tombstones") > 247
        return
    assert LEGAL.fullmatch(topics.data)
    assert LEGAL.fullmatch(topics.tombstones)
    reserved = {positions_topic(prefix), dead_letters_topic(prefix)}
    assert not reserved & {topics.data, topics.tombstones}


@given(
    st.lists(st.tuples(names.filter(bool), names.filter(bool)), min_size=2, max_size=2, unique=True),
)
def test_tables_never_share_a_topic(tables: list[tuple[str, str]]) -> None:
    try:
        one, other = (table_topics("p", *table) for table in tables)
    except ConfigurationError:
        return
    assert not {one.data, one.tombstones} & {other.data, other.tombstones}


def test_names_over_kafkas_limit_are_refused() -> None:
    longest = 249 - len("p.d..tombstones")
    assert len(table_topics("p", "d", "t" * longest).tombstones) == 249
    with pytest.raises(ConfigurationError, match="249"):
        table_topics("p", "d", "t" * (longest + 1))


def test_shapes_of_topics() -> None:
    data = data_topic_config(2_000_000, 3600)
    assert (data["cleanup.policy"], data["min.compaction.lag.ms"]) == ("compact", "3600000")
    assert data["max.message.bytes"] == "2000000"
    assert tombstone_topic_config(60) == {"cleanup.policy": "delete", "retention.ms": "60000"}
    system = dict(system_topics("p", 2_000_000))
    assert system["p.positions"]["max.message.bytes"] == "2000000"
    assert system["p.positions"]["cleanup.policy"] == "compact"
    assert system["p.dlq"]["retention.ms"] == "-1"
    every = [data, tombstone_topic_config(), *system.values()]
    assert all(isinstance(value, str) for config in every for value in config.values())
