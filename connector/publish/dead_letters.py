"""What a row that can never be published leaves behind: a marker under its key, and a dead letter with its story."""

from __future__ import annotations

import traceback

from connector.broker import Headers
from connector.errors import UnpublishableRow
from connector.model import DocChange, Lane


def marker(change: DocChange, reason: str) -> DocChange:
    """The change without its row: replicas hide the document instead of showing its last version."""
    return change._replace(after=None, unpublished=reason)


def dead_letter_headers(lane: Lane, connector_name: str, error: UnpublishableRow) -> Headers:
    """Kafka Connect's names (KIP-298), values in UTF-8. There is no original offset: the record never landed."""
    story = "".join(traceback.format_exception(error))
    values = {
        "topic": lane.topic,
        "partition": str(lane.partition),
        "connector.name": connector_name,
        "task.id": "0",
        "stage": "PRODUCE",
        "class.name": "connector.publish",
        "exception.class.name": f"{type(error).__module__}.{type(error).__qualname__}",
        "exception.message": str(error),
        "exception.stacktrace": story,
    }
    return [(f"__connect.errors.{name}", value.encode()) for name, value in values.items()]
