"""The topics under a prefix as they are. Reads only."""

from __future__ import annotations

from typing import NamedTuple

from connector.broker import Broker
from connector.model import Lane


class ListedTopic(NamedTuple):
    """offsets: from the first to the end, over all partitions; compaction leaves gaps, so records may be fewer."""

    name: str
    topic_id: str
    partitions: int
    cleanup_policy: str | None
    offsets: int


def list_topics(broker: Broker, prefix: str) -> list[ListedTopic]:
    """By name. Raises Unreachable."""
    admin = broker.admin()
    try:
        found = admin.describe(sorted(admin.list(f"{prefix}.")))
        listed = []
        for name, info in sorted(found.items()):
            lanes = [Lane(name, p) for p in range(info.partitions)]
            begin, end = admin.beginning_offsets(lanes), admin.end_offsets(lanes)
            offsets = sum(end[lane] - begin[lane] for lane in lanes)
            listed.append(ListedTopic(name, info.topic_id, info.partitions, info.config.get("cleanup.policy"), offsets))
        return listed
    finally:
        admin.close()
