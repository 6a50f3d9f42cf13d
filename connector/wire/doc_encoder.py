"""The same bytes as `encode_value` and `encode_key` for changes of documents, made several times as fast.

fastavro is the definition; a property test holds this to it, byte for byte. It is faster because it knows the schema,
and because most of an event repeats from row to row: dataset, transaction, origin and commit position are encoded once
and kept until they change. One encoder serves one thread.
"""

from __future__ import annotations

from connector import __version__
from connector.model import CommitOrder, DocChange, DocKey, SourceInfo
from connector.wire.events import DOC_HEAD, OPS_IN_ORDER, TransactionInfo, too_large

_SMALL = 1 << 14
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


def _long(n: int) -> bytes:
    """Avro's long: zigzag, then seven bits a byte, the lowest first. Raises UnsupportedChange beyond 64 bits."""
    if not _LEAST <= n <= _MOST:
        raise too_large(n)
    z = (n << 1) ^ (n >> 63)
    if z < 0x80:
        return bytes((z,))
    out = bytearray()
    while z > 0x7F:
        out.append(z & 0x7F | 0x80)
        z >>= 7
    out.append(z)
    return bytes(out)


_LONGS = [_long(n) for n in range(_SMALL)]
_OP_BYTES = {op: _long(number) for number, op in enumerate(OPS_IN_ORDER)}
_NULL, _BRANCH_1, _FALSE, _TRUE = b"\x00", b"\x02", b"\x00", b"\x01"
_MAX_KEPT = 10_000


def _counted(data: bytes) -> bytes:
    """Avro's bytes and string: length, then content."""
    n = len(data)
    return (_LONGS[n] if n < _SMALL else _long(n)) + data


class DocEncoder:
    """Call with what `encode_value` takes."""

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}
        self._order: tuple[int, int, int] | None = None
        self._order_bytes = b""
        self._source: tuple[object, ...] | None = None
        self._source_bytes = b""
        self._transaction: str | None = None
        self._transaction_bytes = b""
        self._ts_us: int | None = None
        self._ts_bytes = b""

    def key(self, key: DocKey) -> bytes:
        """What `encode_key` gives."""
        return b"\x00" + self._kept(key.dataset_id) + _counted(key.id.encode())

    def __call__(self, change: DocChange, transaction: TransactionInfo, ts_us: int) -> bytes:
        key, scn, after, unpublished = change.key, change.scn, change.after, change.unpublished
        parts = [
            DOC_HEAD,
            _OP_BYTES[change.op],
            self._kept(key.dataset_id),
            _counted(key.id.encode()),
            _LONGS[scn] if 0 <= scn < _SMALL else _long(scn),
        ]
        if after is None:
            parts.append(_NULL)
        else:
            content, meta, embedding, model = after.content, after.meta, after.embedding, after.embedding_model
            parts.append(_BRANCH_1)
            if content is None:
                parts.append(_NULL)
            else:
                data = content.encode()
                n = len(data)
                parts += (_BRANCH_1, _LONGS[n] if n < _SMALL else _long(n), data)
            if meta is None:
                parts.append(_NULL)
            else:
                data = meta.encode()
                n = len(data)
                parts += (_BRANCH_1, _LONGS[n] if n < _SMALL else _long(n), data)
            if embedding is None:
                parts.append(b"\x00\x00")  # no embedding, no dims
            else:
                n = len(embedding)
                parts += (_BRANCH_1, _LONGS[n] if n < _SMALL else _long(n), embedding)
                if n & 3:
                    parts.append(_NULL)
                else:
                    parts += (_BRANCH_1, _long(n >> 2))
            parts.append(_NULL if model is None else _BRANCH_1 + self._kept(model))
            n = after.scn
            created, updated = after.created_at, after.updated_at
            parts += (
                _LONGS[n] if 0 <= n < _SMALL else _long(n),
                _TRUE if after.archived else _FALSE,
                _NULL if created is None else _BRANCH_1 + _counted(created.encode()),
                _NULL if updated is None else _BRANCH_1 + _counted(updated.encode()),
            )
        order, source = change.order, change.source
        if order[:3] != self._order:
            self._keep_order(order)
        n = order[3]
        parts += (self._order_bytes, _LONGS[n] if n < _SMALL else _long(n))
        if transaction[0] != self._transaction:
            self._transaction_bytes = _counted(transaction[0].encode())
            self._transaction = transaction[0]
        n = transaction[1]
        parts += (self._transaction_bytes, _LONGS[n] if n < _SMALL else _long(n), _TRUE if transaction[2] else _FALSE)
        if source[:10] != self._source:
            self._keep_source(source)
        n = source[10]
        parts += (self._source_bytes, _LONGS[n] if 0 <= n < _SMALL else _long(n))
        if ts_us != self._ts_us:
            self._ts_bytes, self._ts_us = _long(ts_us), ts_us
        parts += (self._ts_bytes, _NULL if unpublished is None else _BRANCH_1 + _counted(unpublished.encode()))
        return b"".join(parts)

    def _kept(self, text: str) -> bytes:
        found = self._texts.get(text)
        if found is None:
            if len(self._texts) >= _MAX_KEPT:
                self._texts.clear()
            found = self._texts[text] = _counted(text.encode())
        return found

    def _keep_order(self, order: CommitOrder) -> None:
        self._order_bytes = b"".join(map(_long, order[:3]))
        self._order = order[:3]

    def _keep_source(self, source: SourceInfo) -> None:
        gtid, file = source.gtid, source.file
        self._source_bytes = b"".join(
            (
                _counted(__version__.encode()),
                _counted(source.connector.encode()),
                _counted(source.name.encode()),
                _long(source.ts_us),
                _TRUE if source.snapshot else _FALSE,
                _counted(source.db.encode()),
                _counted(source.table.encode()),
                _long(source.server_id),
                _NULL if gtid is None else _BRANCH_1 + _counted(gtid.encode()),
                _NULL if file is None else _BRANCH_1 + _counted(file.encode()),
                _long(source.pos),
            )
        )
        self._source = source[:10]
