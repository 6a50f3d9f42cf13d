"""MySQL's GTID sets (with tags, 8.3 and later), and MariaDB's GTID positions. Pure values.

A GTID set is text such as `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:app:1-3,...`: per server uuid, intervals of
transaction numbers, and per tag further ones. A MariaDB position is `domain-server-sequence`, one per domain.
Positions are only ever compared and added to; nothing here decides where to resume.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from uuid import UUID

from connector.errors import CorruptedLog, UsageError
from connector.source.binlog.integers import encode_varlen, fixed, span, varlen

_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}\Z")
_MAX_GNO = 2**63 - 2


class Gtid(NamedTuple):
    """One MySQL transaction; `tag` is empty for most. Text: `uuid:number` or `uuid:tag:number`."""

    uuid: UUID
    tag: str
    number: int

    def __str__(self) -> str:
        return f"{self.uuid}:{self.tag}:{self.number}" if self.tag else f"{self.uuid}:{self.number}"


Intervals = tuple[tuple[int, int], ...]  # ascending, disjoint, not adjacent; both ends included


class GtidSet:
    """A set of MySQL GTIDs. Immutable; equal sets have equal text."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Mapping[tuple[UUID, str], Iterable[tuple[int, int]]] | None = None) -> None:
        """`ranges`: (uuid, tag) -> intervals in any order, both ends included, each start at least 1."""
        normal = {key: _normal(intervals) for key, intervals in (ranges or {}).items()}
        self._ranges: dict[tuple[UUID, str], Intervals] = {
            key: normal[key] for key in sorted(normal, key=_order) if normal[key]
        }

    @classmethod
    def parse(cls, text: str) -> GtidSet:
        """What `gtid_executed` shows. Raises UsageError for text that is no GTID set."""
        ranges: dict[tuple[UUID, str], list[tuple[int, int]]] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            first, *rest = (piece.strip() for piece in part.split(":"))
            try:
                uuid = UUID(first)
            except ValueError:
                raise UsageError(f"{first!r} is not a server uuid (in GTID set {text!r})") from None
            tag = ""
            for piece in rest:
                if piece[:1].isdigit():
                    ranges.setdefault((uuid, tag), []).append(_parse_interval(piece, text))
                    continue
                tag = piece.lower()
                if not _TAG.match(tag):
                    raise UsageError(f"{piece!r} is neither an interval nor a tag (in GTID set {text!r})")
            if not any(key[0] == uuid for key in ranges):
                raise UsageError(f"{part!r} names no transactions (in GTID set {text!r})")
        return cls(ranges)

    @classmethod
    def decode(cls, data: bytes) -> GtidSet:
        """Body of a PREVIOUS_GTIDS event (without checksum). Raises CorruptedLog."""
        head = fixed(data, 0, 8)
        tagged = head >> 56 == 1
        if not tagged and head >> 56:
            raise CorruptedLog(f"GTID set of unknown format {head >> 56}")
        count = (head >> 8) & 0xFFFFFFFFFFFF if tagged else head
        pos = 8
        ranges: dict[tuple[UUID, str], list[tuple[int, int]]] = {}
        for _ in range(count):
            uuid = UUID(bytes=span(data, pos, 16))
            pos += 16
            tag = ""
            if tagged:
                size, pos = varlen(data, pos)
                tag = span(data, pos, size).decode("ascii", "replace")
                pos += size
            intervals = fixed(data, pos, 8)
            pos += 8
            found = ranges.setdefault((uuid, tag), [])
            for _ in range(intervals):
                start, end = fixed(data, pos, 8), fixed(data, pos + 8, 8)
                if not 0 < start < end:
                    raise CorruptedLog(f"GTID set holds the interval {start}-{end - 1}")
                found.append((start, end - 1))
                pos += 16
        if pos != len(data):
            raise CorruptedLog(f"GTID set ends at byte {pos} of {len(data)}")
        return cls(ranges)

    def encode(self) -> bytes:
        """The form that COM_BINLOG_DUMP_GTID takes; without tags it is the one that every server since 5.6 reads."""
        tagged = any(tag for _, tag in self._ranges)
        count = len(self._ranges)
        parts = [((1 << 56 | count << 8 | 1) if tagged else count).to_bytes(8, "little")]
        for (uuid, tag), intervals in self._ranges.items():
            parts.append(uuid.bytes)
            if tagged:
                parts += (encode_varlen(len(tag)), tag.encode("ascii"))
            parts.append(len(intervals).to_bytes(8, "little"))
            for first, last in intervals:
                parts += (first.to_bytes(8, "little"), (last + 1).to_bytes(8, "little"))
        return b"".join(parts)

    def add(self, gtid: Gtid) -> GtidSet:
        """This set and one more transaction. Cheap in the usual case, the next number of an interval."""
        key = (gtid.uuid, gtid.tag)
        intervals = self._ranges.get(key, ())
        if intervals and intervals[-1][1] + 1 == gtid.number:
            grown: Intervals = (*intervals[:-1], (intervals[-1][0], gtid.number))
        elif gtid in self:
            return self
        else:
            grown = _normal((*intervals, (gtid.number, gtid.number)))
        result = GtidSet.__new__(GtidSet)
        result._ranges = {**self._ranges, key: grown}
        if not intervals:
            result._ranges = {key: result._ranges[key] for key in sorted(result._ranges, key=_order)}
        return result

    def union(self, other: GtidSet) -> GtidSet:
        keys = self._ranges.keys() | other._ranges.keys()
        return GtidSet({key: (*self._ranges.get(key, ()), *other._ranges.get(key, ())) for key in keys})

    def subtract(self, other: GtidSet) -> GtidSet:
        return GtidSet({key: _difference(mine, other._ranges.get(key, ())) for key, mine in self._ranges.items()})

    @property
    def single(self) -> Gtid | None:
        """The one GTID of a set of one."""
        numbers = [(uuid, tag, *ends) for uuid, tag, intervals in self for ends in intervals]
        if len(numbers) != 1 or numbers[0][2] != numbers[0][3]:
            return None
        uuid, tag, number, _ = numbers[0]
        return Gtid(uuid, tag, number)

    def has(self, text: str) -> bool:
        """Whether all GTIDs of that text are in the set."""
        return GtidSet.parse(text).is_subset(self)

    def is_subset(self, other: GtidSet) -> bool:
        return not self.subtract(other)

    def __contains__(self, gtid: object) -> bool:
        if not isinstance(gtid, Gtid):
            return False
        intervals = self._ranges.get((gtid.uuid, gtid.tag), ())
        at = bisect_left(intervals, gtid.number, key=lambda interval: interval[1])
        return at < len(intervals) and intervals[at][0] <= gtid.number

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __iter__(self) -> Iterator[tuple[UUID, str, Intervals]]:
        return ((uuid, tag, intervals) for (uuid, tag), intervals in self._ranges.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GtidSet) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(tuple(self._ranges.items()))

    def __str__(self) -> str:
        parts: list[str] = []
        last: UUID | None = None
        for (uuid, tag), intervals in self._ranges.items():
            text = ":".join(str(a) if a == b else f"{a}-{b}" for a, b in intervals)
            if tag:
                text = f"{tag}:{text}"
            if uuid == last:
                parts[-1] += f":{text}"
            else:
                parts.append(f"{uuid}:{text}")
            last = uuid
        return ",".join(parts)

    def __repr__(self) -> str:
        return f"GtidSet.parse({str(self)!r})"


