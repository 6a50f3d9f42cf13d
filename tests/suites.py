"""Ends every run with the outcome of each suite (a directory below `tests/`), so that an empty one is seen."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

_outcomes = pytest.StashKey[defaultdict[str, Counter[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    config.stash[_outcomes] = outcomes
    config.addinivalue_line("markers", "long: takes minutes; not part of `make test`")


class _Counting:
    """Reports carry no configuration, so what counts them holds it."""

    def __init__(self, outcomes: defaultdict[str, Counter[str]]) -> None:
        self._outcomes = outcomes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test that was set up reports once more for its call; only what ends it early reports elsewhere.
        if report.when == "call" or report.outcome != "passed":
            suite = report.nodeid.split("/")[1] if report.nodeid.count("/") > 1 else "tests"
            outcome = "error" if report.outcome == "failed" and report.when != "call" else report.outcome
            self._outcomes[suite][outcome] += 1


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(_Counting(session.config.stash[_outcomes]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes = config.stash[_outcomes]
    if not outcomes:
        return
    terminalreporter.section("tests per suite")
    for suite in sorted(outcomes):
        counts = outcomes[suite]
        parts = [f"{counts[name]} {name}" for name in sorted(counts, key=lambda name: (name != "passed", name))]
        terminalreporter.line(f"{suite:<12} {sum(counts.values()):>5} tests: {', '.join(parts)}")
