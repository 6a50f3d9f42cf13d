"""Progress bars: on a terminal only, on stderr, with rate and time left. Elsewhere nothing is drawn."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from connector.cli.output import err


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s", style="dim")


class Line:
    """One line that says what is waited for, on a terminal only; `with` draws and clears it."""

    def __init__(self) -> None:
        self._status = err().status("") if sys.stderr.isatty() else None

    def __enter__(self) -> Line:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        if self._status is not None:
            self._status.update(escape(text))


class Steps:
    """Work in steps that follow one another. Fulfils what `ingest` reports to; `with` draws and clears it.

    titles: step to what a person reads. shown: False for work without an end, which would only be in the way of its
    log. seconds: that the whole took.
    """

    def __init__(self, titles: Mapping[str, str], *, shown: bool = True) -> None:
        self._titles = titles
        self._started = time.monotonic()
        self.seconds = 0.0
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=err(),
            transient=True,
            disable=not (shown and sys.stderr.isatty()),
        )
        self._task = self._bars.add_task("", total=None, visible=False)

    def __enter__(self) -> Steps:
        self._started = time.monotonic()
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.seconds = time.monotonic() - self._started
        self._bars.stop()

    def begin(self, phase: str, total: int) -> None:
        self._bars.remove_task(self._task)
        self._task = self._bars.add_task(self._titles[phase], total=total, visible=total > 0)

    def advance(self, count: int) -> None:
        self._bars.advance(self._task, count)

    def reached(self, done: int, total: int | None) -> None:
        """Instead of `advance`: how far it is; total: None where nobody can tell."""
        self._bars.update(self._task, completed=done, total=total, visible=True)
