"""The pages for users: every command line parses, every error of exit code 7 is explained, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector import errors
from connector.cli import globals_first
from connector.cli.app import program
from connector.cli.reference import commands

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "avro/README.md", ROOT / "deploy/README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS: dict[tuple[str, ...], Any] = dict(commands(program()))
_PROMPT = re.compile(r"^(?:\s*\$ )?(?:[A-Z_]+=\S+ +)*vecsync ((?:[^\\]|\\\n)*?)\s*(?:  #.*)?$", re.MULTILINE)


def command_lines(page: Path) -> Iterator[str]:
    """In blocks of code: lines that begin with `vecsync`, after a prompt and variables if need be. Blocks of `text` are
    what commands printed."""
    blocks = re.findall(r"^ *```([a-z]*)\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for block in (content for language, content in blocks if language != "text"):
        joined = re.sub(r"\\\n\s*", "", block)
        for found in _PROMPT.finditer(joined):
            yield found[1]


def parsed(line: str) -> None:
    """Raises what the program would, without running anything."""
    words = globals_first(shlex.split(line, comments=True))
    while words and words[0] in ("--config", "--debug"):
        del words[: 2 if words[0] == "--config" else 1]
    for length in (3, 2, 1):
        if (command := COMMANDS.get(tuple(words[:length]))) is not None:
            command.make_context("vecsync", words[length:])
            return
    raise AssertionError(f"there is no command `vecsync {line}`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page: Path) -> None:
    for line in command_lines(page):
        parsed(line)


def test_there_are_commands_on_the_pages() -> None:
    assert len(list(command_lines(ROOT / "docs/guide.md"))) > 20
    assert len(list(command_lines(ROOT / "docs/operations.md"))) > 6
    with pytest.raises(Exception, match="No such option"):
        parsed("replica replay --bottom-up")


def test_errors_on_the_page_of_operations_exist() -> None:
    named = set(re.findall(r"`([A-Z][a-z]+[A-Za-z]+)`", (ROOT / "docs/operations.md").read_text(encoding="utf-8")))
    classes = {name for name in named if hasattr(errors, name)}
    codes = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.DataRefused)}
    assert {cls.__name__ for cls in codes} <= classes, "every error of exit code 7 is explained"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", ["guide.md", "operations.md"])
def test_anchors_lead_somewhere(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in anchors, f"{name} has no heading for #{anchor}"


def test_python_on_the_guide_is_python() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/guide.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 3
    for block in blocks:
        compile(block, "guide.md", "exec")
