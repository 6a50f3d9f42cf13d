"""What one fault did, and a fault: what is done to a line, and from when on recovery is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tests.servers.model import SqlKind
from tests.system.recovery.line import Took
from tests.system.recovery.rig import Scene, Setup

BOTH: tuple[SqlKind, ...] = ("mariadb", "mysql")
ONE: tuple[SqlKind, ...] = ("mariadb",)  # it does not matter which server the source is


_USUAL = Setup()


class Outcome(NamedTuple):
    """seen: what else was measured, by name with its unit."""

    took: Took
    seen: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Fault:
    """what: is done, and happens. since: what the times begin with. anew: everything is set up again each time."""

    name: str
    what: str
    since: str
    provoke: Callable[[Scene], Outcome]
    kinds: tuple[SqlKind, ...] = ONE
    times: int = 3
    setup: Setup = _USUAL
    anew: bool = False
