"""Faults of our own processes, and of the machine that they are on."""

from __future__ import annotations

from pathlib import Path

from tests.system.recovery.line import Line
from tests.system.recovery.outcome import BOTH, Fault, Outcome
from tests.system.recovery.rig import Scene, Setup


def capture_killed(scene: Scene) -> Outcome:
    line = scene.line
    mark = line.mark()
    line.capture.kill()
    line.capture.start()
    return Outcome(line.took(mark))


def replica_killed(scene: Scene) -> Outcome:
    line = scene.line
    mark = line.mark()
    line.apply.kill()
    line.apply.start()
    return Outcome(line.took(mark, captured=False))


def leader_killed(scene: Scene) -> Outcome:
    line = scene.line
    mark = line.mark()
    line.capture.kill()
    return _taken_over(line, Outcome(line.took(mark)))


def leader_ended(scene: Scene) -> Outcome:
    line = scene.line
    mark = line.mark()
    line.capture.stop()
    return _taken_over(line, Outcome(line.took(mark)))


def _taken_over(line: Line, outcome: Outcome) -> Outcome:
    old = line.taken_over()
    old.start()
    line.wait_for_standby(old)
    return outcome


def disk_full(scene: Scene) -> Outcome:
    line, disk = scene.line, scene.disk
    assert disk is not None
    ended = len(line.supervisor.ended)
    rest = disk / "rest"
    _fill(rest)
    line.database.execute(
        *(
            "REPLACE INTO shadow_vec_docs (dataset_id, id, content) VALUES "
            + ",".join(f"('d0', 'large-{n}', REPEAT('{scene.turns} ', 10000))" for n in range(first, first + 50))
            for first in range(0, 400, 50)
        )
    )
    line.wait_for_end(line.apply, 7, ended)
    rest.unlink()
    mark = line.mark()
    line.apply.start()
    return Outcome(line.took(mark, captured=False))


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass


FAULTS = (
    Fault(
        "Capture is killed (`kill -9`), and started again at once",
        "The new one waits for the session of the old one to end, and then `publish.takeover_wait_s`.",
        "the kill",
        capture_killed,
        kinds=BOTH,
    ),
    Fault(
        "The replica is killed (`kill -9`), and started again at once",
        "It goes on from its file. Capture is not concerned.",
        "the kill",
        replica_killed,
    ),
    Fault(
        "Capture is killed while a standby waits",
        "The standby leads once the session of the dead one is over, and waits `publish.takeover_wait_s`.",
        "the kill",
        leader_killed,
        setup=Setup(standby=True),
    ),
    Fault(
        "Capture ends in order while a standby waits",
        "It records a closed position and gives the lease up; there is nothing to wait for.",
        "SIGTERM",
        leader_ended,
        setup=Setup(standby=True),
    ),
    Fault(
        "The disk of the replica is full",
        "The replica ends with 7; there is room again, and somebody starts it. Capture is not concerned.",
        "its start",
        disk_full,
        setup=Setup(disk=True),
    ),
)
