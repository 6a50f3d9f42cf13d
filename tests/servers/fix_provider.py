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
from tests.servers.model import Provider, ServerUnavailable

_missing = pytest.StashKey[Counter[str]]()
_PREFIX = "server unavailable: "


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_missing] = Counter()


@pytest.fixture(scope="session")
def provider() -> Provider:
    """Local processes."""
    return LocalProvider()


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Count each test that went without its server, by what was missing."""
    report = yield
    reason = str(call.excinfo.value) if call.excinfo is not None else ""
    if _PREFIX in reason:
        item.config.stash[_missing][reason.partition(_PREFIX)[2].splitlines()[0]] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    missing = config.stash[_missing]
    if not missing:
        return
    terminalreporter.section("TESTS DID NOT RUN: servers are missing", red=True, bold=True)
    for reason, count in missing.most_common():
        terminalreporter.line(f"{count} tests: {reason}", red=True)
