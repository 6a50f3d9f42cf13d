"""The replica service with its progress in the log. It ends when told, when caught up as asked, or by an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event

from connector.errors import Unreachable
from connector.model import Lane
from connector.registry import open_broker
from connector.replica import Progress, replay, run, schema, wait
from connector.replica.connection import open_reader
from connector.replica.lanes import find_topics, followed_database
from connector.runtime.progress import ProgressLog
from connector.settings import Settings

log = logging.getLogger("connector.runtime.replica")


Watch = Callable[[Progress], None]


def run_replica(settings: Settings, stop: Event, *, until_current: bool, watch: Watch | None = None) -> Progress:
    """Raises what `connector.replica.run` raises. watch: told after every batch."""
    replica = settings.replica
    log.info(
        "replica starts",
        extra={"path": str(replica.path), "datasets": replica.datasets, "until_current": until_current},
    )
    done = run(
        settings, open_broker(settings), stop, until_current=until_current, on_progress=_logged("applied", watch)
    )
    log.info("replica ends", extra={"records": done.records, "behind": done.behind, "ready": done.ready})
    return done


def replay_replica(
    settings: Settings, stop: Event, *, base: Path | None, from_offset: int | None, watch: Watch | None = None
) -> Progress:
    """Raises what `connector.replica.replay` raises. The present replica stays until the new one is complete."""
    log.info("replay starts", extra={"path": str(settings.replica.path), "base": str(base) if base else None})
    done = replay(
        settings,
        open_broker(settings),
        stop,
        base=base,
        from_offset=from_offset,
        on_progress=_logged("replayed", watch),
    )
    log.info("replay ends", extra={"records": done.records, "switched": done.caught_up})
    return done


def _logged(message: str, watch: Watch | None) -> Watch:
    lines = ProgressLog(log, message)
    said: dict[str, object] = {"ready": False, "problem": None}

    def on_progress(done: Progress) -> None:
        lines.note(done.records, {"behind": done.behind, "ready": done.ready, "collected": done.collected.collected})
        if done.ready != said["ready"]:
            log.info("ready" if done.ready else "not ready any more", extra={"records": done.records})
        if done.problem != said["problem"]:
            if done.problem is None:
                log.info("the broker answers")
            else:
                log.warning("waiting", extra={"problem": done.problem})
        said.update(ready=done.ready, problem=done.problem)
        if watch is not None:
            watch(done)

    return on_progress


def wait_for(
    settings: Settings, stop: Event, *, current: bool, dataset: str | None, scn: int | None, timeout_s: float | None
) -> None:
    """Until the replica is ready, and has applied `scn` of the dataset, and with `current` all that the topics hold
    now. Raises Unreachable when time ran out, KeyboardInterrupt when stopped."""
    offsets = _ends(settings) if current else {}
    reached = wait(settings.replica.path, stop, dataset_id=dataset, scn=scn, offsets=offsets, timeout_s=timeout_s)
    if reached:
        return
    if stop.is_set():
        raise KeyboardInterrupt
    raise Unreachable(
        f"{settings.replica.path} did not get there in {timeout_s:g} s",
        hint="Check that `vecsync replica run` and `vecsync capture run` are running; `vecsync replica status`.",
    )


def _ends(settings: Settings) -> dict[Lane, int]:
    admin = open_broker(settings).admin()
    try:
        topics = find_topics(admin, settings.topics.prefix, _database(settings))
        return dict(admin.end_offsets(topics.data_lanes))
    finally:
        admin.close()


def _database(settings: Settings) -> str | None:
    """That the file follows, or is to follow."""
    path, wanted = settings.replica.path, settings.replica.database
    if not path.exists():
        return wanted
    connection = open_reader(path)
    try:
        schema.check(connection, path)
        return followed_database(connection, settings.topics.prefix, wanted)
    finally:
        connection.close()
