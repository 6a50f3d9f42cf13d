"""What was measured, as it is kept beside the page, and the page that is made of it. Pure, but for the two files."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.servers.model import SqlKind
from tests.system.recovery import at_log, at_processes, at_source
from tests.system.recovery.outcome import Fault
from tests.system.recovery.writer import RATE

PAGE = Path(__file__).parents[3] / "docs/reference/recovery.md"
KEPT = PAGE.with_suffix(".json")
FAULTS: Sequence[Fault] = (*at_processes.FAULTS, *at_source.FAULTS, *at_log.FAULTS)
NAMES: Mapping[SqlKind, str] = {"mysql": "MySQL", "mariadb": "MariaDB"}


class Place(NamedTuple):
    """A row of the page."""

    fault: str
    kind: SqlKind


@dataclass(frozen=True, slots=True)
class Sample:
    """One time. captured: None where capture was not concerned. ended: exit codes of services, but 0 and by our hand.
    records: on the topic in the end; repeated, late: of them, by this fault. load: of the machine, at the end."""

    captured: float | None
    equal: float
    ended: Sequence[int]
    records: int
    repeated: int
    late: int
    load: float
    seen: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    date: str
    machine: str
    samples: Sequence[Sample]


def places() -> Iterator[tuple[Place, Fault]]:
    for fault in FAULTS:
        for kind in fault.kinds:
            yield Place(fault.name, kind), fault


def kept() -> dict[Place, Measured]:
    """By former runs, of faults that there still are."""
    if not KEPT.exists():
        return {}
    known = {place for place, _ in places()}
    found = {}
    for row in json.loads(KEPT.read_text(encoding="utf-8")):
        place = Place(row["fault"], row["kind"])
        if place in known:
            samples = [Sample(**sample) for sample in row["samples"]]
            found[place] = Measured(row["date"], row["machine"], samples)
    return found


def keep(place: Place, measured: Measured) -> None:
    """Also where several runs measure at a time."""
    directory = os.open(PAGE.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        _write(kept() | {place: measured})
    finally:
        os.close(directory)


def _write(found: Mapping[Place, Measured]) -> None:
    rows = [{**place._asdict(), **asdict(found[place])} for place, _ in places() if place in found]
    KEPT.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")


_HEAD = f"""# How long recovery takes

<!-- Made by `python -m tests.system.recovery` from recovery.json; changes belong into the program. -->

Each fault was made to happen to real servers and processes while a writer went on at its source, with {RATE}
transactions a second. The settings are those that there are unless told otherwise, of Kafka's brokers too; services
that end with 1 or 6 are started again at once, as a supervisor does. Two times were taken, in seconds: until the
**first new record** was acknowledged, of a transaction that was committed after the time began; and until the
**replica was equal**, row for row with what the source held a tenth of a second before, or held then. "-": capture was
not concerned. After each time the writer stood still, documents and datasets of the replica were compared with the
source, its full text and vectors with its documents, and the whole topic was read. *Repeated*: changes that stand more
than once. *Late*: records behind a newer one of their key; none was the last of its key in the end, or the run would
have failed. Figures are
least / median / most.

The machine was not idle: other tests ran on it, and had precedence, so waiting for a core is in every figure, and most
of the large ones. *Load* is how many processes wanted a core, over the last minute. `python -m tests.system.recovery`
measures everything again, `python -m tests.system.recovery WORDS` what has these words in its name; servers are needed,
as for the tests, and for the full disk the right to mount one. What has no figures was not measured yet.
"""


def page(found: Mapping[Place, Measured]) -> str:
    """What was not measured has no figures."""
    head = "| Fault | Source | Times | First new record | Replica equal | Repeated | Late | Load | What else was seen |"
    parts = [_HEAD, _measured_on(found), "", head, "|---|---|---|---|---|---|---|---|---|"]
    parts += [_row(place, found.get(place)) for place, _ in places()]
    parts += ["", "## What was done", "", "| Fault | Time begins with | What happens |", "|---|---|---|"]
    parts += [f"| {fault.name} | {fault.since} | {fault.what} |" for fault in FAULTS]
    return "\n".join(parts) + "\n"


def _measured_on(found: Mapping[Place, Measured]) -> str:
    days: dict[str, set[str]] = {}
    for measured in found.values():
        days.setdefault(measured.machine, set()).add(measured.date)
    return "\n".join(f"Measured on {', '.join(sorted(dates))}: {machine}." for machine, dates in sorted(days.items()))


def _row(place: Place, measured: Measured | None) -> str:
    if measured is None:
        return f"| {place.fault} | {NAMES[place.kind]} | 0 | not measured yet | | | | | |"
    samples = measured.samples
    codes = sorted({code for sample in samples for code in sample.ended})
    captured = [sample.captured for sample in samples if sample.captured is not None]
    said = [f"exit {', '.join(map(str, codes))}"] if codes else []
    names = dict.fromkeys(name for sample in samples for name in sample.seen)
    said += [f"{_spread([s.seen[name] for s in samples if name in s.seen])} {name}" for name in names]
    cells = [
        place.fault,
        NAMES[place.kind],
        str(len(samples)),
        _spread(captured) if captured else "-",
        _spread([sample.equal for sample in samples]),
        str(sum(sample.repeated for sample in samples)),
        str(sum(sample.late for sample in samples)),
        _spread([sample.load for sample in samples]),
        "; ".join(said),
    ]
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _spread(values: Sequence[float]) -> str:
    numbers = [min(values), median(values), max(values)] if len(values) > 1 else list(values)
    return " / ".join(dict.fromkeys(_shown(number) for number in numbers))


def _shown(number: float) -> str:
    """Counts are kept as whole numbers."""
    return f"{number:,.0f}" if isinstance(number, int) or number >= 100 else f"{number:.1f}"
