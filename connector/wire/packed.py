"""Events of rows that a reader of the log has already cut into Avro: what surrounds the rows, and the way back. Pure.

A value of such a row is five constants of its transaction and table, the row as it was cut, and a few counters; nothing
of the row is looked at. The bytes are those of `encode_value` for the change that the row stands for, which
`Envelope.change` gives to whoever needs to see inside.
"""

from __future__ import annotations

from typing import NamedTuple

from connector import __version__
from connector.model import CommitOrder, DocChange, DocKey, Op, PackedRow, PackedRows, SourceInfo
from connector.wire.avro import BRANCH_1, FALSE, NULL, TRUE, counted, long_bytes
from connector.wire.events import DOC_HEAD, OPS_IN_ORDER, decode_key, decode_value

DOC_HEADS = {op: DOC_HEAD + long_bytes(number) for number, op in enumerate(OPS_IN_ORDER)}


def order_bytes(order: CommitOrder) -> bytes:
    """All of it but the ordinal."""
    return long_bytes(order.epoch) + long_bytes(order.file) + long_bytes(order.position)


def source_bytes(source: SourceInfo) -> bytes:
    """All of it but the row."""
    gtid, file = source.gtid, source.file
    return b"".join(
        (
            counted(__version__.encode()),
            counted(source.connector.encode()),
            counted(source.name.encode()),
            long_bytes(source.ts_us),
            TRUE if source.snapshot else FALSE,
            counted(source.db.encode()),
            counted(source.table.encode()),
            long_bytes(source.server_id),
            NULL if gtid is None else BRANCH_1 + counted(gtid.encode()),
            NULL if file is None else BRANCH_1 + counted(file.encode()),
            long_bytes(source.pos),
        )
    )


class Envelope(NamedTuple):
    """What the events of rows of one table and operation share within a transaction. ts_us: when they were handled."""

    op: Op
    order: CommitOrder
    source: SourceInfo
    head: bytes
    before: bytes
    transaction: bytes
    origin: bytes
    end: bytes

    @classmethod
    def of(cls, rows: PackedRows, transaction_id: str, ts_us: int) -> Envelope:
        return cls(
            rows.op,
            rows.order,
            rows.source,
            DOC_HEADS[rows.op],
            order_bytes(rows.order),
            counted(transaction_id.encode()),
            source_bytes(rows.source),
            long_bytes(ts_us) + NULL,  # published: no reason why not
        )

    def fits(self, rows: PackedRows) -> bool:
        """Whether these rows have the same envelope, in the same transaction."""
        return rows.op is self.op and rows.order[:3] == self.order[:3] and rows.source[:10] == self.source[:10]

    def value(self, row: PackedRow, ordinal: int, total_order: int, last: bool) -> bytes:
        n = long_bytes(ordinal)
        return b"".join(
            (
                self.head,
                row[1][1:],  # the key without its branch: dataset and id
                row[2],
                self.before,
                n,
                self.transaction,
                n if total_order == ordinal else long_bytes(total_order),
                TRUE if last else FALSE,
                self.origin,
                n,
                self.end,
            )
        )

    def order_of(self, ordinal: int) -> CommitOrder:
        return self.order._replace(ordinal=ordinal)

    def change(self, row: PackedRow, ordinal: int) -> DocChange:
        """What the row stands for."""
        change = decode_value(self.value(row, ordinal, 1, False)).change
        assert isinstance(change, DocChange)
        return change


def packed_key(row: PackedRow) -> DocKey:
    key = decode_key(row[1])
    assert isinstance(key, DocKey)
    return key
