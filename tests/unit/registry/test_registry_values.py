"""Values with a registry's ids: what is registered, and that what comes back is what was sent."""

from __future__ import annotations

import copy
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import schemaless_reader, schemaless_writer
from fastavro.schema import parse_schema
from hypothesis import given

from connector.broker import TopicSpec
from connector.broker.embedded import EmbeddedBroker
from connector.errors import ConfigurationError, CorruptedLog, UnsupportedChange
from connector.model import (
    CommitOrder,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Lane,
    Op,
    SourceInfo,
)
from connector.registry.client import Registered
from connector.registry.framed import FramedBroker, Frames, Readings
from connector.registry.reading import Unreadable, reading
from connector.registry.subjects import KINDS, RECORDS, TOMBSTONE, VALUE, Kind, Strategy
from connector.settings import RegistrySettings
from connector.wire import DocEncoder, TransactionInfo, decode_value, encode_position, encode_value
from connector.wire.schemas import Schema
from tests.unit.wire.wire_values import changes, positions, transactions

SOURCE = SourceInfo("mysql", "vecsync", 1, False, "app", "docs", 1, None, "b.1", 4, 1)
ORDER = CommitOrder(1, 7, 4096, 3)
INFO = TransactionInfo("x", 1, True)
CHANGE = DocChange(
    Op.UPDATE, DocKey("d", "i"), 5, Document("text", "{}", b"1234", "m", 5, False, "2025-01-01", None), ORDER, SOURCE
)
DATASET = DatasetChange(Op.DELETE, DatasetKey("d"), None, ORDER, SOURCE)
FLOOR = Floor(FloorKey(None), ORDER, FloorReason.TRUNCATE, SOURCE)
STRATEGIES: list[Strategy] = ["topic", "record"]


class Fake:
    """A registry in memory."""

    def __init__(self, first: int = 1) -> None:
        self.schemas: dict[int, Schema] = {}
        self.subjects: dict[str, list[int]] = {}
        self.first = first
        self.asked = 0

    def schema(self, id: int) -> Schema | None:
        self.asked += 1
        return self.schemas.get(id)

    def find(self, subject: str, schema: Schema) -> Registered | None:
        for version, id in enumerate(self.subjects.get(subject, []), 1):
            if self.schemas[id] == schema:
                return Registered(subject, version, id)
        return None

    def register(self, subject: str, schema: Schema) -> int:
        id = next((id for id, known in self.schemas.items() if known == schema), len(self.schemas) + self.first)
        self.schemas[id] = json.loads(json.dumps(schema))
        self.subjects.setdefault(subject, []).append(id)
        return id


def settings(strategy: Strategy = "topic", **more: Any) -> RegistrySettings:
    return RegistrySettings(url="http://nowhere", subject_strategy=strategy, **more)


def framed(value: bytes, fake: Fake, strategy: Strategy) -> bytes:
    cut, frame = Frames(fake, settings(strategy, auto_register=True)).of("p.app.docs", value)
    return frame + value[cut:]


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(changes, transactions)
def test_what_was_framed_comes_back(strategy: Strategy, change: Any, transaction: TransactionInfo) -> None:
    value, fake = encode_value(change, transaction, 7), Fake(first=300)
    sent = framed(value, fake, strategy)
    assert sent[:3] == b"\x00\x00\x00"
    assert Readings(fake).ours(sent) == value
    (schema,) = fake.schemas.values()
    stream = BytesIO(sent[5:])
    fields: Any = schemaless_reader(stream, parse_schema(schema), None)
    assert stream.read() == b""
    assert fields["order"]["epoch"] == change.order.epoch
    with pytest.raises(UnsupportedChange, match="id 300"):
        decode_value(sent)


@given(positions)
def test_positions_stay_as_they_are(position: Any) -> None:
    value = encode_position(position)
    assert framed(value, Fake(), "topic") == value


