"""From a source's transactions to the topics: in commit order, without gaps, resuming without duplicates."""

from connector.publish.log_state import newest_commit, recorded_position
from connector.publish.publisher import Progress, Publisher
from connector.publish.resnapshot import request_snapshot
from connector.publish.set_position import set_position, skip_transaction
from connector.publish.setup import create_topics, followed_topics, topic_specs, with_known
from connector.publish.signals import chosen_tables, send_signal, signals_lane
from connector.publish.when_needed import publish

__all__ = [
    "Progress",
    "Publisher",
    "chosen_tables",
    "create_topics",
    "followed_topics",
    "newest_commit",
    "publish",
    "recorded_position",
    "request_snapshot",
    "send_signal",
    "set_position",
    "signals_lane",
    "skip_transaction",
    "topic_specs",
    "with_known",
]
