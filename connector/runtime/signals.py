"""Ending on request: the first SIGTERM or Ctrl+C sets an event, the second ends the process at once.

Ending at once loses nothing: everything durable is committed in transactions or acknowledged. It is only not tidy.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(*, announce: bool = True) -> Iterator[threading.Event]:
    """The event that the first signal sets. Outside the main thread no signal is handled: only the caller sets it.

    announce: say that the end may take a moment.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        if announce:
            # Not logged from here: the signal may have come while the logging lock was held.
            os.write(2, f"{signal.Signals(number).name}: stopping in order; once more to stop at once\n".encode())

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
