"""A broker whose values carry ids of a schema registry: 00, the id in four bytes, then Avro.

Everything else of the connector sees values as they are without a registry, so there is one encoder, one decoder and
one way to resume. Keys pass untouched, always; so do values that are never registered (positions). A value that cannot
be made ours is passed on as it stands, for the decoder to refuse by its place: nothing is ever left out.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from typing import Protocol

from connector.broker import Acknowledged, Admin, Broker, Consumer, Headers, Lease, Producer, Record
from connector.errors import ConfigurationError
from connector.model import Lane
from connector.registry.client import Registered
from connector.registry.reading import Translate, Unreadable, reading
from connector.registry.subjects import Kind, written_with
from connector.settings import RegistrySettings
from connector.wire.schemas import MAGIC, REGISTRY_FRAME_BYTES, REGISTRY_MAGIC, Schema

log = logging.getLogger("connector.registry")

_new = tuple.__new__  # what a named tuple's own constructor calls, after a call of its own
_BEGINS = 11  # bytes of a value that tell its schema and, in a union, its branch


class Registry(Protocol):
    """What is asked of a registry here; `RegistryClient` fulfils it."""

    def schema(self, id: int) -> Schema | None: ...

    def find(self, subject: str, schema: Schema) -> Registered | None: ...

    def register(self, subject: str, schema: Schema) -> int: ...


class FramedBroker:
    """Fulfils `Broker` over another one. Nothing is asked of the registry before it is needed."""

    def __init__(self, inner: Broker, client: Registry, settings: RegistrySettings) -> None:
        self._inner = inner
        self._frames = Frames(client, settings)
        self._readings = Readings(client)

    def require(self, subjects: Sequence[tuple[str, Kind]]) -> None:
        """Asks for these now instead of when the first record comes. Raises ConfigurationError, Unreachable."""
        for subject, kind in subjects:
            self._frames.frame(subject, kind)

    def producer(self, acknowledged: Acknowledged) -> Producer:
        return _FramedProducer(self._inner.producer(acknowledged), self._frames)

    def consumer(self, group: str) -> Consumer:
        return _FramedConsumer(self._inner.consumer(group), self._readings)

    def admin(self) -> Admin:
        return self._inner.admin()

    def lease(self, topic: str, member: str) -> Lease:
        return self._inner.lease(topic, member)


class Frames:
    """Frames by subject, each asked for once: an id never changes."""

    def __init__(self, client: Registry, settings: RegistrySettings) -> None:
        self._client, self._settings = client, settings
        self._found: dict[str, bytes] = {}

    def of(self, topic: str, value: bytes) -> tuple[int, bytes]:
        """How many bytes of such a value to cut off, and what to put there. Raises ConfigurationError when its schema
        is not registered and may not be, and what the client raises."""
        kind = written_with(value, self._settings.subject_strategy)
        if kind is None:
            return 0, b""
        return len(kind.begins), self.frame(kind.subject(topic, self._settings.subject_strategy), kind)

    def frame(self, subject: str, kind: Kind) -> bytes:
        found = self._found.get(subject)
        if found is None:
            if self._settings.auto_register:
                id = self._client.register(subject, kind.schema)
            else:
                registered = self._client.find(subject, kind.schema)
                if registered is None:
                    raise ConfigurationError(
                        f"the schema registry has no {kind.name} of this version under the subject {subject}",
                        hint="Run `vecsync schemas check`, then `vecsync schemas register`.",
                    )
                id = registered.id
            found = self._found[subject] = REGISTRY_MAGIC + struct.pack(">i", id)
            log.info("schema found", extra={"subject": subject, "id": id})
        return found


class Readings:
    """What to do with values by their frame, each asked for once. `known`: beginnings of ours, by frame."""

    def __init__(self, client: Registry) -> None:
        self._client = client
        self.known: dict[bytes, bytes] = {}
        self._translations: dict[bytes, Translate] = {}

    def ours(self, value: bytes) -> bytes:
        """The value as it would be without a registry; unchanged when it cannot be made that."""
        frame = value[:REGISTRY_FRAME_BYTES]
        if frame not in self.known and frame not in self._translations:
            (id,) = struct.unpack_from(">i", frame, 1)
            schema = self._client.schema(id)
            try:
                if schema is None:
                    raise Unreadable("the registry has no Avro schema of that id")
                found = reading(schema)
            except Unreadable as error:
                log.warning("a schema cannot be read", extra={"id": id, "why": str(error)})
                return value
            if isinstance(found, bytes):
                self.known[frame] = found
            else:
                self._translations[frame] = found
        begins = self.known.get(frame)
        if begins is not None:
            return begins + value[REGISTRY_FRAME_BYTES:]
        made = self._translations[frame](value[REGISTRY_FRAME_BYTES:])
        return value if made is None else made


class _FramedProducer:
    """Fulfils `Producer`."""

    def __init__(self, inner: Producer, frames: Frames) -> None:
        self._send, self.poll, self.flush, self.close = inner.send, inner.poll, inner.flush, inner.close
        self.hurry = inner.hurry
        self._frames = frames
        self._known: dict[tuple[str, bytes], tuple[bytes, bytes]] = {}

    def send(self, lane: Lane, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        if not value or value[0] != MAGIC[0]:
            self._send(lane, key, value, headers)
            return
        begins = (lane[0], value[:_BEGINS])
        known = self._known.get(begins)
        if known is None:
            cut, frame = self._frames.of(lane.topic, value)
            known = self._known[begins] = (value[:cut], frame)
        ours, frame = known
        # The first place where those bytes stand is the beginning: this is a replacement there, in a single copy.
        self._send(lane, key, value.replace(ours, frame, 1) if ours else value, headers)


class _FramedConsumer:
    """Fulfils `Consumer`."""

    def __init__(self, inner: Consumer, readings: Readings) -> None:
        self._consume, self._readings = inner.consume, readings
        self.assign, self.positions, self.commit, self.close = inner.assign, inner.positions, inner.commit, inner.close

    def consume(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        known, ours = self._readings.known, self._readings.ours
        unframed = []
        for record in self._consume(max_records, timeout_s):
            topic, partition, offset, key, value, time, epoch, headers = record
            if value and value[0] == 0 and len(value) >= REGISTRY_FRAME_BYTES:
                begins = known.get(value[:REGISTRY_FRAME_BYTES])
                new = ours(value) if begins is None else begins + value[REGISTRY_FRAME_BYTES:]
                unframed.append(_new(Record, (topic, partition, offset, key, new, time, epoch, headers)))
            else:
                unframed.append(record)
        return unframed
