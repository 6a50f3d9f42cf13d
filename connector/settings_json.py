"""What to say of a variable that holds a list or a map, and not as JSON: which it is, and how it would be right.

Must never repeat the value of a map: it may hold a secret.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel

from connector.errors import ConfigurationError


def not_json(settings: type[BaseModel], prefix: str, secrets: str | None) -> ConfigurationError | None:
    """The first variable, line of `.env` or secrets file that is to be JSON and is not. secrets: their directory."""
    for place, name, value in _given(prefix, secrets):
        wanted = _wanted(settings, name[len(prefix) :].lower().split("__"))
        if wanted is None or not value or _is_json(value):
            continue
        where = "" if place == "environment" else f" ({place})"
        if wanted is list:
            right = json.dumps(_items(value), ensure_ascii=False)
            hint = f"The file holds: {right}" if place == "secrets directory" else f"Write {name}={shlex.quote(right)}"
            return ConfigurationError(f"{name}{where} is a list, and lists are written as JSON", hint=hint)
        hint = f"Write {name}='{{\"name\": ...}}', with names and texts in double quotes."
        if wanted is not dict:
            hint = f"Set its keys one by one: {name}__{next(iter(wanted.model_fields)).upper()}=... and so on."
        return ConfigurationError(f"{name}{where} is a map, and maps are written as JSON", hint=hint)
    return None


def _given(prefix: str, secrets: str | None) -> Iterator[tuple[str, str, str]]:
    """(place, name, value), strongest first."""
    found: list[tuple[str, str, str | None]] = [("environment", name, value) for name, value in os.environ.items()]
    found += [(".env", name, value) for name, value in dotenv_values(".env").items()]
    files = sorted(Path(secrets).iterdir()) if secrets and Path(secrets).is_dir() else []
    found += [("secrets directory", file.name, file.read_text().strip()) for file in files if file.is_file()]
    for place, name, value in found:
        if name.upper().startswith(prefix) and value is not None:
            yield place, name, value


def _wanted(settings: type[BaseModel], path: list[str]) -> Any:
    """list, dict or the class of a section, if that is what the key holds; None for any other, and for no key."""
    annotation: Any = settings
    for part in path:
        if typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[1]
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and part in annotation.model_fields:
            annotation = annotation.model_fields[part].annotation
        else:
            return None
    origin = typing.get_origin(annotation)
    if origin in (list, dict):
        return origin
    inner = (annotation, *typing.get_args(annotation))
    return next((c for c in inner if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _items(value: str) -> list[str]:
    """What a person most likely meant: names between commas, with or without brackets and quotes."""
    return [item.strip(" \t\"'") for item in re.split(r"[,;\n]", value.strip().strip("[]")) if item.strip(" \t\"'")]
