"""What users have around capture and replica: who starts them again when they end with 1 or 6, and leaves them when
they end with anything else (docs/operations.md)."""

from __future__ import annotations

import threading
from typing import NamedTuple

from tests.system.processes import Service

AGAIN = (1, 6)


class Ended(NamedTuple):
    service: Service
    code: int


class Supervisor(threading.Thread):
    """Looks every twentieth of a second, and starts again at once."""

    def __init__(self, services: list[Service]) -> None:
        super().__init__(daemon=True)
        self.ended: list[Ended] = []
        self._services = services
        self._known: dict[Service, int] = {}
        self._enough = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._enough.wait(0.05):
                for service in self._services:
                    self._look(service)
        except BaseException as error:
            self._error = error

    def _look(self, service: Service) -> None:
        process = service.process
        if process is None or self._known.get(service) == process.pid:
            return
        code = process.poll()
        if code is None:
            return
        self._known[service] = process.pid
        if code > 0:  # not ended in order, nor killed by us
            self.ended.append(Ended(service, code))
        if code in AGAIN:
            service.start()

    def finish(self) -> None:
        self._enough.set()
        if self.is_alive():
            self.join(30)
        if self._error is not None:
            raise self._error
