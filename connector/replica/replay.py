"""Building a replica anew beside the present one, and copies of a replica.

A rebuilt file is the next generation: readers of the present one are undisturbed and see the new one when they open the
replica again. A base is a file that stands at known offsets; only what comes after them is read. It is used only where
the log still has every record from there on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

import apsw

from connector.broker import Broker
from connector.errors import ReplicaRefused, UsageError
from connector.model import Lane
from connector.replica import files, lanes, schema
from connector.replica.connection import file_error, open_reader
from connector.replica.consume import Progress
from connector.replica.run import follow, make
from connector.settings import Settings


def replay(
    settings: Settings,
    broker: Broker,
    stop: Event,
    *,
    base: Path | None = None,
    from_offset: int | Mapping[Lane, int] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Builds the next generation up to the present ends of the topics, then lets the replica's name lead to it.

    base: a copy made by `export`; None reads the topics from their beginning. from_offset: of every data lane, or of
    each; the base must stand there or before, and is read on from where it stands. The present generation is kept,
    older ones are removed. When `stop` is set meanwhile, or anything fails, the present one stays and the unfinished is
    removed.

    Raises UsageError (an offset without a base), ReplicaRefused (another process writes the replica; the base is no
    replica, stands behind the offset, or follows other datasets),
    ForeignLog (the base was read from other topics, or the log no longer has what comes after it), and what `run` does.
    """
    path = settings.replica.path
    if from_offset is not None:
        if base is None:
            raise UsageError(
                "replay from an offset needs a base that stands there",
                hint="Give a copy made by `vecsync replica image export`, or replay from the beginning.",
            )
        _check_base(base, from_offset)
    with files.WriterLock(path):
        if path.exists() and not path.is_symlink():
            raise ReplicaRefused(
                f"{path} is a file, not a link to a generation",
                hint=f"With nothing using it, rename it to {path.stem}.g1{path.suffix} and make {path} a link to it.",
            )
        files.remove_drafts(path)
        file = files.next_generation(path)
        draft = files.draft(file)
        try:
            if base is None:
                make(draft)
            else:
                export(base, draft)
            done = follow(settings, broker, stop, draft, until_current=True, on_progress=on_progress)
            if done.caught_up:
                files.finish(file)
        finally:
            files.remove(draft)
        if done.caught_up:
            files.switch(path, file)
            files.remove_old(path)
        return done


def export(path: Path, target: Path) -> None:
    """A consistent copy of a replica at its present offsets, while it may be written. It is a replica by itself, and
    serves as a base of `replay`. Raises ReplicaRefused, also when the target exists."""
    if target.exists():
        raise ReplicaRefused(f"{target} exists already", hint="Remove it, or choose another name.")
    unfinished = target.with_name(f"{target.name}.part")
    files.remove(unfinished)
    source = open_reader(path)
    try:
        schema.check(source, path)
        _copy(source, unfinished)
        os.replace(unfinished, target)
    except apsw.Error as error:
        raise file_error(error, target) from error
    finally:
        source.close()
        files.remove(unfinished)


def _copy(source: apsw.Connection, target: Path) -> None:
    """Page by page in one read transaction: vec0 refers to rows by numbers that a VACUUM is free to change."""
    connection = apsw.Connection(str(target))
    try:
        with connection.backup("main", source, "main") as backup:
            backup.step()
        connection.pragma("journal_mode", "delete")  # one file, whole by itself; a writer makes it WAL again
    finally:
        connection.close()


def _check_base(base: Path, offset: int | Mapping[Lane, int]) -> None:
    """Raises ReplicaRefused when a base stands behind an offset from which to replay."""
    connection = open_reader(base)
    try:
        schema.check(connection, base)
        for lane, known in lanes.recorded(connection).items():
            wanted = offset if isinstance(offset, int) else offset.get(lane, known.next_offset)
            if not lane.topic.endswith(".tombstones") and known.next_offset > wanted:
                raise ReplicaRefused(
                    f"{base} stands at offset {known.next_offset} of {lane.topic}[{lane.partition}], "
                    f"behind the offset {wanted} to replay from",
                    hint="Use an older base, or leave the offset out: what the base has already is not read again.",
                )
    except apsw.Error as error:
        raise file_error(error, base) from error
    finally:
        connection.close()
