"""Rows that came packed, as the changes that they stand for; and changes as the records that they become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from connector.model import Change, PackedRows
from connector.wire import Envelope, TransactionInfo, encode_key, encode_value

TRANSACTION, TS_US = "a transaction", 1_700_000_000_000_001


def unpacked(changes: Iterable[Change | PackedRows]) -> Iterator[Change]:
    for change in changes:
        if isinstance(change, PackedRows):
            envelope = Envelope.of(change, TRANSACTION, TS_US)
            for ordinal, row in enumerate(change.rows, change.order.ordinal):
                yield envelope.change(row, ordinal)
        else:
            yield change


def records(changes: Iterable[Change | PackedRows], last: bool = False) -> list[tuple[bytes, bytes]]:
    """(key, value) of every change, by fastavro but for those that came packed."""
    found: list[tuple[bytes, bytes]] = []
    for change in changes:
        if isinstance(change, PackedRows):
            envelope = Envelope.of(change, TRANSACTION, TS_US)
            for ordinal, row in enumerate(change.rows, change.order.ordinal):
                found.append((row[1], envelope.value(row, ordinal, len(found) + 1, last)))
        else:
            info = TransactionInfo(TRANSACTION, len(found) + 1, last)
            found.append((encode_key(change.key), encode_value(change, info, TS_US)))
    return found
