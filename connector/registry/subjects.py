"""What is registered, and under which name. Pure.

By topic: one subject for each topic, `<topic>-value`, with the union of what stands there. By record: one subject for
each kind of record, under its own name; a value is then that record alone, without the union's branch. Either way one
schema is the same text whatever topic it is registered for, and its documentation is left out: a comment that was
improved is no new version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from connector.wire.events import DATASET_HEAD, DOC_HEAD, FLOOR_HEAD
from connector.wire.schemas import Schema, frame_of, load

Strategy = Literal["topic", "record"]


class Kind(NamedTuple):
    """A schema that values are written with. begins: how such a value begins where no registry is used; the rest of it
    is the same with one. file: of `avro/`."""

    name: str
    file: str
    schema: Schema
    begins: bytes

    def subject(self, topic: str, strategy: Strategy) -> str:
        return self.name if strategy == "record" else f"{topic}-value"


def _plain(schema: Any) -> Any:
    """Without documentation."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if isinstance(schema, dict):
        return {name: value if name == "default" else _plain(value) for name, value in schema.items() if name != "doc"}
    return schema


def _alone(schema: Any, defined: dict[str, Any], seen: set[str]) -> Any:
    """A record of a union as a schema by itself: every name is defined where it stands first."""
    if isinstance(schema, str) and schema in defined and schema not in seen:
        schema = defined[schema]
    if isinstance(schema, list):
        return [_alone(part, defined, seen) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "name" in schema and "type" in schema and isinstance(schema["type"], str) and schema["type"] in _NAMED:
        name = f"{schema['namespace']}.{schema['name']}"
        if name in seen:
            return name
        seen.add(name)
    out = dict(schema)
    for part in ("type", "items", "values"):
        if part in out and not (part == "type" and out.get("type") in _NAMED):
            out[part] = _alone(out[part], defined, seen)
    if "fields" in out:
        out["fields"] = [{**field, "type": _alone(field["type"], defined, seen)} for field in out["fields"]]
    return out


_NAMED = ("record", "enum", "fixed")


def _definitions(schema: Any, found: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema, list):
        for part in schema:
            _definitions(part, found)
    elif isinstance(schema, dict):
        if schema.get("type") in _NAMED:
            found[f"{schema['namespace']}.{schema['name']}"] = schema
        for part in (schema.get("type"), schema.get("items"), schema.get("values"), *schema.get("fields", ())):
            _definitions(part, found)
    return found


_union, _tombstone = _plain(load("value")), _plain(load("tombstone"))
_defined = _definitions(_union, {})
_records = [_alone(record, _defined, set()) for record in _union]

VALUE = Kind("vecsync.value", "value", _union, frame_of(_union))
TOMBSTONE = Kind("vecsync.Tombstone", "tombstone", _tombstone, frame_of(_tombstone))
RECORDS = tuple(
    Kind(f"vecsync.{record['name']}", "value", record, begins)
    for record, begins in zip(_records, (DOC_HEAD, DATASET_HEAD, FLOOR_HEAD), strict=True)
)
KINDS: Sequence[Kind] = (VALUE, *RECORDS, TOMBSTONE)
"""Every schema that a reader of this version knows."""


def written_with(value: bytes, strategy: Strategy) -> Kind | None:
    """The kind of a value as our encoders write it; None for what is never registered (positions)."""
    kinds = (*RECORDS, TOMBSTONE) if strategy == "record" else (VALUE, TOMBSTONE)
    return next((kind for kind in kinds if value.startswith(kind.begins)), None)


def kinds_on(topic: str, tombstones: bool, strategy: Strategy) -> list[tuple[str, Kind]]:
    """Subjects and schemas of a topic; `tombstones` says which of the two kinds of topic it is."""
    kinds = (TOMBSTONE,) if tombstones else RECORDS if strategy == "record" else (VALUE,)
    return [(kind.subject(topic, strategy), kind) for kind in kinds]
