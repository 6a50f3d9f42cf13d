"""The tables of a recorded position against those that are followed now: which go from it, and how those that came are
read.

The lanes of a position say which tables it knows: all rows of a table that it knows were published, or stand in the
log behind it, or are to be read by the snapshot that it is in. A table may become known only together with the
snapshot that reads it, in one record.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from connector.broker import Broker
from connector.errors import TableAppeared, UnseenRows
from connector.model import Lane, PublishedPosition, SnapshotProgress, SourcePosition, TableName
from connector.publish.log_state import present_ends
from connector.publish.routing import Router
from connector.publish.setup import followed_topics, with_known
from connector.publish.signals import signals_lane
from connector.settings import Settings
from connector.source.marks import mark_of
from connector.topics import dead_letters_topic
from connector.upstream.tables import called, home_of, named


class Come(NamedTuple):
    """Tables that the position does not know, as entries of `source.tables`: those of which nothing was ever published,
    and those that were followed at some time."""

    new: Sequence[str]
    back: Sequence[str]


def tables_of(recorded: PublishedPosition, settings: Settings, broker: Broker) -> tuple[PublishedPosition, Come]:
    """The position without lanes of tables that are not followed any more: whoever puts one back has missed changes.

    Raises TableAppeared where another capture has found more tables by a pattern, UnseenRows where rows would have to
    be read and must not be.
    """
    home, here, prefix = home_of(settings.source), followed_topics(settings), settings.topics.prefix
    more = [called(name, home) for name in followed_topics(with_known(settings, recorded)) if name not in here]
    if more:
        raise TableAppeared(more, "found by a pattern before")
    known = {lane.topic for lane in recorded.ends}
    kept = {*_lanes(settings, list(here)), Lane(dead_letters_topic(prefix), 0), signals_lane(prefix)}
    recorded = replace(
        recorded,
        source=_without_others(recorded.source, {called(name, home) for name in here}),
        ends={lane: end for lane, end in recorded.ends.items() if lane in kept},
    )
    new, back = list[str](), list[str]()
    for name, topics in here.items():
        if topics.data not in known:
            ends = present_ends(broker, _lanes(settings, [name]))
            (back if any(ends.values()) else new).append(called(name, home))
    if back and settings.source.snapshot == "no_data":
        raise UnseenRows(f"{', '.join(back)}: followed before, and again; what changed meanwhile is not known")
    return recorded, Come(new, back)


def _without_others(at: SourcePosition, followed: Collection[str]) -> SourcePosition:
    """Its snapshot reads followed tables only: one that is put back comes anew."""
    if at.snapshot is None:
        return at
    tables = tuple(table for table in at.snapshot.tables if table in followed)
    return replace(at, snapshot=replace(at.snapshot, tables=tables))


def _lanes(settings: Settings, names: Sequence[TableName]) -> list[Lane]:
    topics = followed_topics(settings)
    return Router({name: topics[name] for name in names}, settings.topics.partitions).lanes()


def unread_of(come: Come, at: SourcePosition, settings: Settings, crossing: bool) -> Sequence[str]:
    """Those that only a snapshot of all tables, in an epoch of its own, can bring: of some that were followed before,
    records stand that may be above anything that is read now. And a position whose records are known by their names,
    or a snapshot of single datasets, cannot take a table in."""
    if settings.source.snapshot == "no_data" or not (come.new or come.back):
        return ()
    datasets = at.snapshot is not None and at.snapshot.datasets is not None
    return [*come.new, *come.back] if come.back or crossing or datasets else ()


def with_come(recorded: PublishedPosition, come: Come, settings: Settings, lanes: Sequence[Lane]) -> PublishedPosition:
    """Knows the new tables, and reads them: by the snapshot that is under way, or one of their own. lanes: those that
    it does not have yet. Nothing of these tables was published, so no epoch is needed to be above it."""
    at = recorded.source
    snapshot, done = at.snapshot, at.snapshot_done
    if come.new:
        if done and settings.source.snapshot != "no_data":
            home = home_of(settings.source)
            datasets = TableName(named(come.new[0], home).db, settings.source.mapping.dataset_table)
            first = called(datasets, home)
            snapshot, done = SnapshotProgress(first, None, mark_of(at), tables=tuple(come.new)), False
        elif snapshot is not None and snapshot.tables and snapshot.datasets is None:
            snapshot = replace(snapshot, tables=tuple(dict.fromkeys([*snapshot.tables, *come.new])))
        # One that has not begun, or does not say what it reads, reads all tables.
    ends = {**dict.fromkeys(lanes, 0), **recorded.ends}
    return replace(recorded, source=replace(at, snapshot=snapshot, snapshot_done=done), ends=ends)
