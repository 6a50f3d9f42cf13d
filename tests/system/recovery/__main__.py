"""`python -m tests.system.recovery [WORDS...]`: measures the faults with all of these words in their names, or all
faults, and writes docs/reference/recovery.md. What is not measured now keeps its figures.

--times N: that often, instead of as often as the fault says. --add: to what was measured before, today.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.servers.model import SqlKind
from tests.system.recovery.outcome import Fault
from tests.system.recovery.page import PAGE, Measured, Place, Sample, keep, kept, places
from tests.system.recovery.rig import Rig, Scene
from tests.system.recovery.topic import Reading


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} cores and {memory:.0f} GB for all servers and processes together, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def samples(fault: Fault, times: int, kind: SqlKind, rig: Rig, directory: Path) -> Iterator[Sample]:
    rounds, turns = (times, 1) if fault.anew else (1, times)
    for number in range(rounds):
        with rig.scene(fault.setup, kind, directory / str(number)) as scene:
            before = Reading(0, 0, 0, ())
            for _ in range(turns):
                time.sleep(random.uniform(1, 2))  # at another moment of whatever is done now and then
                sample, before = once(fault, scene, before)
                yield sample


def once(fault: Fault, scene: Scene, before: Reading) -> tuple[Sample, Reading]:
    ended = len(scene.line.supervisor.ended)
    took, seen = fault.provoke(scene)
    after = scene.line.checked()
    scene.turns += 1
    codes = [end.code for end in scene.line.supervisor.ended[ended:]]
    repeated, late = after.repeated - before.repeated, after.late - before.late
    load = os.getloadavg()[0]
    return Sample(took.captured, took.equal, codes, after.records, repeated, late, load, dict(seen)), after


def measure(place: Place, fault: Fault, rig: Rig, directory: Path, options: argparse.Namespace) -> None:
    """What was measured so far is kept each time."""
    today, former = datetime.datetime.now(datetime.UTC).date().isoformat(), kept().get(place)
    found: list[Sample] = []
    if options.add and former is not None and (former.date, former.machine) == (today, machine()):
        found += former.samples
    for sample in samples(fault, options.times or fault.times, place.kind, rig, directory):
        print(f"  {sample}", flush=True)
        found.append(sample)
        keep(place, Measured(today, machine(), found))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.recovery")
    parser.add_argument("words", nargs="*", help="in the names of the faults to measure, or the kind of their source")
    parser.add_argument("--times", type=int, default=0, help="how often, instead of as often as the fault says")
    parser.add_argument("--add", action="store_true", help="to what was measured before, today")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing that was started is left
    failed = 0
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        rig = Rig(ending)
        for number, (place, fault) in enumerate(places()):
            if not all(word.lower() in " ".join(place).lower() for word in options.words):
                continue
            print(f"{place.fault} ({place.kind})", flush=True)
            try:
                measure(place, fault, rig, Path(name, str(number)), options)
            except Exception:  # the others are measured all the same
                traceback.print_exc()
                failed += 1
    print(f"wrote {PAGE}; {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
