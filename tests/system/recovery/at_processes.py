"""Faults of our own processes, and of the machine that they are on."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.system.recovery.line import Line, pause, resume
from tests.system.recovery.outcome import BOTH, Fault, Outcome
from tests.system.recovery.rig import Scene, Setup
from tests.system.recovery.topic import judged

STOOD_STILL_S = 60
ROWS = 500_000
_rng = random.Random(1)


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


def leader_stood_still(scene: Scene) -> Outcome:
    """It goes on, finds that it is the leader no more, ends with 6, and is the standby once it is started again. What
    it still wrote is put right before anything is compared."""
    line = scene.line
    ended, mark = len(line.supervisor.ended), line.mark()
    pause(line.capture)
    took = line.took(mark)
    old = line.taken_over()
    time.sleep(max(0.0, STOOD_STILL_S - (time.monotonic() - mark.at)))
    assert line.topic is not None
    before, woken = judged(line.topic.seen).late, time.monotonic()
    resume(old)
    line.wait_for_end(old, 6, ended)
    longest = 0.0
    while time.monotonic() - woken < 10:  # twice what is promised
        if judged(line.topic.seen).wrong:
            longest = time.monotonic() - woken
        time.sleep(0.2)
    late = judged(line.topic.seen).late - before
    line.wait_for_standby(old)
    return Outcome(took, {"records that landed late": late, "s until the last of them was mended": longest})


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


def snapshot_killed(scene: Scene) -> Outcome:
    line, topic = scene.line, scene.line.topic
    assert topic is not None
    goal = _rng.randint(ROWS // 5, ROWS * 3 // 5)
    line.wait(lambda: len(topic.seen) > goal)
    stood = len(topic.seen)
    mark = line.mark()
    line.capture.kill()
    line.capture.start()
    return Outcome(line.took(mark), {"records stood when it was killed": stood})


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
        "Capture is stopped (SIGSTOP) for 60 s while a standby waits, and goes on",
        "The standby takes over. The old one ends with 6 and becomes the standby. `linger.ms` is 2000 here, so that it "
        "has records on their way.",
        "SIGSTOP",
        leader_stood_still,
        times=2,
        setup=Setup(standby=True, broker={"options": {"linger.ms": 2000}}),
    ),
    Fault(
        f"Capture is killed in the middle of a snapshot of {ROWS:,} rows, and started again at once",
        "It goes on after the last chunk that is recorded; the second time is that of the rest of the snapshot, too.",
        "the kill",
        snapshot_killed,
        times=1,
        setup=Setup(rows=ROWS, large=True, begun=False),
        anew=True,
    ),
    Fault(
        "The disk of the replica is full",
        "The replica ends with 7; there is room again, and somebody starts it. Capture is not concerned.",
        "its start",
        disk_full,
        setup=Setup(disk=True),
    ),
)
