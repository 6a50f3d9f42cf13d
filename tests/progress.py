"""What a run with several workers (`pytest -n 2`) prints while it goes on: a line for each file that a worker has left.

Without it the workers' dots stand in one row, and nobody can tell who runs what, or how long it takes. A file that the
workers share has a line from each of them. Failures are told at once, and in full at the end, as ever.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest


@dataclass(slots=True)
class _File:
    path: str
    seconds: float = 0
    outcomes: Counter[str] = field(default_factory=Counter)


class _Lines:
    """Reports carry their worker, and no configuration."""

    def __init__(self, config: pytest.Config, terminal: pytest.TerminalReporter) -> None:
        self._config, self._terminal = config, terminal
        self._at: dict[str, _File] = {}
        self._ended = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Counted as ever, without a dot."""
        return ("passed", "", "") if report.when == "call" and report.passed else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        worker, path = report.node.gateway.id, report.nodeid.partition("::")[0]
        file = self._at.get(worker)
        if file is None or file.path != path:
            self._leave(worker)
            file = self._at[worker] = _File(path)
        file.seconds += report.duration
        if report.when == "call" or not report.passed:
            file.outcomes[report.outcome] += 1
        self._ended += report.when == "teardown"
        if report.failed:
            self._terminal.write_line(
                f"{self._share()} {worker}  {report.nodeid}  failed in its {report.when}", red=True
            )

    def pytest_sessionfinish(self) -> None:
        for worker in sorted(self._at):
            self._leave(worker)

    def _leave(self, worker: str) -> None:
        file = self._at.pop(worker, None)
        if file is not None:
            counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(file.outcomes.items()))
            self._terminal.write_line(f"{self._share()} {worker}  {file.path}  {counts}  {file.seconds:.1f} s")

    def _share(self) -> str:
        session = self._terminal._session
        collected = session.testscollected if session is not None else 0
        return f"[{100 * self._ended // max(collected, 1):3}%]"


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if config.pluginmanager.has_plugin("dsession") and terminal is not None and config.get_verbosity() == 0:
        config.pluginmanager.register(_Lines(config, terminal))