def test_subjects() -> None:
    assert VALUE.subject("p.app.docs", "topic") == "p.app.docs-value"
    assert [kind.subject("p.app.docs", "record") for kind in (*RECORDS, TOMBSTONE)] == [
        *("vecsync.DocChange", "vecsync.DatasetChange", "vecsync.Floor", "vecsync.Tombstone"),
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_registered_schema_stands_alone(kind: Kind) -> None:
    parse_schema(copy.deepcopy(kind.schema))
    assert '"doc"' not in json.dumps(kind.schema)
    assert reading(json.loads(json.dumps(kind.schema))) == kind.begins


def test_what_is_not_registered_is_asked_for_by_name() -> None:
    frames = Frames(Fake(), settings())
    value = encode_value(FLOOR, INFO, 1)
    with pytest.raises(ConfigurationError, match=r"p\.app\.docs-value") as caught:
        frames.of("p.app.docs", value)
    assert "schemas register" in caught.value.hint


def later(base: Kind = VALUE) -> Any:
    """The next version: a field more."""
    schema = json.loads(json.dumps(base.schema))
    record = schema[0] if isinstance(schema, list) else schema
    record["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    return schema


@pytest.mark.parametrize("base", [VALUE, RECORDS[0]], ids=["topic", "record"])
def test_a_later_version_is_read_as_far_as_it_is_known(base: Kind) -> None:
    fake, written, info = Fake(), later(base), TransactionInfo("x", 1, True)
    ours = encode_value(CHANGE, info, 5)
    fields: Any = schemaless_reader(BytesIO(ours[11:]), parse_schema(copy.deepcopy(RECORDS[0].schema)), None)
    out = BytesIO()
    branch = ("vecsync.DocChange", {**fields, "colour": "red"})
    schemaless_writer(out, parse_schema(written), branch if isinstance(written, list) else branch[1])
    id = fake.register("s", written)
    frame = b"\0" + id.to_bytes(4, "big")
    readings = Readings(fake)
    assert readings.ours(frame + out.getvalue()) == ours
    assert readings.ours(frame + out.getvalue()) == ours
    assert fake.asked == 1
    damaged = frame + out.getvalue()[:-3]
    assert readings.ours(damaged) == damaged  # and whoever decodes it refuses it
    with pytest.raises(UnsupportedChange):
        decode_value(damaged)


def test_what_cannot_be_read_is_passed_on_and_refused() -> None:
    fake = Fake()
    broken = later()
    broken[0]["fields"] = [field for field in broken[0]["fields"] if field["name"] != "dataset_id"]
    with pytest.raises(Unreadable, match=r"DocChange\.dataset_id is missing and has no default"):
        reading(broken)
    for schema in ("string", {"type": "record", "name": "Other", "fields": []}, {"type": "nonsense"}):
        with pytest.raises(Unreadable):
            reading(schema)
    for frame in (b"\0" + fake.register("s", broken).to_bytes(4, "big"), b"\0\0\0\0\x63"):
        value = frame + b"rest"
        assert Readings(fake).ours(value) == value


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_log_with_both_kinds_of_frames(strategy: Strategy, tmp_path: Path) -> None:
    plain, fake = EmbeddedBroker(tmp_path / "events.db"), Fake()
    broker = FramedBroker(plain, fake, settings(strategy, auto_register=True))
    admin = broker.admin()
    admin.create([TopicSpec("t", 1)])
    admin.close()
    lane = Lane("t", 0)
    values = [encode_value(change, INFO, 1) for change in (CHANGE, FLOOR, DATASET)]
    values[0] = DocEncoder()(CHANGE, INFO, 1)
    for writer in (plain, broker):
        producer = writer.producer(lambda lane, offset: None)
        for value in values:
            producer.send(lane, b"key", value)
        producer.send(lane, b"key", None)
        producer.send(lane, b"key", b"")
        producer.flush(5)
        producer.close()
    consumer = broker.consumer("g")
    consumer.assign({lane: 0})
    found = [record.value for record in consumer.consume(100, 1)]
    consumer.close()
    assert found == [*values, None, b""] * 2
    raw = plain.consumer("g")
    raw.assign({lane: 0})
    records = list(raw.consume(100, 1))
    raw.close()
    assert [r.value[:1] for r in records if r.value] == [b"\xc3"] * 3 + [b"\x00"] * 3
    assert {r.key for r in records} == {b"key"}


def test_an_address_without_an_account() -> None:
    for url in ("ftp://x", "http://u:secret-word@x/", "http://", "http://x:1x/", "https://x/?a=b"):
        with pytest.raises(ValueError, match="url") as caught:
            RegistrySettings(url=url)
        assert "secret-word" not in str(caught.value)


def test_a_frame_too_short_is_corrupted() -> None:
    with pytest.raises(CorruptedLog):
        decode_value(b"\0\0\0")
