"""The schemas of this version, and what a registry has of them. Only `register` changes anything there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from connector.errors import ConfigurationError
from connector.publish import followed_topics, recorded_position, with_known
from connector.registry import RegistryClient, open_broker
from connector.registry.subjects import Kind, kinds_on
from connector.settings import Settings
from connector.topics import dead_letters_topic
from connector.upstream.presence import with_present
from connector.upstream.tables import Patterns
from connector.wire.evolution import between
from connector.wire.schemas import frame_of, load

FILES = ("key", "value", "tombstone", "position")
COMPATIBILITY = "FULL_TRANSITIVE"


class SchemaFile(NamedTuple):
    """fingerprint: CRC-64-AVRO as it stands on the wire, in hex; None for keys, which carry no frame."""

    file: str
    records: Sequence[str]
    fingerprint: str | None


class Subject(NamedTuple):
    """A schema in the registry; version and id are None while it is not there."""

    subject: str
    schema: str
    version: int | None
    id: int | None


class Difference(NamedTuple):
    """version: of the subject, with which our schema does not agree; None when ours is not registered."""

    subject: str
    version: int | None
    problems: Sequence[str]


def files() -> list[SchemaFile]:
    found = []
    for name in FILES:
        schema = load(name)
        records = [record["name"] for record in (schema if isinstance(schema, list) else [schema])]
        found.append(SchemaFile(f"{name}.avsc", records, None if name == "key" else frame_of(schema)[2:].hex()))
    return found


def subjects(settings: Settings) -> list[tuple[str, Kind]]:
    """Everything that capture writes with, by subject; of tables that match a pattern, those that there are, and those
    that it found before. Raises ConfigurationError, and Unreachable where source and broker have to be asked for
    these."""
    strategy = settings.registry.subject_strategy
    if Patterns(settings.source):
        recorded = recorded_position(open_broker(settings), settings.topics.prefix)
        settings = with_present(with_known(settings, recorded))
    found: dict[str, Kind] = {}
    for topics in followed_topics(settings).values():
        found |= dict(kinds_on(topics.data, False, strategy))
        found |= dict(kinds_on(topics.tombstones, True, strategy))
    return list((found | dict(kinds_on(dead_letters_topic(settings.topics.prefix), False, strategy))).items())


def registered(settings: Settings) -> list[Subject]:
    """What the registry has of ours. Raises Unreachable, AuthenticationFailed, ConfigurationError."""
    client = _client(settings)
    found = []
    for subject, kind in subjects(settings):
        there = client.find(subject, kind.schema)
        found.append(Subject(subject, kind.name, there and there.version, there and there.id))
    return found


def check(settings: Settings) -> list[Difference]:
    """Whether ours are there, and agree with every version under their subjects, whatever the registry itself is set
    to check. Raises as `registered`."""
    client = _client(settings)
    found = []
    for subject, kind in subjects(settings):
        if client.find(subject, kind.schema) is None:
            found.append(Difference(subject, None, ["is not registered as this version has it"]))
        for version, schema in client.versions(subject):
            problems = ["is no Avro schema"] if schema is None else between(schema, kind.schema)
            if problems:
                found.append(Difference(subject, version, problems))
    return found


def register(settings: Settings) -> list[Subject]:
    """Registers what is missing, and asks the registry to hold later versions to FULL_TRANSITIVE. Raises as
    `registered`, and DifferenceFound where the registry does not take a schema."""
    client = _client(settings)
    for subject, kind in subjects(settings):
        if client.find(subject, kind.schema) is None:
            client.register(subject, kind.schema)
        client.ask_for(subject, COMPATIBILITY)
    return registered(settings)


def _client(settings: Settings) -> RegistryClient:
    if settings.registry.url is None:
        raise ConfigurationError("no schema registry is configured", hint="Set registry.url.")
    return RegistryClient(settings.registry)
