"""The small events around transactions: GTIDs of both servers, XA prepare, heartbeat, rotate. Pure."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.gtid import Gtid, MariadbGtid
from connector.source.binlog.integers import fixed, packed, span, varlen, varlen_signed


class Xid(NamedTuple):
    """Name of an XA transaction."""

    gtrid: bytes
    bqual: bytes
    format_id: int


class TransactionHead(NamedTuple):
    """What stands at the start of a transaction.

    gtid        None for anonymous transactions
    commit_us   when the server that sends it committed it, microseconds since the epoch; 0: only the header's
                seconds are known
    original_us when the server it came from committed it; equal to commit_us unless replicated
    standalone  MariaDB: one statement follows, and no COMMIT
    implicit    MariaDB: the transaction has begun, no BEGIN follows
    completed   MariaDB: the XA transaction that the next statement commits or rolls back
    undecided   MariaDB: the ALTER that follows only starts here, or is given up: it has no effect
    """

    gtid: Gtid | MariadbGtid | None
    commit_us: int = 0
    original_us: int = 0
    standalone: bool = False
    implicit: bool = False
    prepared: Xid | None = None
    completed: Xid | None = None
    undecided: bool = False


_SECOND_TIMESTAMP = 1 << 55


def parse_gtid(body: bytes, *, anonymous: bool) -> TransactionHead:
    """GTID_LOG_EVENT and ANONYMOUS_GTID_LOG_EVENT. `body`: without header and checksum."""
    uuid = UUID(bytes=span(body, 1, 16))
    number = fixed(body, 17, 8)
    gtid = None if anonymous else Gtid(uuid, "", number)
    # 5.7 ends with type (1) and two logical timestamps (16) of the parallel replica; 8.0 adds commit times.
    pos = 25 + 17
    if len(body) < pos + 7:
        return TransactionHead(gtid)
    commit = original = fixed(body, pos, 7)
    if commit & _SECOND_TIMESTAMP:
        commit ^= _SECOND_TIMESTAMP
        original = fixed(body, pos + 7, 7)
    return TransactionHead(gtid, commit, original)


# Field numbers of the tagged event; fields that are missing have their default.
_TAGGED_UUID, _TAGGED_NUMBER, _TAGGED_TAG, _TAGGED_COMMIT, _TAGGED_ORIGINAL = 1, 2, 3, 6, 7
_TAGGED_KNOWN_FIELDS = 12


def parse_tagged_gtid(body: bytes) -> TransactionHead:
    """GTID_TAGGED_LOG_EVENT, in MySQL's `mysql::serialization` form: fields with a number each, ascending."""
    version, pos = varlen(body, 0)
    if version != 1:
        raise UnsupportedChange(f"GTID event in serialization version {version} is not supported (only 1 is)")
    size, pos = varlen(body, pos)
    needed, pos = varlen(body, pos)  # one more than the last field that a reader must know, or 0
    if needed > _TAGGED_KNOWN_FIELDS:
        raise UnsupportedChange(f"GTID event needs knowledge of its field {needed - 1}")
    if size != len(body):
        raise CorruptedLog(f"tagged GTID event says {size} bytes and has {len(body)}")
    uuid, tag, number, commit, original = UUID(int=0), "", 0, 0, None
    while pos < size:
        field, pos = varlen(body, pos)
        if field == _TAGGED_UUID:
            octets = []
            for _ in range(16):
                octet, pos = varlen(body, pos)
                octets.append(octet)
            if max(octets) > 0xFF:
                raise CorruptedLog("tagged GTID event holds no uuid")
            uuid = UUID(bytes=bytes(octets))
        elif field == _TAGGED_NUMBER:
            number, pos = varlen_signed(body, pos)
        elif field == _TAGGED_TAG:
            length, pos = varlen(body, pos)
            tag = span(body, pos, length).decode("ascii", "replace")
            pos += length
        elif field == _TAGGED_COMMIT:
            commit, pos = varlen(body, pos)
        elif field == _TAGGED_ORIGINAL:
            original, pos = varlen(body, pos)
        elif field < _TAGGED_KNOWN_FIELDS:  # flags, logical timestamps, versions, ticket: plain integers
            _, pos = varlen(body, pos)
        else:
            break  # unknown fields are last, and the header said that they may be ignored
    if number <= 0:
        raise CorruptedLog(f"tagged GTID event holds the number {number}")
    return TransactionHead(Gtid(uuid, tag, number), commit, commit if original is None else original)


_STANDALONE, _GROUP_COMMIT, _PREPARED_XA, _COMPLETED_XA = 1, 2, 64, 128
_START_ALTER, _ROLLBACK_ALTER = 2, 8  # of the second byte of flags, which stands last and only if it is not zero


def parse_mariadb_gtid(body: bytes, server_id: int) -> TransactionHead:
    """MariaDB's GTID_EVENT; the server id of the GTID is that of the event's header."""
    sequence, domain, flags = fixed(body, 0, 8), fixed(body, 8, 4), fixed(body, 12, 1)
    pos = 13
    if flags & _GROUP_COMMIT:
        pos += 8
    xid = None
    if flags & (_PREPARED_XA | _COMPLETED_XA):
        format_id = int.from_bytes(span(body, pos, 4), "little", signed=True)
        gtrid_size, bqual_size = fixed(body, pos + 4, 1), fixed(body, pos + 5, 1)
        gtrid = span(body, pos + 6, gtrid_size)
        xid = Xid(gtrid, span(body, pos + 6 + gtrid_size, bqual_size), format_id)
        pos += 6 + gtrid_size + bqual_size
    more_flags = body[pos] if pos < len(body) else 0
    return TransactionHead(
        gtid=MariadbGtid(domain, server_id, sequence),
        standalone=bool(flags & _STANDALONE),
        implicit=not flags & _STANDALONE,
        prepared=xid if flags & _PREPARED_XA else None,
        completed=xid if flags & _COMPLETED_XA else None,
        undecided=bool(more_flags & (_START_ALTER | _ROLLBACK_ALTER)),
    )


def parse_xa_prepare(body: bytes) -> tuple[Xid, bool]:
    """XA_PREPARE_LOG_EVENT of either server: (its name, whether it was XA COMMIT ... ONE PHASE, that is: committed)."""
    one_phase = fixed(body, 0, 1) != 0
    format_id = int.from_bytes(span(body, 1, 4), "little", signed=True)
    gtrid_size, bqual_size = fixed(body, 5, 4), fixed(body, 9, 4)
    return Xid(span(body, 13, gtrid_size), span(body, 13 + gtrid_size, bqual_size), format_id), one_phase


def parse_heartbeat_v2(body: bytes) -> tuple[str, int]:
    """HEARTBEAT_LOG_EVENT_V2: (file, 64-bit position) that the server has reached without sending anything."""
    file, position, pos = "", 0, 0
    while pos < len(body):
        kind, pos = packed(body, pos)
        if kind == 0:
            break
        size, pos = packed(body, pos)
        value = span(body, pos, size)
        pos += size
        if kind == 1:
            file = value.decode("utf-8", "surrogateescape")
        elif kind == 2:
            position, _ = packed(value, 0)
    return file, position


def parse_rotate(event_body: bytes) -> tuple[str, int]:
    """ROTATE: (next file, position to go on at)."""
    position = fixed(event_body, 0, 8)
    name = event_body[8:]
    if not name:
        raise CorruptedLog("rotate event names no file")
    return name.decode("utf-8", "surrogateescape"), position