def _order(key: tuple[UUID, str]) -> tuple[bytes, str]:
    return key[0].bytes, key[1]


def _parse_interval(piece: str, text: str) -> tuple[int, int]:
    first, dash, last = piece.partition("-")
    try:
        start = int(first)
        end = int(last) if dash else start
    except ValueError:
        raise UsageError(f"{piece!r} is not an interval (in GTID set {text!r})") from None
    if not 1 <= start <= end <= _MAX_GNO:
        raise UsageError(f"{piece!r} is not an ascending interval of numbers from 1 (in GTID set {text!r})")
    return start, end


def _normal(intervals: Iterable[tuple[int, int]]) -> Intervals:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _difference(mine: Intervals, theirs: Intervals) -> list[tuple[int, int]]:
    left: list[tuple[int, int]] = []
    for first, last in mine:
        for low, high in theirs:
            if high < first:
                continue
            if low > last:
                break
            if low > first:
                left.append((first, low - 1))
            first = high + 1
        if first <= last:
            left.append((first, last))
    return left


class MariadbGtid(NamedTuple):
    """One MariaDB transaction. Text: `domain-server-sequence`."""

    domain: int
    server_id: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.domain}-{self.server_id}-{self.sequence}"


class MariadbGtidList:
    """A MariaDB GTID position: the last transaction of each domain. Immutable.

    Within a domain sequence numbers rise along the log, so "executed up to" is what `covers` compares.
    """

    __slots__ = ("_last",)

    def __init__(self, last: Iterable[MariadbGtid] = ()) -> None:
        newest: dict[int, MariadbGtid] = {}
        for gtid in last:
            if gtid.domain not in newest or newest[gtid.domain].sequence <= gtid.sequence:
                newest[gtid.domain] = gtid
        self._last = {domain: newest[domain] for domain in sorted(newest)}

    @classmethod
    def parse(cls, text: str) -> MariadbGtidList:
        """What `gtid_current_pos` shows. Raises UsageError for text that is no such list, or names a domain twice."""
        found: dict[int, MariadbGtid] = {}
        for piece in filter(None, (part.strip() for part in text.split(","))):
            match = re.match(r"(\d+)-(\d+)-(\d+)\Z", piece, re.ASCII)
            if match is None:
                raise UsageError(f"{piece!r} is not domain-server-sequence (in GTID position {text!r})")
            gtid = MariadbGtid(*map(int, match.groups()))
            if gtid.domain >> 32 or gtid.server_id >> 32 or gtid.sequence >> 64:
                raise UsageError(f"{piece!r} holds a number that is too large (in GTID position {text!r})")
            if gtid.domain in found:
                raise UsageError(f"domain {gtid.domain} stands twice in GTID position {text!r}")
            found[gtid.domain] = gtid
        return cls(found.values())

    @classmethod
    def decode(cls, data: bytes) -> MariadbGtidList:
        """Body of a GTID_LIST event (without checksum). Raises CorruptedLog.

        A domain may stand there several times, once per server id, the newest last.
        """
        count = fixed(data, 0, 4) & 0x0FFFFFFF  # the upper four bits are flags
        if len(data) < 4 + 16 * count:
            raise CorruptedLog(f"GTID list of {count} entries in {len(data)} bytes")
        return cls(
            MariadbGtid(fixed(data, at, 4), fixed(data, at + 4, 4), fixed(data, at + 8, 8))
            for at in range(4, 4 + 16 * count, 16)
        )

    def add(self, gtid: MariadbGtid) -> MariadbGtidList:
        """The position after that transaction (which may be lower than the one before, on a server that allows it)."""
        result = MariadbGtidList.__new__(MariadbGtidList)
        result._last = {**self._last, gtid.domain: gtid}
        if gtid.domain not in self._last:
            result._last = {domain: result._last[domain] for domain in sorted(result._last)}
        return result

    @property
    def single(self) -> MariadbGtid | None:
        """The one GTID of a list of one."""
        return next(iter(self)) if len(self._last) == 1 else None

    def has(self, text: str) -> bool:
        """Whether the GTID of that text was executed."""
        return all(gtid in self for gtid in MariadbGtidList.parse(text))

    def of(self, domain: int) -> MariadbGtid | None:
        return self._last.get(domain)

    def without(self, domain: int) -> MariadbGtidList:
        return MariadbGtidList(gtid for gtid in self if gtid.domain != domain)

    def covers(self, other: MariadbGtidList) -> bool:
        """Whether every domain of `other` has been executed here at least as far."""
        return all(
            domain in self._last and gtid.sequence <= self._last[domain].sequence
            for domain, gtid in other._last.items()
        )

    def __iter__(self) -> Iterator[MariadbGtid]:
        return iter(self._last.values())

    def __contains__(self, gtid: object) -> bool:
        if not isinstance(gtid, MariadbGtid):
            return False
        last = self._last.get(gtid.domain)
        return last is not None and gtid.sequence <= last.sequence

    def __bool__(self) -> bool:
        return bool(self._last)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MariadbGtidList) and self._last == other._last

    def __hash__(self) -> int:
        return hash(tuple(self._last.values()))

    def __str__(self) -> str:
        return ",".join(map(str, self._last.values()))

    def __repr__(self) -> str:
        return f"MariadbGtidList.parse({str(self)!r})"
