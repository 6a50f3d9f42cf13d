"""The same bytes as `encode_value` and `encode_key` for changes of documents, made several times as fast.

fastavro is the definition; a property test holds this to it, byte for byte. It is faster because it knows the schema,
and because most of an event repeats from row to row: dataset, transaction, origin and commit position are encoded once
and kept until they change. One encoder serves one thread.
"""

from __future__ import annotations

from connector.model import CommitOrder, DocChange, DocKey, PackedRows, SourceInfo
from connector.wire.avro import BRANCH_1, FALSE, NULL, TRUE, Kept, counted, long_bytes
from connector.wire.events import DOC_KEY_HEAD, TransactionInfo
from connector.wire.packed import DOC_HEADS, Envelope, order_bytes, source_bytes


def _optional(text: str | None) -> bytes:
    return NULL if text is None else BRANCH_1 + counted(text.encode())


class DocEncoder:
    """Call with what `encode_value` takes."""

    def __init__(self) -> None:
        self._texts: Kept[str] = Kept(lambda text: counted(text.encode()), 10_000)
        self._order: tuple[int, int, int] | None = None
        self._order_bytes = b""
        self._source: tuple[object, ...] | None = None
        self._source_bytes = b""
        self._transaction: str | None = None
        self._transaction_bytes = b""
        self._ts_us: int | None = None
        self._ts_bytes = b""
        self._envelope: tuple[Envelope, str, int] | None = None

    def key(self, key: DocKey) -> bytes:
        """What `encode_key` gives."""
        return DOC_KEY_HEAD + self._texts[key.dataset_id] + counted(key.id.encode())

    def envelope(self, rows: PackedRows, transaction_id: str, ts_us: int) -> Envelope:
        """For the values of these rows; the same object as long as nothing in it changes."""
        kept = self._envelope
        if kept is None or kept[1] != transaction_id or kept[2] != ts_us or not kept[0].fits(rows):
            kept = self._envelope = Envelope.of(rows, transaction_id, ts_us), transaction_id, ts_us
        return kept[0]

    def __call__(self, change: DocChange, transaction: TransactionInfo, ts_us: int) -> bytes:
        key, scn, after = change.key, long_bytes(change.scn), change.after
        parts = [DOC_HEADS[change.op], self._texts[key.dataset_id], counted(key.id.encode()), scn]
        if after is None:
            parts.append(NULL)
        else:
            embedding, model = after.embedding, after.embedding_model
            parts += (BRANCH_1, _optional(after.content), _optional(after.meta))
            if embedding is None:
                parts += (NULL, NULL)  # no embedding, no dims
            else:
                n = len(embedding)
                parts += (BRANCH_1, long_bytes(n), embedding, NULL if n & 3 else BRANCH_1 + long_bytes(n >> 2))
            parts += (
                NULL if model is None else BRANCH_1 + self._texts[model],
                scn if after.scn == change.scn else long_bytes(after.scn),
                TRUE if after.archived else FALSE,
                _optional(after.created_at),
                _optional(after.updated_at),
            )
        order, source = change.order, change.source
        if order[:3] != self._order:
            self._keep_order(order)
        parts += (self._order_bytes, long_bytes(order[3]))
        if transaction[0] != self._transaction:
            self._transaction_bytes = counted(transaction[0].encode())
            self._transaction = transaction[0]
        parts += (self._transaction_bytes, long_bytes(transaction[1]), TRUE if transaction[2] else FALSE)
        if source[:10] != self._source:
            self._keep_source(source)
        if ts_us != self._ts_us:
            self._ts_bytes, self._ts_us = long_bytes(ts_us), ts_us
        parts += (self._source_bytes, long_bytes(source[10]), self._ts_bytes, _optional(change.unpublished))
        return b"".join(parts)

    def _keep_order(self, order: CommitOrder) -> None:
        self._order_bytes = order_bytes(order)
        self._order = order[:3]

    def _keep_source(self, source: SourceInfo) -> None:
        self._source_bytes = source_bytes(source)
        self._source = source[:10]
