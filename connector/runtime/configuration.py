"""The configuration as a list of keys with values and origins; secrets masked. Must never let a secret out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from connector.runtime.logs import MASK, is_secret_name
from connector.settings import Settings, origins

DEFAULT = "default"


class Entry(NamedTuple):
    """One key. value: as JSON shows it; shown: as a person reads it."""

    key: str
    value: Any
    shown: str
    origin: str
    changed: bool


def entries(settings: Settings, file: Path | None) -> list[Entry]:
    """Every key, in the order of the sections. file: what `settings` was loaded from."""
    found = origins(file)
    defaults = dict(_leaves(Settings.model_construct(), ""))
    return [
        Entry(key, value, _shown(value), _origin(key, found), value != defaults.get(key))
        for key, value in _leaves(settings, "")
    ]


def _leaves(model: BaseModel, prefix: str) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            leaves.extend(_leaves(value, f"{prefix}{name}."))
        elif isinstance(value, dict) and value and all(isinstance(v, BaseModel) for v in value.values()):
            for key, inner in value.items():
                leaves.extend(_leaves(inner, f"{prefix}{name}.{key}."))
        else:
            leaves.append((f"{prefix}{name}", _plain(value)))
    return leaves


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {k: MASK if is_secret_name(str(k)) else _plain(v) for k, v in value.items()}
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _origin(key: str, found: dict[str, str]) -> str:
    """A key that is a map, or stands in one, was set where a part of it was."""
    if key in found:
        return found[key]
    return next((origin for name, origin in found.items() if name.startswith(f"{key}.")), DEFAULT)
