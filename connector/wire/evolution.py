"""Whether two versions of a schema may stand on one topic: by the resolution rules of Avro 1.11. Pure.

FULL_TRANSITIVE means that `problems` finds nothing between any two versions, in both directions: readers of any age
then understand records of any age. Narrower than Avro allows: a name that changed is another thing, aliases or not.
"""

from __future__ import annotations

from typing import Any

from fastavro.schema import parse_schema

from connector.wire.schemas import Schema

_PROMOTED = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def problems(written: Schema, reading: Schema) -> list[str]:
    """Why a record written with one schema could not be read with the other; nothing when every one can."""
    pair = _Pair({}, {})
    writer = parse_schema(written, named_schemas=pair.written)
    reader = parse_schema(reading, named_schemas=pair.reading)
    return pair.compare(writer, reader, "")


def between(one: Schema, other: Schema) -> list[str]:
    """`problems` in both directions: FULL."""
    forth = [f"the second does not read the first: {what}" for what in problems(one, other)]
    return forth + [f"the first does not read the second: {what}" for what in problems(other, one)]


class _Pair:
    """Two schemas under comparison: what their names stand for, and which were compared already."""

    def __init__(self, written: dict[str, Any], reading: dict[str, Any]) -> None:
        self.written, self.reading = written, reading
        self._compared: set[tuple[str, str]] = set()

    def compare(self, writer: Any, reader: Any, path: str) -> list[str]:
        w, r = _meant(writer, self.written), _meant(reader, self.reading)
        if isinstance(w, list):
            return [what for branch in w for what in self.compare(branch, r, path)]
        if isinstance(r, list):
            tried = [self.compare(w, branch, path) for branch in _candidates(w, r, self.reading)]
            return min(tried, key=len, default=[f"{path or 'the value'}: {_kind(w)} is no branch of the union"])
        kind, wanted = _kind(w), _kind(r)
        if kind != wanted:
            fine = wanted in _PROMOTED.get(kind, ())
            return [] if fine else [f"{path or 'the value'}: {kind} cannot be read as {wanted}"]
        if kind in ("record", "enum", "fixed") and w["name"] != r["name"]:
            return [f"{path or 'the value'}: {w['name']} cannot be read as {r['name']}"]
        if kind == "record":
            return self._records(w, r)
        if kind == "enum":
            missing = [symbol for symbol in w["symbols"] if symbol not in r["symbols"]]
            return [f"{path}: no symbol {symbol}" for symbol in missing] if "default" not in r else []
        if kind == "fixed" and w["size"] != r["size"]:
            return [f"{path}: {w['size']} bytes cannot be read as {r['size']}"]
        if kind == "array":
            return self.compare(w["items"], r["items"], f"{path}[]")
        if kind == "map":
            return self.compare(w["values"], r["values"], f"{path}{{}}")
        return []

    def _records(self, w: Any, r: Any) -> list[str]:
        pair = (w["name"], r["name"])
        if pair in self._compared:
            return []
        self._compared.add(pair)
        there = {field["name"]: field for field in w["fields"]}
        found: list[str] = []
        for field in r["fields"]:
            path = f"{r['name'].rsplit('.', 1)[-1]}.{field['name']}"
            if field["name"] in there:
                found += self.compare(there[field["name"]]["type"], field["type"], path)
            elif "default" not in field:
                found.append(f"{path} is missing and has no default")
        return found


def _meant(schema: Any, names: dict[str, Any]) -> Any:
    """The definition behind a name, and a primitive type as its name alone."""
    if isinstance(schema, str):
        return names.get(schema, schema)
    if isinstance(schema, dict) and isinstance(schema["type"], dict | list):
        return _meant(schema["type"], names)
    return schema


def _kind(schema: Any) -> str:
    return str(schema if isinstance(schema, str) else schema["type"])


def _candidates(w: Any, union: list[Any], names: dict[str, Any]) -> list[Any]:
    """Of a reader's union, what a writer's branch could be read as: its namesake if there is one."""
    same = [b for b in union if isinstance(w, dict) and _kind(w) == "record" and _name(b, names) == w["name"]]
    return same or union


def _name(schema: Any, names: dict[str, Any]) -> object:
    found = _meant(schema, names)
    return found.get("name") if isinstance(found, dict) else None
