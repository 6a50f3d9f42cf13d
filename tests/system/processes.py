"""`vecsync` as processes of their own, as users run it: started, killed at random, started again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

COMMAND = [str(Path(sys.executable).with_name("vecsync"))]
END_S = 120.0


def write_config(path: Path, sections: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(sections), allow_unicode=True), encoding="utf-8")
    return path


def environment(**variables: str) -> dict[str, str]:
    """The test's own, without settings of the person who runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VECSYNC_")}
    return {**kept, **variables}


def vecsync(*arguments: str, config: Path, env: Mapping[str, str], timeout_s: float = END_S) -> str:
    """Runs a command to its end; returns what it printed. Raises AssertionError with its errors when it fails."""
    done = subprocess.run(
        [*COMMAND, "--config", str(config), *arguments],
        env=dict(env), cwd=config.parent, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"vecsync {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-4000:]}"
    return done.stdout


class Service:
    """A `vecsync` that runs until it is told otherwise. One that ends by itself is a failure of the test."""

    def __init__(self, *arguments: str, config: Path, env: Mapping[str, str], log: Path) -> None:
        self.arguments, self.config, self.env, self.log = arguments, config, dict(env), log
        self.process: subprocess.Popen[bytes] | None = None
        self.kills = 0
        self.begin = 0

    def start(self) -> None:
        self.begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--config", str(self.config), *self.arguments],
                env=self.env, cwd=self.config.parent, stdout=log, stderr=log,
            )  # fmt: skip

    def check(self) -> None:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"vecsync {' '.join(self.arguments)} ended with {code}:\n{self.tail()}"

    def kill(self) -> None:
        assert self.process is not None
        self.check()
        self.process.kill()
        self.process.wait(END_S)
        self.kills += 1

    def stop(self) -> None:
        """As an operator would: SIGTERM, and it has to end in order."""
        if self.process is None or self.process.poll() is not None:
            return
        self.wait_until_working()  # before, the interpreter ends it, and not in order
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(END_S)
        assert code == 0, f"vecsync {' '.join(self.arguments)} ended with {code} after SIGTERM:\n{self.tail()}"

    def wait_until_working(self) -> None:
        """Until it has logged something: it listens to signals before it does."""
        deadline = time.monotonic() + END_S
        while self.log.stat().st_size == self.begin:
            self.check()
            assert time.monotonic() < deadline, f"vecsync {' '.join(self.arguments)} says nothing"
            time.sleep(0.05)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(END_S)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


class Killer(threading.Thread):
    """Kills a service with -9 at random and starts it again, until told to stop."""

    def __init__(self, services: list[Service], seed: int, mean_s: float) -> None:
        super().__init__(daemon=True)
        self.services, self.random, self.mean_s = services, random.Random(seed), mean_s
        self.enough = threading.Event()
        self.error: BaseException | None = None

    @property
    def kills(self) -> int:
        return sum(service.kills for service in self.services)

    def run(self) -> None:
        try:
            while not self.enough.wait(self.random.uniform(0.2, 2 * self.mean_s)):
                victim = self.random.choice(self.services)
                if self.random.random() < 0.8:  # at work; otherwise while it starts, perhaps
                    victim.wait_until_working()
                    time.sleep(self.random.uniform(0, self.mean_s))
                victim.kill()
                if self.random.random() < 0.3:
                    time.sleep(self.random.uniform(0, 0.5))
                victim.start()
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        self.enough.set()
        self.join(END_S)
        if self.error is not None:
            raise self.error
