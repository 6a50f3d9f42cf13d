"""Schemas on one topic: every version that was released agrees with the present one, and the rule itself."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from connector.wire.evolution import between, problems
from connector.wire.schemas import load

RELEASED = Path(__file__).parent / "released"
VERSIONS = sorted(path for path in RELEASED.iterdir() if path.is_dir())
CHANGELOG = Path(__file__).parents[3] / "CHANGELOG.md"


@pytest.mark.parametrize("name", ["value", "tombstone", "position"])
def test_every_released_version_agrees_with_every_other(name: str) -> None:
    schemas = {version.name: json.loads((version / f"{name}.avsc").read_text()) for version in VERSIONS}
    schemas["present"] = load(name)
    for one, first in schemas.items():
        for other, second in schemas.items():
            assert problems(first, second) == [], f"{name}.avsc of {one}, read by {other}"


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_keys_never_change(version: Path) -> None:
    assert json.loads((version / "key.avsc").read_text()) == load("key")


def test_every_release_left_its_schemas() -> None:
    released = set(re.findall(r"^## \[(\d+\.\d+\.\d+)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE))
    missing = released - {version.name for version in VERSIONS}
    assert not missing, "copy avro/*.avsc to tests/unit/wire/released/<version>"


def record(*fields: dict[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "namespace": "x", "name": name, "fields": list(fields)}


def field(name: str, type: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


INNER = record(field("a", "long"), name="Inner")
BASE = record(
    field("id", "string"),
    field("kind", {"type": "enum", "name": "Kind", "namespace": "x", "symbols": ["c", "d"]}),
    field("inner", ["null", INNER]),
    field("list", {"type": "array", "items": "x.Inner"}),
    field("map", {"type": "map", "values": "int"}),
    field("sum", {"type": "fixed", "name": "Sum", "namespace": "x", "size": 4}),
)


def changed(path: str, value: Any) -> dict[str, Any]:
    """A copy of BASE with something else at that place: names of fields, then keys."""
    schema = copy.deepcopy(BASE)
    name, *keys = path.split("/")
    at: Any = next(f for f in schema["fields"] if f["name"] == name)
    for key in keys[:-1]:
        at = at[int(key) if key.isdigit() else key]
    at[keys[-1]] = value
    return schema


ADDED = copy.deepcopy(BASE)
ADDED["fields"].append(field("more", ["null", "string"], default=None))
BARE = copy.deepcopy(BASE)
BARE["fields"].append(field("more", "string"))
FEWER = copy.deepcopy(BASE)
del FEWER["fields"][0]


@pytest.mark.parametrize(
    ("other", "forth", "back"),
    [
        (BASE, "", ""),
        (ADDED, "", ""),
        (BARE, "R.more is missing", ""),
        (FEWER, "", "R.id is missing"),
        (changed("id/type", "bytes"), "", ""),
        (changed("id/type", "long"), "R.id: string cannot be read as long", "R.id: long cannot be read as string"),
        (changed("id/type", ["null", "string"]), "", "R.id: null cannot be read as string"),
        (changed("kind/type/symbols", ["c", "d", "e"]), "", "no symbol e"),
        (changed("kind/type/name", "Sort"), "x.Kind cannot be read as x.Sort", "x.Sort cannot be read as x.Kind"),
        (changed("map/type/values", "long"), "", "R.map{}: long cannot be read as int"),
        (changed("sum/type/size", 8), "4 bytes cannot be read as 8", "8 bytes cannot be read as 4"),
        (changed("inner/type", [INNER]), "R.inner: null", ""),
        (
            changed("inner/type/1/fields", [field("b", "long")]),
            "Inner.b is missing and has no default",
            "Inner.a is missing and has no default",
        ),
    ],
)
def test_what_may_change(other: Any, forth: str, back: str) -> None:
    """forth: written as BASE and read with the other; back: the other way round."""
    for found, expected in ((problems(BASE, other), forth), (problems(other, BASE), back)):
        assert bool(found) == bool(expected), found
        assert expected in " ".join(found)
    assert len(between(BASE, other)) == len(problems(BASE, other)) + len(problems(other, BASE))


def test_a_union_of_records_is_compared_by_name() -> None:
    one, two = record(field("a", "long"), name="One"), record(field("b", "long"), name="Two")
    assert problems([one, two], [two, one]) == []
    assert problems([one], [one, two]) == []
    assert "x.Two" in " ".join(problems([one, two], [one]))


def test_a_record_that_holds_itself_ends() -> None:
    tree = record(field("next", ["null", "x.R"], default=None))
    assert problems(tree, tree) == []
