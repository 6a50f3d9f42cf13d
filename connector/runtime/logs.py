"""Logging: console lines on a terminal, JSON elsewhere, always to stderr, and never a secret.

The rest of the connector logs with the standard library (`extra=` for fields); structlog formats it here.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from pydantic import BaseModel, SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

from connector.settings import Settings

MASK = "**********"


class _Stderr(logging.Handler):
    """To whatever sys.stderr is at the moment: a progress bar puts itself between, so that lines come out above it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001  the way of the standard library's handlers: no log line ends a program
            self.handleError(record)


def configure_logging(settings: Settings, *, debug: bool = False) -> None:
    """Replaces what was configured before. debug: everything of the connector, whatever the configuration says."""
    console = settings.log.format == "console" or (settings.log.format == "auto" and sys.stderr.isatty())
    handler = _Stderr()
    handler.setFormatter(_formatter(console, secrets_of(settings)))
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, _Stderr):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("connector").setLevel("DEBUG" if debug else settings.log.level.upper())


def secrets_of(model: BaseModel) -> list[str]:
    """The text of every secret in the configuration."""
    return sorted(_secrets(model), key=len, reverse=True)


def _secrets(model: BaseModel) -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, SecretStr) and value.get_secret_value():
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from _secrets(value)
        elif isinstance(value, dict):
            yield from (str(v) for k, v in value.items() if is_secret_name(str(k)) and v)


def is_secret_name(name: str) -> bool:
    """Whether an option of this name holds something to be masked (`sasl.password`, `ssl.key.pem`, ...)."""
    lower = name.lower()
    return any(part in lower for part in ("password", "secret", "token", "ssl.key.pem", "oauthbearer.config"))


def _formatter(console: bool, secrets: Sequence[str]) -> logging.Formatter:
    def mask(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {key: _masked(value, secrets) for key, value in event.items()}

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        *([] if console else [structlog.stdlib.add_logger_name]),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
        structlog.processors.format_exc_info,
        mask,
    ]
    last: Processor
    if console:
        colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        last = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)
    else:
        last = structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )


def _masked(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
    return value
