"""Where the file of a replica is: generations behind a symbolic link, and the lock of their one writer.

`replica.db` is a link to `replica.g1.db`; a rebuilt replica is `replica.g2.db`, and the link is replaced in one step.
SQLite opens a link by its target, so that each generation has a log of its own: who has the old one open goes on with
it undisturbed. A database in use is never renamed and never written over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from types import TracebackType

from connector.errors import ReplicaRefused


class WriterLock:
    """Held by the process that writes a replica, for as long as it does; the system releases it when that one dies.

    Entering raises ReplicaRefused when another process (or another lock of this one) holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Path(f"{path}.lock")
        self._file: int | None = None

    def __enter__(self) -> WriterLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ReplicaRefused(
                f"{self._lock} cannot be written: {error}",
                hint="Check directory, owner and permissions of the replica.",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 20).decode(errors="replace").strip()
            os.close(file)
            raise ReplicaRefused(
                f"{self._path} has a writer already (process {holder or 'unknown'})",
                hint="A replica has one writer and any number of readers; end the other, or use another replica.path.",
            ) from error
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)  # the file stays: removing it would let two processes lock two files of one name
            self._file = None


def present(path: Path) -> Path | None:
    """The file that the replica's name leads to now; None when there is none. Raises ReplicaRefused for a dead link."""
    if path.is_symlink():
        target = path.resolve()
        if not target.exists():
            raise ReplicaRefused(
                f"{path} leads to {target}, which is missing", hint=f"Remove the link {path}: the next run builds anew."
            )
        return target
    return path if path.exists() else None


def generation(path: Path, file: Path) -> int | None:
    """The number in the name of a generation; None for a file that is not one."""
    found = re.fullmatch(re.escape(path.stem) + r"\.g(\d+)" + re.escape(path.suffix), file.name)
    return int(found[1]) if found else None


def generations(path: Path) -> dict[int, Path]:
    """Those that exist, by number."""
    numbered = ((generation(path, file), file) for file in path.parent.glob(f"{_glob_quoted(path.stem)}.g*"))
    return dict(sorted((n, f) for n, f in numbered if n is not None))


def next_generation(path: Path) -> Path:
    """The name of a file that does not exist yet."""
    number = max(generations(path), default=0) + 1
    return path.with_name(f"{path.stem}.g{number}{path.suffix}")


def draft(file: Path) -> Path:
    """The name of a generation while it is built. A finished one is renamed when nothing has it open."""
    return file.with_name(f"{file.stem}.draft{file.suffix}")


def finish(file: Path) -> None:
    """A draft takes its name; it has been closed, so that it is one file. The caller holds the writer's lock."""
    log = Path(f"{draft(file)}-wal")
    if log.exists() and log.stat().st_size:
        raise ReplicaRefused(
            f"{draft(file)} is in use by another program", hint="End what has it open, then replay again."
        )
    draft(file).replace(file)
    remove(draft(file))


def remove_drafts(path: Path) -> None:
    """What a process left behind that was killed while it built one. The caller holds the writer's lock."""
    for file in path.parent.glob(f"{_glob_quoted(path.stem)}.g*.draft{_glob_quoted(path.suffix)}"):
        remove(file)


def switch(path: Path, file: Path) -> None:
    """Lets the name lead to another generation, in one step. The caller holds the writer's lock.

    Raises ReplicaRefused when the name belongs to a file instead of a link: it may be in use, so it stays.
    """
    if path.exists() and not path.is_symlink():
        raise ReplicaRefused(
            f"{path} is a file, not a link to a generation",
            hint=f"With nothing using it, rename it to {path.stem}.g1{path.suffix} and make {path} a link to it.",
        )
    link = path.with_name(f"{path.name}.link")
    link.unlink(missing_ok=True)
    link.symlink_to(file.name)
    link.replace(path)
    _sync_directory(path.parent)


def remove(file: Path) -> None:
    """A generation with its log. Who still has it open can go on reading."""
    for name in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        with contextlib.suppress(FileNotFoundError):
            name.unlink()


def remove_old(path: Path, keep: int = 2) -> list[Path]:
    """All but the newest generations up to the present one. Returns what was removed."""
    now = present(path)
    number = None if now is None else generation(path, now)
    if number is None:
        return []
    found = generations(path)
    kept = [n for n in found if n <= number][-keep:]
    gone = [file for n, file in found.items() if n < number and n not in kept]
    for file in gone:
        remove(file)
    return gone


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _glob_quoted(text: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", text)
