"""Where this run's servers come from, and what happens to a test whose server cannot be had.

Such a test is never passed over in silence: under CI (`CI` set, and not to 0 or false) it fails, elsewhere it is
skipped and the run ends with a section that names what was missing and how many tests that cost.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest

from tests.servers.local import LocalProvider
from tests.servers.local_kafka import SHORT_LIVED
from tests.servers.model import Provider, ServerUnavailable

_missing = pytest.StashKey[Counter[str]]()
_PREFIX = "server unavailable: "


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_missing] = Counter()


@pytest.fixture(scope="session")
def provider() -> Provider:
    """Local processes."""
    return LocalProvider(SHORT_LIVED)


@contextmanager
def server_needed() -> Iterator[None]:
    """Around everything that asks a provider for a server in a fixture."""
    try:
        yield
    except ServerUnavailable as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(f"{_PREFIX}{error}", pytrace=False)
        skip_without_server(str(error))


def skip_without_server(reason: str) -> NoReturn:
    """Also under CI: only for what this machine cannot have at all."""
    pytest.skip(f"{_PREFIX}{reason}")


class _Missing:
    """Counts each test that went without its server, by what was missing: from reports, which workers send too."""

    def __init__(self, missing: Counter[str]) -> None:
        self._missing = missing

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "passed":
            return
        # What skips a test is a place and a reason.
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        if _PREFIX in text:
            self._missing[text.partition(_PREFIX)[2].splitlines()[0]] += 1


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(_Missing(session.config.stash[_missing]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    missing = config.stash[_missing]
    if not missing:
        return
    terminalreporter.section("TESTS DID NOT RUN: servers are missing", red=True, bold=True)
    for reason, count in missing.most_common():
        terminalreporter.line(f"{count} tests: {reason}", red=True)
