"""The demo's text: what the running Python's standard library says about itself, as Markdown files by area.

Real text that is on every machine, in files that anybody can open, change and ingest again. The same Python always
writes the same files, so that a second run finds nothing new in them.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

AREAS: dict[str, list[str]] = {
    "files": (
        "os os.path pathlib shutil tempfile glob fnmatch stat io zipfile tarfile gzip bz2 lzma zlib filecmp "
        "fileinput mmap configparser tomllib csv pickle shelve dbm sqlite3"
    ).split(),
    "text": (
        "str string re difflib textwrap unicodedata codecs locale gettext html html.parser xml.etree.ElementTree "
        "xml.dom.minidom xml.sax json pprint reprlib shlex struct binascii base64 email.message email.header "
        "email.parser email.policy quopri"
    ).split(),
    "data": (
        "collections collections.abc heapq bisect array itertools functools operator copy enum dataclasses types "
        "weakref datetime calendar zoneinfo time math cmath decimal fractions numbers random statistics secrets "
        "hashlib hmac graphlib contextlib contextvars list dict set tuple bytes bytearray int float memoryview"
    ).split(),
    "network": (
        "socket ssl select selectors socketserver http http.client http.server http.cookies http.cookiejar "
        "urllib.request urllib.parse urllib.error urllib.robotparser ftplib poplib imaplib smtplib ipaddress uuid "
        "xmlrpc.client xmlrpc.server mimetypes netrc"
    ).split(),
    "concurrency": (
        "threading multiprocessing multiprocessing.pool multiprocessing.managers multiprocessing.shared_memory "
        "queue concurrent.futures subprocess sched signal asyncio asyncio.events asyncio.streams asyncio.queues "
        "asyncio.locks asyncio.subprocess asyncio.tasks asyncio.futures"
    ).split(),
    "tools": (
        "argparse getopt getpass logging logging.handlers logging.config unittest unittest.mock doctest pdb bdb "
        "cProfile pstats timeit trace tracemalloc traceback warnings sys sysconfig platform errno ctypes inspect "
        "ast dis tokenize symtable importlib importlib.metadata importlib.resources importlib.util pkgutil "
        "zipimport runpy gc atexit abc typing code codeop cmd readline curses site venv zipapp"
    ).split(),
}
"""Dataset to modules, and types of the builtins."""

_LEAST = 40  # characters: shorter notes ("Return repr(self).") help nobody who searches
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


class Area(NamedTuple):
    """changed: files whose text is not what stood there before."""

    name: str
    folder: Path
    files: int
    entries: int
    changed: int


def write_corpus(folder: Path) -> list[Area]:
    """One file for each module under `<folder>/<area>/`; files of ours that no longer belong there are removed."""
    areas = []
    seen: set[int] = set()
    for name, modules in AREAS.items():
        into = folder / name
        into.mkdir(parents=True, exist_ok=True)
        expected: set[Path] = set()
        entries = changed = 0
        for module in modules:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated modules and names are documented too
                sections = list(_sections(module, seen))
            if not sections:
                continue
            path = into / f"{module}.md"
            expected.add(path)
            entries += len(sections)
            changed += _write(path, "\n\n".join(sections) + "\n")
        for old in into.glob("*.md"):
            if old not in expected:
                old.unlink()
                changed += 1
        areas.append(Area(name, into, len(expected), entries, changed))
    return areas


def _write(path: Path, text: str) -> int:
    """1 if the file changed. One that did not keeps its time, so that nobody has to read it again."""
    data = text.encode("utf-8", "replace")
    if path.is_file() and path.read_bytes() == data:
        return 0
    path.write_bytes(data)
    return 1


def _sections(name: str, seen: set[int]) -> Iterator[str]:
    """Title and text of everything public with a docstring. seen: objects that have their section already."""
    thing = _find(name)
    if thing is None:
        return
    text = inspect.getdoc(thing)
    if text:
        yield f"# {name}\n\n{_quiet(text)}"
    root = name.split(".")[0]
    for attribute, value in sorted(vars(thing).items()):
        if attribute.startswith("_") or id(value) in seen or inspect.ismodule(value):
            continue
        if not isinstance(thing, ModuleType):
            yield from _section(f"{name}.{attribute}", value, seen)
            continue
        home = getattr(value, "__module__", None) or ""
        if not (inspect.isroutine(value) or inspect.isclass(value)) or home.split(".")[0].lstrip("_") not in (
            root,
            "posix",
            "nt",
            "genericpath",
            "posixpath",
        ):
            continue
        yield from _section(f"{name}.{attribute}", value, seen)
        if inspect.isclass(value):
            for method, inner in sorted(vars(value).items()):
                if not method.startswith("_") and (inspect.isroutine(inner) or isinstance(inner, property)):
                    yield from _section(f"{name}.{attribute}.{method}", inner, seen)


def _section(title: str, value: object, seen: set[int]) -> Iterator[str]:
    seen.add(id(value))
    text = inspect.cleandoc(getattr(value, "__doc__", None) or "")
    if len(text) >= _LEAST:
        yield f"## {title}{_signature(value)}\n\n{_quiet(text)}"


def _find(name: str) -> object | None:
    """None where this Python or platform lacks it."""
    builtin: object = getattr(builtins, name, None)
    if isinstance(builtin, type):
        return builtin
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _signature(value: object) -> str:
    if not callable(value) or inspect.isclass(value):
        return ""
    try:
        text = str(inspect.signature(value))
    except (ValueError, TypeError, NameError, AttributeError):  # it evaluates defaults that may name anything
        return ""
    return "(...)" if _ADDRESS.search(text) or len(text) > 120 else text


def _quiet(text: str) -> str:
    """Without memory addresses, which differ from run to run, and without lines that Markdown takes for headings."""
    return "\n".join(f"\\{line}" if line.startswith("#") else line for line in _ADDRESS.sub("0x…", text).split("\n"))
