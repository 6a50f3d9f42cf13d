"""The Avro schemas of `avro/`, parsed once, and the framing that names them on the wire.

A value is framed as an Avro single-object encoding: C3 01, the 8-byte CRC-64-AVRO fingerprint of the writer's schema
(little-endian), then plain Avro binary (Avro specification 1.11, "Single-object encoding"). Keys carry no frame:
compaction compares bytes, so they must stay the same for ever. Where a schema registry is configured values have
another frame on the log, 00 and the registry's id in four bytes, which `registry` puts on and takes off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from connector.errors import ConfigurationError

Schema = Any  # a parsed fastavro schema: dict, list or str

MAGIC = b"\xc3\x01"
FRAME_BYTES = 10
REGISTRY_MAGIC = b"\x00"
REGISTRY_FRAME_BYTES = 5


def schema_directory() -> Path:
    """Inside the installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / "avro", package.parent / "avro"):
        if (place / "value.avsc").is_file():
            return place
    raise ConfigurationError(
        "the Avro schemas are missing from the installation",
        hint="Install the package again; it carries them in its folder `avro`.",
    )


def load(name: str) -> Schema:
    """The schema in `avro/<name>.avsc` as written."""
    return json.loads((schema_directory() / f"{name}.avsc").read_text(encoding="utf-8"))


def frame_of(schema: Schema) -> bytes:
    """The ten bytes before a value written with that schema."""
    text = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return MAGIC + bytes.fromhex(text)


def branches(union: Schema) -> list[Schema]:
    """The records of a union, each parsed so that it can be read and written by itself."""
    named: dict[str, Any] = {}
    return [parse_schema(record, named_schemas=named, expand=True) for record in union]
