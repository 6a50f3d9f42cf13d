"""Packets off a real socket, however they are cut on their way; and what a server's errors mean."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import errors
from connector.errors import ConnectionLost
from connector.source.binlog.packets import PacketReader
from connector.source.binlog.server_errors import from_server
from tests.unit.binlog.cells import patiently


def packets(payload: bytes) -> bytes:
    """A payload as a server sends it: in packets of at most 16 MiB - 1, the last of them shorter."""
    out = bytearray()
    for at in range(0, len(payload) + 1, 0xFFFFFF):
        part = payload[at : at + 0xFFFFFF]
        out += len(part).to_bytes(3, "little") + b"\0" + part
    return bytes(out)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@patiently
@given(payloads=st.lists(st.binary(max_size=300), max_size=8), cuts=st.lists(st.integers(1, 400), max_size=20))
def test_payloads_arrive_whole_however_the_stream_is_cut(payloads: list[bytes], cuts: list[int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = PacketReader(ours)
        stream = b"".join(map(packets, payloads))
        found: list[bytes] = []

        def drain() -> None:
            while (payload := reader.read(0)) is not None:
                found.append(payload)

        for cut in cuts:
            piece, stream = stream[:cut], stream[cut:]
            theirs.sendall(piece)
            drain()
        theirs.sendall(stream)
        drain()
        assert found == payloads


@pytest.mark.parametrize("size", [0xFFFFFE, 0xFFFFFF, 0x1000000, 0x1FFFFFE + 5])
def test_payloads_of_16_mib_and_more_are_joined(size: int, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    sender = threading.Thread(target=theirs.sendall, args=(packets(payload) + packets(b"next"),))
    sender.start()
    reader = PacketReader(ours)
    assert reader.read(10) == payload
    assert reader.read(10) == b"next"
    sender.join()


def test_silence_is_no_error_and_an_end_is_one(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reader = PacketReader(ours)
    assert reader.read(0.01) is None
    theirs.sendall(packets(b"x")[:-1])
    assert reader.read(0.01) is None
    theirs.close()
    with pytest.raises(ConnectionLost, match="closed"):
        reader.read(0.01)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (1236, "Could not find first log file name in binary log index file", errors.PositionLost),
        (
            1236,
            "Cannot replicate because the source purged required binary logs. Replicate the missing transactions ...",
            errors.PositionLost,
        ),
        (
            1236,
            "Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and "
            "required binlog files have been purged.",
            errors.PositionLost,
        ),
        (1236, "Replica has more GTIDs than the source has, using the source's SERVER_UUID.", errors.ForeignLog),
        (
            1236,
            "Error: connecting slave requested to start from GTID 0-1-9, which is not in the master's binlog",
            errors.ForeignLog,
        ),
        (1236, "Client requested source to start replication from position > file size", errors.ForeignLog),
        (
            1236,
            "A replica with the same server_uuid/server_id as this replica has connected to the source;",
            errors.DuplicateServerId,
        ),
        (4052, "A slave with the same server_uuid/server_id is already connected", errors.DuplicateServerId),
        (1236, "event read from binlog did not pass crc check", errors.CorruptedLog),
        (1236, "log event entry exceeded max_allowed_packet; Increase max_allowed_packet", errors.UnsupportedChange),
        (1236, "Binary log is not open", errors.PositionLost),
        (1236, "Something of a later version", errors.CorruptedLog),
        (1045, "Access denied for user", errors.AuthenticationFailed),
        (
            1227,
            "Access denied; you need (at least one of) the REPLICATION SLAVE privilege(s)",
            errors.AuthenticationFailed,
        ),
        (1205, "Lock wait timeout exceeded; try restarting transaction", errors.NotYet),
        (1053, "Server shutdown in progress", errors.ConnectionLost),
        (2013, "Lost connection to MySQL server during query", errors.ConnectionLost),
        (0, "Packet sequence number wrong - got 1 expected 0", errors.ConnectionLost),
        (2003, "Can't connect to MySQL server", errors.Unreachable),
        (9999, "Something else", errors.CorruptedLog),
    ],
)
def test_what_a_server_says_becomes_a_typed_error(code: int, message: str, kind: type[errors.VecsyncError]) -> None:
    error = from_server(code, message)
    assert type(error) is kind
    assert message in str(error)
    assert error.hint
