"""From a schema of the registry to values as this version writes them. Pure.

What is known byte for byte gets another beginning; what differs as Avro's rules allow is read with the schema it was
written with and written anew with ours. Anything else stays as it is, and whoever decodes it then refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException, parse_schema, to_parsing_canonical_form

from connector.registry.subjects import KINDS, RECORDS, TOMBSTONE, Kind
from connector.wire.events import UNREADABLE
from connector.wire.evolution import problems
from connector.wire.schemas import Schema, branches

Translate = Callable[[bytes], bytes | None]
"""Of the Avro bytes behind a frame; None when they are not what their schema says."""

_CANONICAL = {to_parsing_canonical_form(kind.schema): kind for kind in KINDS}
_BY_NAME = {kind.name: kind for kind in (*RECORDS, TOMBSTONE)}


class Unreadable(Exception):
    """Why values of a schema cannot be read."""


def reading(schema: Schema) -> bytes | Translate:
    """The beginning that takes the place of the frame, or how the rest is made anew. Raises Unreadable."""
    try:
        known = _CANONICAL.get(to_parsing_canonical_form(schema))
        if known is not None:
            return known.begins
        parts = branches(schema) if isinstance(schema, list) else [parse_schema(schema)]
    except (SchemaParseException, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"it is no Avro schema: {error}") from error
    pairs = [(part, _same(part)) for part in parts]
    if isinstance(schema, list):
        return lambda body: _of_union(pairs, body)
    part, kind = pairs[0]
    return lambda body: _anew(part, kind, body)


def _same(written: Any) -> Kind:
    """Ours of the same name. Raises Unreadable when not every record of the other could be read."""
    name = written.get("name") if isinstance(written, dict) else None
    kind = _BY_NAME.get(str(name))
    if kind is None:
        raise Unreadable(f"it is of {name or written}, which is nothing of ours")
    found = problems(written, kind.schema)
    if found:
        raise Unreadable("; ".join(found))
    return kind


def _of_union(pairs: list[tuple[Any, Kind]], body: bytes) -> bytes | None:
    # The branch is a zigzag number, one byte for the first 64.
    if not body or body[0] & 0x81 or body[0] >> 1 >= len(pairs):
        return None
    part, kind = pairs[body[0] >> 1]
    return _anew(part, kind, body[1:])


def _anew(written: Any, kind: Kind, body: bytes) -> bytes | None:
    stream, out = BytesIO(body), BytesIO()
    ours = parse_schema(kind.schema)
    try:
        # First as it was written: what only the other version has is passed over otherwise, cut off or not.
        schemaless_reader(stream, written, None)
        if stream.tell() != len(body):
            return None
        stream.seek(0)
        fields: Any = schemaless_reader(stream, written, ours)
        out.write(kind.begins)
        schemaless_writer(out, ours, fields)
    except (*UNREADABLE, SchemaResolutionError):
        return None
    return out.getvalue()
