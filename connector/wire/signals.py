"""Signals as bytes: the records of `<prefix>.signals`, by which a running capture is asked for something.

Debezium's vocabulary, so that what people know works here: JSON with `type` and `data`. What is not understood is
refused, and never done by half.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from connector.errors import UsageError

EXECUTE_SNAPSHOT = "execute-snapshot"
_HINT = 'Send {"type": "execute-snapshot", "data": {"datasets": [...]}}, or use `vecsync capture snapshot`.'
_DATA = {"type", "data-collections", "datasets"}


class SnapshotSignal(NamedTuple):
    """Rows are to be read again. datasets: those of them; None: all. tables: as `database.table`; empty: all."""

    datasets: tuple[str, ...] | None = None
    tables: tuple[str, ...] = ()
    id: str = ""


def signal_key(source_name: str) -> bytes:
    return source_name.encode()


def encode_signal(signal: SnapshotSignal) -> bytes:
    data: dict[str, Any] = {"type": "incremental"}
    if signal.tables:
        data["data-collections"] = list(signal.tables)
    if signal.datasets is not None:
        data["datasets"] = list(signal.datasets)
    return json.dumps({"id": signal.id, "type": EXECUTE_SNAPSHOT, "data": data}, ensure_ascii=False).encode()


def decode_signal(value: bytes | None) -> SnapshotSignal:
    """Raises UsageError for what is none."""
    try:
        found = json.loads(value or b"")
    except (ValueError, RecursionError) as error:
        raise _refused(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _refused("it is no JSON object")
    kind, data, id = found.get("type"), found.get("data"), found.get("id")
    if kind != EXECUTE_SNAPSHOT:
        raise _refused(f"its type is {kind!r}, and only {EXECUTE_SNAPSHOT!r} is known")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise _refused(f"its data is no JSON object: {data!r}")
    unknown = sorted(data.keys() - _DATA)
    if unknown:
        raise _refused(f"its data has {', '.join(unknown)}, which is not known")
    how = data.get("type")
    if how is not None and str(how).lower() != "incremental":
        raise _refused(f"it asks for a snapshot of type {how!r}, and only 'incremental' is known")
    datasets = _texts(data, "datasets") if data.get("datasets") is not None else None
    if datasets == ():
        raise _refused("its datasets is an empty list; without it, all are meant")
    return SnapshotSignal(datasets, _texts(data, "data-collections"), "" if id is None else str(id))


def _refused(why: str) -> UsageError:
    return UsageError(why, hint=_HINT)


def _texts(data: dict[str, Any], name: str) -> tuple[str, ...]:
    """Without repetitions; empty where there is no such list."""
    found = data.get(name)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise _refused(f"its {name} is no list of names: {found!r}")
    texts: Sequence[str] = found
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _refused(f"its {name} has a name that is no Unicode text: {text!r}") from error
    return tuple(dict.fromkeys(texts))
