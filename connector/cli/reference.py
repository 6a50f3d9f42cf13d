"""Writes the reference pages from what the program itself knows: settings and commands.

    python -m connector.cli.reference [DIRECTORY]      (docs/reference unless said)

A test fails when the pages are not what this would write. Nothing here is to be said a second time by hand.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.text import Text

from connector.cli.app import program
from connector.cli.failures import EXIT_CODES
from connector.cli.output import print_line
from connector.settings import ENV_PREFIX, Settings

_MADE = "<!-- Made by `python -m connector.cli.reference`; changes belong into the program. -->\n"
_TYPES: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    Path: "path",
    SecretStr: "secret",
}


def pages() -> dict[str, str]:
    """File name to text."""
    return {"configuration.md": configuration(), "cli.md": cli()}


def configuration() -> str:
    """Every key with type, default, environment variable and meaning."""
    parts = [
        "# Configuration\n",
        _MADE,
        "Sources, strongest first: command line, environment, `.env`, secrets directory, YAML file (`vecsync.yaml`, or"
        " `--config FILE`). Unknown keys are refused. `vecsync config check` shows what is set, and where.\n",
        f"Every key is also an environment variable: `{ENV_PREFIX}`, section and key in capitals, joined by two"
        f" underscores; lists and maps as JSON. `{ENV_PREFIX}SECRETS_DIR` names a directory with a file for each"
        f" secret, named like its variable (`{ENV_PREFIX}SOURCE__PASSWORD`).\n",
    ]
    for name, field in Settings.model_fields.items():
        parts.append(f"## {name}\n")
        parts.append(f"{field.description}\n")
        parts.append("| Key | Type | Default | Meaning |\n|---|---|---|---|")
        rows = [_row(key, inner) for key, inner in _keys(name, field)]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _keys(prefix: str, field: FieldInfo) -> Iterator[tuple[str, FieldInfo]]:
    """Sections are taken apart, also optional ones and those in maps (`<name>` stands for the key)."""
    section = _section(field.annotation)
    if section is None:
        yield prefix, field
        return
    model, in_map = section
    for name, inner in model.model_fields.items():
        yield from _keys(f"{prefix}.<name>.{name}" if in_map else f"{prefix}.{name}", inner)


def _section(annotation: Any) -> tuple[type[BaseModel], bool] | None:
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate, typing.get_origin(annotation) is dict
    return None


def _row(key: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    shown = "" if default is None else f"`{_value(default)}`"
    return f"| `{key}` | {_type(field.annotation)} | {shown} | {_cell(field.description or '')} |"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("'", '"') if isinstance(value, list) else str(value)


def _type(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " \\| ".join(f"`{option}`" for option in inner)
    if origin in (typing.Union, types.UnionType):
        return " \\| ".join(_type(option) for option in inner if option is not type(None))
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "map"
    if origin is typing.Annotated:
        return _type(inner[0])
    return {str: "text", int: "integer", float: "number", bool: "boolean", Path: "path", SecretStr: "secret"}[
        annotation
    ]


def cli() -> str:
    """Every command with its options and examples."""
    root = program()
    parts = [
        "# Commands\n",
        _MADE,
        f"{_plain(root.help)}\n",
        "These options may stand anywhere on the command line:\n",
        _options([p for p in root.params if p.name in ("config", "debug")]),
        "Data goes to stdout, everything else to stderr. Colours and progress bars appear on a terminal only, and"
        " colours not with `NO_COLOR`.\n",
        "## Exit codes\n",
        "| Code | Meaning |\n|---|---|",
        "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()) + "\n",
        "What runs until it is told to end (SIGTERM, Ctrl+C) ends in order, with 0; told a second time, at once.\n",
    ]
    for words, command in commands(root):
        parts.append(f"## vecsync {' '.join(words)}\n")
        parts.append(f"{_plain(command.help)}\n")
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(["vecsync", *words, *(p.name.upper() for p in arguments), "[OPTIONS]"])
        parts.append(f"```\n{usage}\n```\n")
        parts.append(_options(command.params))
        parts.append("```\n" + "\n".join(examples(command)) + "\n```\n")
    return "\n".join(parts)


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def examples(command: Any) -> list[str]:
    """What its help shows to type."""
    lines = Text.from_markup(command.epilog or "").plain.split("\n")
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def _options(parameters: list[Any]) -> str:
    rows = [_option(p) for p in parameters if p.name != "help"]
    if not rows:
        return ""
    return "| | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _option(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{parameter.name.upper()}`"
    else:
        kind = parameter.metavar if parameter.metavar is not None else _kind(parameter)
        name = "`" + ", ".join(parameter.opts) + (f" {kind}" if kind else "") + "`"
    text = _plain(parameter.help)
    if parameter.required:
        text += " Required."
    default = parameter.default
    if default not in (None, "", False, ()) and not callable(default):
        text += f" Default: `{default}`."
    return f"| {_cell(name)} | {_cell(text)} |"


def _kind(parameter: Any) -> str:
    choices = parameter.type_descriptor.choices
    if choices:
        return "|".join(str(choice) for choice in choices)
    numbers = {int: "COUNT", float: "NUMBER"}
    return numbers.get(parameter.type_descriptor.annotation) or str(parameter.name).upper()


def _plain(markup: str | None) -> str:
    return " ".join(Text.from_markup(markup or "").plain.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        print_line(f"wrote {folder / name}")


if __name__ == "__main__":
    main()
