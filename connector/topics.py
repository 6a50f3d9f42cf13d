"""Names and shapes of the topics, and the partition a dataset belongs to. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connector.errors import ConfigurationError

_LEGAL = re.compile(r"[a-zA-Z0-9-]")


def encode_name(name: str) -> str:
    """A database or table name in Kafka's alphabet, injectively: `_x<code point in hex>_` stands for every other
    character, and for a `_` before an `x`, so that every `_x` is an escape. `.` never appears: it separates."""
    return "".join(
        c if _LEGAL.fullmatch(c) or (c == "_" and name[i + 1 : i + 2] != "x") else f"_x{ord(c):x}_"
        for i, c in enumerate(name)
    )


def decode_name(encoded: str) -> str:
    """The name that `encode_name` was given."""
    return re.sub(r"_x([0-9a-f]+)_", lambda found: chr(int(found[1], 16)), encoded)


@dataclass(frozen=True, slots=True)
class TableTopics:
    """Topics of one shadow table. Both have the same number of partitions, and a dataset has the same in both."""

    data: str
    tombstones: str


def table_topics(prefix: str, db: str, table: str) -> TableTopics:
    """`<prefix>.<db>.<table>` and `.tombstones` behind it. Raises ConfigurationError for names over Kafka's 249."""
    data = f"{prefix}.{encode_name(db)}.{encode_name(table)}"
    if len(data) + len(".tombstones") > 249:
        raise ConfigurationError(f"the topic name for table {db}.{table} is longer than Kafka's 249 characters")
    return TableTopics(data, f"{data}.tombstones")


def table_of_topic(prefix: str, topic: str) -> tuple[str, str] | None:
    """(database, table) of a data topic with that prefix; None for every other topic. The inverse of `table_topics`."""
    parts = topic.split(".")
    if len(parts) != 3 or parts[0] != prefix:
        return None
    return decode_name(parts[1]), decode_name(parts[2])


def positions_topic(prefix: str) -> str:
    return f"{prefix}.positions"


def dead_letters_topic(prefix: str) -> str:
    return f"{prefix}.dlq"


def signals_topic(prefix: str) -> str:
    """Whoever has the lease that goes by its name may publish."""
    return f"{prefix}.signals"


def murmur2(data: bytes) -> int:
    """The 32-bit hash of Kafka's Java client (`org.apache.kafka.common.utils.Utils.murmur2`), unsigned."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    length = len(data)
    h = (0x9747B28C ^ length) & mask
    body = length & ~3
    for i in range(0, body, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    if length & 3:
        h = (h ^ int.from_bytes(data[body:], "little")) * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ (h >> 15)


def partition_of(dataset_id: str, partitions: int) -> int:
    """The partition of a dataset: murmur2 of its UTF-8 bytes, as the Java client's default partitioner takes it."""
    return (murmur2(dataset_id.encode()) & 0x7FFFFFFF) % partitions


def data_topic_config(max_message_bytes: int, min_compaction_lag_s: int) -> Mapping[str, str]:
    """Compacted: the last record under a key stays. The lag keeps every version readable for that long."""
    return {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(min_compaction_lag_s * 1000),
        "max.message.bytes": str(max_message_bytes),
        "message.timestamp.type": "CreateTime",
    }


def tombstone_topic_config(retention_s: int = 7 * 86400) -> Mapping[str, str]:
    """Kept for a week: a lost tombstone is harmless, because a replica's sweep finds what no record named."""
    return {"cleanup.policy": "delete", "retention.ms": str(retention_s * 1000)}


def system_topics(prefix: str, max_message_bytes: int) -> Sequence[tuple[str, Mapping[str, str]]]:
    """Topics with one partition each. A position grows with the number of tables."""
    positions = {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": "0",
        "max.message.bytes": str(max_message_bytes),
    }
    return [
        (positions_topic(prefix), positions),
        (dead_letters_topic(prefix), {"cleanup.policy": "delete", "retention.ms": "-1"}),
        (signals_topic(prefix), {"cleanup.policy": "delete", "retention.ms": str(7 * 86400 * 1000)}),
    ]
