"""The topics a source needs: which, of what shape, and that those which exist have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.broker import Admin, TopicSpec
from connector.errors import ConfigurationError
from connector.model import PublishedPosition, TableName
from connector.settings import Settings
from connector.topics import (
    TableTopics,
    data_topic_config,
    system_topics,
    table_of_topic,
    table_topics,
    tombstone_topic_config,
)
from connector.upstream.tables import Patterns, followed_tables, with_tables


def followed_topics(settings: Settings) -> Mapping[TableName, TableTopics]:
    """Topics of each followed table."""
    return {name: table_topics(settings.topics.prefix, *name) for name in followed_tables(settings.source)}


def with_known(settings: Settings, recorded: PublishedPosition | None) -> Settings:
    """The same, with the tables that a pattern found before, whether they are still there or not."""
    patterns = Patterns(settings.source)
    if recorded is None or not patterns:
        return settings
    topics = {lane.topic for lane in recorded.ends}
    tables = (table_of_topic(settings.topics.prefix, topic) for topic in topics)
    names = {TableName(*table) for table in tables if table is not None}
    return with_tables(settings, filter(patterns.match, names))


def topic_specs(settings: Settings) -> Sequence[TopicSpec]:
    """Every topic as the configuration wants it."""
    shape = settings.topics
    limit = {"max.message.bytes": str(shape.max_message_bytes)}
    system = system_topics(shape.prefix, shape.max_message_bytes)
    specs = [TopicSpec(name, 1, shape.replication_factor, config) for name, config in system]
    for topics in followed_topics(settings).values():
        data = data_topic_config(shape.max_message_bytes, shape.min_compaction_lag_s)
        specs.append(TopicSpec(topics.data, shape.partitions, shape.replication_factor, data))
        tombstones = {**tombstone_topic_config(), **limit}
        specs.append(TopicSpec(topics.tombstones, shape.partitions, shape.replication_factor, tombstones))
    return specs


def create_topics(admin: Admin, settings: Settings) -> Sequence[str]:
    """Makes the topics that are missing; returns their names. Raises ConfigurationError when one that exists has
    another number of partitions (a dataset would change its partition, and lose its order) or is not compacted."""
    specs = topic_specs(settings)
    made = admin.create(specs)
    found = admin.describe([spec.name for spec in specs])
    for spec in specs:
        info = found[spec.name]
        if info.partitions != spec.partitions:
            raise ConfigurationError(
                f"topic {spec.name} has {info.partitions} partitions, the configuration says {spec.partitions}",
                hint=f"Set topics.partitions to {info.partitions}, or use another topics.prefix.",
            )
        policy = spec.config.get("cleanup.policy")
        if info.config.get("cleanup.policy", policy) != policy:
            raise ConfigurationError(
                f"topic {spec.name} has cleanup.policy {info.config['cleanup.policy']}, it must be {policy}",
                hint="Change the topic's setting; with deletion by age a new replica could not be built.",
            )
    return made
