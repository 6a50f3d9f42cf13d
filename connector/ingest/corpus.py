"""What is to be ingested: units (files, mostly) with a stable path, found but not yet read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from connector.errors import UsageError
from connector.ingest import formats
from connector.ingest.chunks import Chunk

IGNORED_DIRECTORIES = frozenset({"CVS", "_darcs", "__pycache__"})  # beside those whose names begin with a dot


class Unit(NamedTuple):
    """path: posix, below the root. load: the chunks for a target length; raises OSError or ValueError when the unit
    cannot be read, and may be called again."""

    path: str
    load: Callable[[int], list[Chunk]]


class Remark(NamedTuple):
    """Something that was not ingested, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """root: a name for what paths are relative to; documents of other roots in the same dataset are left alone.
    scope: which stored paths this corpus speaks for: all ("" ), those of one directory ("a/") or one file ("a/b.md").
    skipped: not of a kind that is ingested. errors: should have been read and could not; a path that ends with "/" is a
    directory, and nothing below it is known.
    """

    root: str
    uri: str | None
    scope: str
    units: tuple[Unit, ...]
    skipped: tuple[Remark, ...] = ()
    errors: tuple[Remark, ...] = ()

    def covers(self, path: str) -> bool:
        return self.scope == "" or path == self.scope or (self.scope.endswith("/") and path.startswith(self.scope))


def files(path: Path, *, root: Path | None = None, label: str | None = None) -> Corpus:
    """A file, or every file below a directory. Hidden entries are passed over, and links to directories are not
    followed (so no loop can arise).

    root: what ids are relative to; the directory itself, or the directory of a single file, unless said.
    label: the root's name; that of its directory unless said.
    Raises UsageError when the path is not there, not below root, or a single file of no known kind.
    """
    try:
        target = path.resolve(strict=True)
        base = root.resolve(strict=True) if root is not None else target if target.is_dir() else target.parent
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, on older Pythons
        raise UsageError(f"{path} cannot be read: {error}", hint="Name a file or a directory that exists.") from error
    if not target.is_relative_to(base):
        raise UsageError(f"{path} is not below {root}", hint="Ids are paths below the root; name one above the path.")
    scope = target.relative_to(base).as_posix()
    walk = _Walk(base)
    if target.is_dir():
        scope = "" if scope == "." else f"{scope}/"
        walk.directory(target)
    else:
        if formats.suffix(target.name) not in formats.SUFFIXES:
            raise UsageError(
                f"{path} is of no kind that can be ingested", hint=f"Known are {', '.join(formats.SUFFIXES)}."
            )
        walk.file(target)
    return Corpus(
        label or base.name or "/", base.as_uri(), scope, tuple(walk.units), tuple(walk.skipped), tuple(walk.errors)
    )


class _Walk:
    def __init__(self, base: Path) -> None:
        self._base = base
        self.units: list[Unit] = []
        self.skipped: list[Remark] = []
        self.errors: list[Remark] = []

    def directory(self, directory: Path) -> None:
        """Everything below, by name, so that two runs see the same order."""
        waiting = [directory]
        while waiting:
            current = waiting.pop()
            try:
                with os.scandir(current) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                self.errors.append(Remark(self._name(current) + "/", _reason(error)))
                continue
            below = []
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in IGNORED_DIRECTORIES:
                        below.append(Path(entry.path))
                else:
                    self.file(Path(entry.path))
            waiting.extend(reversed(below))

    def file(self, file: Path) -> None:
        name = self._name(file)
        try:
            mode = file.stat().st_mode
        except OSError as error:
            self.errors.append(Remark(name, _reason(error)))
            return
        if stat.S_ISDIR(mode):
            self.skipped.append(Remark(name, "is a link to a directory"))
        elif formats.suffix(name) not in formats.SUFFIXES:
            self.skipped.append(Remark(name, f"is none of {', '.join(formats.SUFFIXES)}"))
        elif not stat.S_ISREG(mode):
            self.skipped.append(Remark(name, "is not a regular file"))
        elif not _encodable(name):
            self.errors.append(Remark(_printable(name), "has a name that is not UTF-8"))
        else:
            self.units.append(Unit(name, partial(_load, file, name)))

    def _name(self, path: Path) -> str:
        return PurePosixPath(path.relative_to(self._base)).as_posix()


def _load(file: Path, name: str, target: int) -> list[Chunk]:
    return formats.cut(formats.decoded(file.read_bytes(), name), name, target)


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")
