"""One server in a container: a `Lifecycle` over a container of testcontainers'."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker.errors import APIError
from testcontainers.core.container import DockerContainer

from tests.servers.model import ServerFailed
from tests.servers.ports import HOST

_LOG_LINES_SHOWN = 60
_START_SECONDS, _STOP_SECONDS = 180, 60


class ServerContainer:
    """The container is made when the context begins, and removed with its volumes when it ends.

    `directory` is the host's side of what is mounted from it; the log is the engine's.
    """

    def __init__(self, name: str, container: DockerContainer, directory: Path, *, answers: Callable[[], bool]) -> None:
        self._name = name
        self._made = container
        self._directory = directory
        self._answers = answers

    @property
    def _container(self) -> Any:
        return self._made.get_wrapped_container()

    def _state(self) -> dict[str, Any]:
        self._container.reload()
        state: dict[str, Any] = self._container.attrs["State"]
        return state

    @property
    def pid(self) -> int | None:
        """As the engine sees it: in the engine's process namespace."""
        return int(self._state()["Pid"]) or None

    @property
    def directory(self) -> Path:
        return self._directory

    def log(self) -> str:
        text: bytes = self._container.logs()
        return text.decode(errors="replace")

    def start(self) -> None:
        self.spawn()
        self.wait_until_answers()

    def spawn(self) -> None:
        """Start it without waiting. For several servers that need each other to answer."""
        if self.pid is not None:
            raise RuntimeError(f"{self._name} is running already")
        self._container.start()

    def wait_until_answers(self) -> None:
        """Return when it answers. Raises ServerFailed, which shows its log."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            state = self._state()
            if not state["Running"]:
                raise self._failure(f"ended with code {state['ExitCode']} while starting")
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {_START_SECONDS} s")
            time.sleep(0.1)

    def stop(self) -> None:
        if self.pid is None:
            return
        self._unfreeze()
        self._container.stop(timeout=_STOP_SECONDS)

    def kill(self) -> None:
        if self.pid is None:
            return
        self._unfreeze()  # A frozen process would get the signal only once it goes on.
        self._container.kill("SIGKILL")
        self._container.wait(condition="not-running")

    def pause(self) -> None:
        self._container.pause()

    def resume(self) -> None:
        self._container.unpause()

    def _unfreeze(self) -> None:
        if self._state()["Paused"]:
            self._container.unpause()

    def _failure(self, what: str) -> ServerFailed:
        tail = "\n".join(self.log().splitlines()[-_LOG_LINES_SHOWN:])
        return ServerFailed(f"{self._name} {what}. Image: {self._made.image}\nEnd of its log:\n{tail}")


def publish(container: DockerContainer, inside: int, outside: int) -> None:
    """A port of the container on loopback. (Their own method would open it to the network.)"""
    ports: dict[str, Any] = container.ports
    ports[f"{inside}/tcp"] = (HOST, outside)


@contextmanager
def made(container: DockerContainer) -> Iterator[None]:
    """The container, started; removed at the end. An engine that refuses it raises ServerFailed."""
    try:
        container.start()
        yield
    except APIError as error:
        raise ServerFailed(f"the engine refuses a container of {container.image}: {error.explanation}") from error
    finally:
        container.stop()
