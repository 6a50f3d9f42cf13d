"""One server process: started, watched until it answers, signalled and ended by its own pid.

No server may outlive the test run. A fixture's teardown ends it in the ordinary case, Ctrl+C included: servers
run in sessions of their own, so the terminal's signal reaches pytest alone, which then tears down. When pytest
itself is killed there is no teardown, and the kernel does it: `setpriv --pdeathsig` asks for SIGKILL when the
parent dies. "Parent" there means the *thread* that forked, so every server is forked by one thread that lives as
long as pytest does; a test may start servers from threads of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.servers.model import ServerFailed, ServerUnavailable

_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-parent")

_LOG_LINES_SHOWN = 60


class ServerProcess:
    """A `Lifecycle` over a command whose output is its log.

    `answers` says whether the server really serves; it is asked until it does, and may raise nothing.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        *,
        answers: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        start_seconds: float = 120,
        stop_seconds: float = 60,
    ) -> None:
        self._name = name
        self._command = list(command)
        self._directory = directory
        self._answers = answers
        self._environment = os.environ | dict(environment or {})
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        if self._popen is None or self._popen.poll() is not None:
            return None
        return self._popen.pid

    @property
    def directory(self) -> Path:
        return self._directory

    def log(self) -> str:
        path = self._directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        self.spawn()
        self.wait_until_answers()

    def spawn(self) -> None:
        """Start it without waiting. For several servers that need each other to answer."""
        if self.pid is not None:
            raise RuntimeError(f"{self._name} is running already, as process {self.pid}")
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ServerUnavailable("setpriv is missing: install util-linux")
        command = [setpriv, "--pdeathsig", "KILL", "--", *self._command]
        with (self._directory / "log").open("ab") as log:
            self._popen = _forker.submit(
                subprocess.Popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=self._environment,
                start_new_session=True,
            ).result()

    def wait_until_answers(self) -> None:
        """Return when it answers. A server that ends or is late is ended, and ServerFailed shows its log."""
        deadline = time.monotonic() + self._start_seconds
        while not self._answers():
            if self.pid is None:
                code = self._popen.returncode if self._popen else None
                raise self._failure(f"ended with code {code} while starting")
            if time.monotonic() > deadline:
                self.kill()
                raise self._failure(f"did not answer within {self._start_seconds:g} s")
            time.sleep(0.05)

    def stop(self) -> None:
        if self._popen is None or self.pid is None:
            return
        self.resume()  # A paused process would get the SIGTERM only once it goes on.
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(self._stop_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failure(f"did not shut down within {self._stop_seconds:g} s") from None

    def kill(self) -> None:
        if self._popen is None:
            return
        self._popen.kill()
        self._popen.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is None or self.pid is None:
            raise RuntimeError(f"{self._name} is not running")
        self._popen.send_signal(number)

    def _failure(self, what: str) -> ServerFailed:
        tail = "\n".join(self.log().splitlines()[-_LOG_LINES_SHOWN:])
        return ServerFailed(f"{self._name} {what}. Command: {' '.join(self._command)}\nEnd of its log:\n{tail}")


def run_to_end(name: str, command: Sequence[str], directory: Path) -> None:
    """Run a preparing command (making a data directory, formatting storage). Raises ServerFailed with its output."""
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise ServerFailed(
            f"{name} ended with code {done.returncode}. Command: {' '.join(command)}\n{done.stdout}{done.stderr}"
        )
