"""The logger that librdkafka's own messages go to, instead of standard error."""

from __future__ import annotations

import logging
import re

# librdkafka says this at every start, about what is intended here: the guarantee is asked for on purpose, and options
# that concern only one kind of client are given to all of them.
_INTENDED = ("enable.gapless.guarantee is experimental", "property and will be ignored by this")


# A broker that refuses an account is asked again many times a second, and each time says the same.
_REPEAT_S = 30.0
# What differs from one time to the next in the same message.
_VARYING = re.compile(r" \(after \d+ms in state \w+\)")
_REMEMBERED = 100


class _Telling(logging.Filter):
    """Passes on what says something that was not intended, and not said a moment ago."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message = _VARYING.sub("", record.getMessage())
        if message.startswith("CONFWARN") and any(part in message for part in _INTENDED):
            return False
        if not message.startswith("FAIL "):
            return True
        said = self._said.get(message)
        if said is not None and record.created - said < _REPEAT_S:
            return False
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said[message] = record.created
        return True


log = logging.getLogger("connector.broker.kafka")
log.addFilter(_Telling())
