"""Binlog events that were read or written before, for a stream that is to read them."""

from __future__ import annotations

from collections.abc import Iterable

from connector.errors import ConnectionLost
from connector.source.binlog.decoder import Decoder
from connector.source.binlog.items import TransactionBegin


class Kept:
    """An `EventReader`; it is quiet for an instant after each event, and loses its connection after the last one."""

    def __init__(self, events: Iterable[bytes]) -> None:
        self._left = iter([part for event in events for part in (event, None)])

    def read_event(self, timeout: float) -> bytes | None:
        try:
            return next(self._left)
        except StopIteration:
            raise ConnectionLost("the end") from None

    def close(self) -> None: ...


def look_into_all(decoder: Decoder) -> None:
    """Also into transactions that were dealt with. Once its stream is made."""
    known = decoder.known

    def not_said(begin: TransactionBegin) -> bool:
        known(begin)
        return False

    decoder.known = not_said
