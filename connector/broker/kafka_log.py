"""The logger that librdkafka's own messages go to, instead of standard error."""

from __future__ import annotations

import logging

# librdkafka says this at every start, about what is intended here: the guarantee is asked for on purpose, and options
# that concern only one kind of client are given to all of them.
_INTENDED = ("enable.gapless.guarantee is experimental", "property and will be ignored by this")


def _telling(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not (message.startswith("CONFWARN") and any(part in message for part in _INTENDED))


log = logging.getLogger("connector.broker.kafka")
log.addFilter(_telling)
