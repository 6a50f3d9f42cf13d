"""Keys, events, tombstones and positions as bytes: the contract in `avro/`, written and read with fastavro."""

from connector.wire.doc_decoder import EventDecoder
from connector.wire.doc_encoder import DocEncoder
from connector.wire.events import (
    Event,
    TransactionInfo,
    decode_key,
    decode_tombstone,
    decode_value,
    encode_key,
    encode_tombstone,
    encode_value,
)
from connector.wire.packed import Envelope, packed_key
from connector.wire.positions import decode_position, encode_position, position_key
from connector.wire.signals import SnapshotSignal, decode_signal, encode_signal, signal_key

__all__ = [
    "DocEncoder",
    "Envelope",
    "Event",
    "EventDecoder",
    "SnapshotSignal",
    "TransactionInfo",
    "decode_key",
    "decode_position",
    "decode_signal",
    "decode_tombstone",
    "decode_value",
    "encode_key",
    "encode_position",
    "encode_signal",
    "encode_tombstone",
    "encode_value",
    "packed_key",
    "position_key",
    "signal_key",
]
