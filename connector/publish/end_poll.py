"""The ends of lanes, asked for about once a second beside the publisher's own work, which must not wait for answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from queue import SimpleQueue
from typing import NamedTuple

from connector.broker import Broker
from connector.errors import Unreachable, VecsyncError
from connector.model import Lane

EVERY_S = 1.0
_CLOSE_S = 1.0


class Answer(NamedTuple):
    """asked: as it was given to `ask`. ends: of these, and of the other lanes."""

    asked: Mapping[Lane, int]
    ends: Mapping[Lane, int]


class EndPoll:
    """A thread with an admin client of its own, begun with the first question."""

    def __init__(self, broker: Broker, every_s: float) -> None:
        self._broker = broker
        self._every_s = every_s
        self._questions: SimpleQueue[tuple[Mapping[Lane, int], Collection[Lane]] | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer | VecsyncError] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._asking = False
        self._next = time.monotonic() + every_s

    def due(self) -> bool:
        return not self._asking and time.monotonic() >= self._next

    def ask(self, expected: Mapping[Lane, int], others: Collection[Lane] = ()) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="end offsets", daemon=True)
            self._thread.start()
        self._asking = True
        self._questions.put((expected, others))

    def answer(self) -> Answer | None:
        """Since the last call. Raises what the broker refused; that it does not answer is for the producer to tell."""
        if not self._asking or self._answers.empty():
            return None
        found = self._answers.get()
        self._asking, self._next = False, time.monotonic() + self._every_s
        if isinstance(found, Unreachable):
            return None
        if isinstance(found, VecsyncError):
            raise found
        return found

    def close(self) -> None:
        if self._thread is not None:
            self._questions.put(None)
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        admin = None
        while (question := self._questions.get()) is not None:
            asked, others = question
            try:
                admin = admin or self._broker.admin()
                self._answers.put(Answer(asked, admin.end_offsets([*asked, *others])))
            except VecsyncError as error:
                self._answers.put(error)
        if admin is not None:
            admin.close()
