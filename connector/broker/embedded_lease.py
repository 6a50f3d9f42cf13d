"""A lease on the embedded log: a lock of the operating system on a file beside it.

The kernel gives the lock up when the process that has it ends, however it ends, and never before: a process that
stands still keeps it. So nobody can write beside the one who has the lease. The file says who that is; it is left where
it is, because whoever removes a lock file takes it from under somebody else's lock.
"""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

from connector.broker import LeaseState
from connector.errors import Unreachable

_LOOK_S = 0.05


def lease_file(log: Path, topic: str) -> Path:
    return log.with_name(f"{log.name}.{topic}.lease")


class EmbeddedLease:
    """Fulfils `connector.broker.Lease`."""

    def __init__(self, log: Path, topic: str, member: str) -> None:
        self._member = member
        self._held = False
        path = lease_file(log, topic)
        try:
            self._file: IO[str] = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise Unreachable(
                f"the lease {path} cannot be used: {error}",
                hint="The directory of broker.path must be writable for this user.",
            ) from error

    def wait(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not self._held:
            left = deadline - time.monotonic()
            if _locked(self._file, fcntl.LOCK_EX):
                self._file.truncate(0)
                self._file.write(self._member)
                self._file.flush()
                self._held = True
            elif left <= 0:
                break
            else:
                time.sleep(min(left, _LOOK_S))
        return self._held

    def held(self) -> bool:
        return self._held

    def close(self) -> None:
        self._held = False
        self._file.close()


def embedded_lease_state(log: Path, topic: str) -> LeaseState:
    """Who waits is not known: a lock has no list."""
    try:
        with lease_file(log, topic).open("r", encoding="utf-8") as file:
            # Shared, and for an instant: one who wants the lease just then tries again.
            return LeaseState(None) if _locked(file, fcntl.LOCK_SH) else LeaseState(file.read() or None)
    except FileNotFoundError:
        return LeaseState(None)


def _locked(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
