"""Faults of the source, and of the network to it."""

from __future__ import annotations

import secrets
import time

from tests.servers.fix_proxy import at_random
from tests.servers.fix_replicas import ReplicaPair, purge, reset
from tests.system.recovery.outcome import BOTH, Fault, Outcome
from tests.system.recovery.rig import Scene, Setup
from tests.system.site import Site, embedded_log, sql_source

CUT_FOR_S = 15
UNTOLD = Setup(source={"snapshot": "when_needed"})
SERVER_ID = 3_900_000_017


def restarted(scene: Scene) -> Outcome:
    scene.line.database.server.restart()
    return Outcome(scene.line.took(scene.line.mark()))


def cut(scene: Scene) -> Outcome:
    line = scene.line
    before = line.proxy.cuts
    line.proxy.limit = at_random(scene.turns, 100, 20_000, 10_000)
    line.proxy.cut()
    time.sleep(CUT_FOR_S)
    line.proxy.limit = lambda: None
    mark = line.mark()
    return Outcome(line.took(mark), {"connections cut": line.proxy.cuts - before})


def silent(scene: Scene) -> Outcome:
    mark = scene.line.mark()
    scene.line.proxy.fall_silent()
    return Outcome(scene.line.took(mark))


def promoted(scene: Scene) -> Outcome:
    """The one that was killed is the replica of the other afterwards."""
    line, pair = scene.line, _pair(scene)
    with line.writer.standing_still():
        pair.catch_up()
        pair.primary.process.kill()
        pair.promote()
        line.move_to(pair.replica)
        mark = line.mark()
    outcome = Outcome(line.took(mark))
    pair.primary.process.start()
    scene.pair = pair.swapped()
    return outcome


def promoted_too_early(scene: Scene) -> Outcome:
    line, pair = scene.line, _pair(scene)
    ended = len(line.supervisor.ended)
    pair.detach()
    time.sleep(2)  # what is committed and published now is lost
    with line.writer.standing_still():
        line.wait(line.is_equal)
        pair.primary.process.kill()
        pair.promote()
        line.move_to(pair.replica)
        began = time.monotonic()
    line.wait_for_end(line.capture, 7, ended)
    refused = time.monotonic() - began
    line.site.refused("capture", "run", "--until-current", code=7)
    mark = line.mark()
    line.site.run("capture", "snapshot")
    line.capture.start()
    return Outcome(line.took(mark), {"s until it was refused": refused})


def _pair(scene: Scene) -> ReplicaPair:
    assert scene.pair is not None
    return scene.pair


def purged(scene: Scene) -> Outcome:
    line = scene.line
    line.capture.kill()
    time.sleep(2)  # changes and deletions that nobody will ever see
    purge(line.database.server)
    mark = line.mark()
    line.capture.start()
    return Outcome(line.took(mark))


def was_reset(scene: Scene) -> Outcome:
    line = scene.line
    line.capture.kill()
    time.sleep(2)
    reset(line.database.server)
    mark = line.mark()
    line.capture.start()
    return Outcome(line.took(mark))


def same_server_id(scene: Scene) -> Outcome:
    """Another capture, of another prefix, comes with the same `source.server_id`."""
    line = scene.line
    other = line.directory / f"other-{secrets.token_hex(3)}"
    other.mkdir()
    section = sql_source(line.database, server_id=SERVER_ID, snapshot="no_data")
    intruder = Site(other, {**section, **embedded_log(other)}, line.database.server.password)
    ended, began = len(line.supervisor.ended), time.monotonic()
    with intruder.service("capture", "run"):
        line.wait_for_end(line.capture, 7, ended)
        stopped = time.monotonic() - began
    mark = line.mark()
    line.capture.start()
    return Outcome(line.took(mark), {"s until capture stopped": stopped})


FAULTS = (
    Fault(
        "The source is restarted",
        "Capture tries to connect until it can, and goes on where it was.",
        "the source answers again",
        restarted,
        kinds=BOTH,
    ),
    Fault(
        f"Connections to the source are cut at random bytes for {CUT_FOR_S} s",
        "Each one after 100 to 20,000 bytes. Capture connects again each time.",
        "the last one is cut no more",
        cut,
        kinds=BOTH,
    ),
    Fault(
        "The connection to the source stays open and falls silent",
        "After three heartbeats (`source.heartbeat_s`, 10 s) it is taken for gone.",
        "the silence begins",
        silent,
        kinds=BOTH,
    ),
    Fault(
        "The source dies, and a replica server that has everything is promoted",
        "`source.url` leads to it from then on. Capture goes on there, in a new epoch.",
        "the promotion",
        promoted,
        kinds=BOTH,
        setup=Setup(pair=True),
    ),
    Fault(
        "The source dies, and a replica server that lacks the last transactions is promoted",
        "Refused (exit 7); then `vecsync capture snapshot`, and capture is started.",
        "that command",
        promoted_too_early,
        kinds=BOTH,
        setup=Setup(pair=True),
        anew=True,
    ),
    Fault(
        "The binlog is purged while capture is down, with `source.snapshot: when_needed`",
        "Capture takes a new snapshot by itself.",
        "capture is started",
        purged,
        kinds=BOTH,
        setup=UNTOLD,
    ),
    Fault(
        "The binlog is reset while capture is down, with `source.snapshot: when_needed`",
        "Capture takes a new snapshot by itself.",
        "capture is started",
        was_reset,
        kinds=BOTH,
        setup=UNTOLD,
    ),
    Fault(
        "Another reader comes with the same `source.server_id`",
        "Capture ends with 7. The other one is ended, and capture is started.",
        "capture is started",
        same_server_id,
        kinds=BOTH,
        setup=Setup(source={"server_id": SERVER_ID}),
    ),
)
