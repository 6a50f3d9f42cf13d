"""From a source's transactions to the topics: in commit order, without gaps, resuming without duplicates."""

from connector.publish.log_state import recorded_position
from connector.publish.publisher import Progress, Publisher
from connector.publish.resnapshot import request_snapshot
from connector.publish.setup import create_topics, followed_topics, topic_specs

__all__ = [
    "Progress",
    "Publisher",
    "create_topics",
    "followed_topics",
    "recorded_position",
    "request_snapshot",
    "topic_specs",
]
