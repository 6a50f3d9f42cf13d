"""The stream of events from a server: what to say to get it, and reading it. The one module here that does I/O.

PyMySQL has done the handshake, authentication and TLS; from the dump command on its socket is read directly. A
connection that broke stays broken: whoever owns it opens another one, at a position of its own choosing.
"""

from __future__ import annotations

import struct
import time
from typing import Any

import pymysql

from connector.errors import ConnectionLost, CorruptedLog
from connector.source.binlog.events import EventType
from connector.source.binlog.gtid import GtidSet, MariadbGtidList
from connector.source.binlog.packets import PacketReader
from connector.source.binlog.server_errors import from_server
from connector.source.binlog.skipping import SkipTo

_COM_BINLOG_DUMP, _COM_REGISTER_SLAVE, _COM_BINLOG_DUMP_GTID = 0x12, 0x15, 0x1E
_UP_TO_THE_END = 0x01  # then the stream is over, instead of waiting for more
_NOBODY = 0  # the server id of a reader that is no replica: it takes no other reader's place
_HEARTBEATS_WITH_64_BITS = 0x02  # MySQL 8.0.26; older ones ignore it, to MariaDB it would mean something else
_FIRST_POSITION = 4
_MADE_UP = frozenset({EventType.ROTATE, EventType.HEARTBEAT, EventType.FORMAT_DESCRIPTION})
_POSITION_LIMIT = 1 << 32  # what the dump command's field holds
# A silent server sends a heartbeat after each period; that many missing mean that it, or the network, is gone.
_MISSED_HEARTBEATS = 3
# How long the server waits for a reader that stands still because its own target does: an hour, not one minute.
_NET_WRITE_TIMEOUT_S = 3600


class BinlogConnection:
    """Events of a server, each as its bytes, ready for `Decoder.feed`. Owns the connection that it was made from."""

    def __init__(self, connection: pymysql.Connection[Any], heartbeat_s: float, skip: SkipTo | None = None) -> None:
        """For the functions below, which have sent the dump command."""
        self._skip = skip
        self._connection = connection
        self._packets = PacketReader(connection._sock)  # type: ignore[attr-defined]
        self._patience_s = heartbeat_s * _MISSED_HEARTBEATS
        self._heard = time.monotonic()
        self.ended = False  # the server said that there is no more

    def read_event(self, timeout: float) -> bytes | None:
        """The next event; None when there was none within that many seconds.

        Raises ConnectionLost (also after silence of three heartbeats), PositionLost, ForeignLog, DuplicateServerId,
        AuthenticationFailed, CorruptedLog.
        """
        event = self._read(timeout)
        while self._skip is not None and event is not None:
            instead = self._skip.take(event)
            if self._skip.done:
                self._skip = None
            if instead is not None:
                return instead
            event = self._read(timeout)
        return event

    def _read(self, timeout: float) -> bytes | None:
        payload = self._packets.read(timeout)
        if payload is None:
            silent = time.monotonic() - self._heard
            if silent > self._patience_s + timeout:
                raise ConnectionLost(f"the source has not said anything for {silent:.0f} s, not even a heartbeat")
            return None
        self._heard = time.monotonic()
        status = payload[0] if payload else 0xFF
        if status == 0:
            return payload[1:]
        if status == 0xFF and len(payload) >= 3:
            code, text = struct.unpack_from("<H", payload, 1)[0], payload[3:]
            if text[:1] == b"#":
                text = text[6:]
            raise from_server(code, text.decode("utf-8", "replace"))
        if status == 0xFE:
            self.ended = True
            raise ConnectionLost("the source ended the stream of events")
        raise CorruptedLog(f"the source sent a packet that begins with 0x{status:02x} where an event had to be")

    def close(self) -> None:
        """At once: in the middle of a stream there is no polite way to leave."""
        self._connection._force_close()  # type: ignore[attr-defined]


def dump_from_position(
    connection: pymysql.Connection[Any], *, server_id: int, file: str, position: int, heartbeat_s: float
) -> BinlogConnection:
    """Events of `file` from `position` (the start of an event) on, then of the files after it.

    A position past 4 GiB costs reading the file from its beginning. Raises what `read_event` raises.
    """
    skip = None
    if position >= _POSITION_LIMIT:
        skip, position = SkipTo(file, position), _FIRST_POSITION
    flags = 0 if _is_mariadb(connection) else _HEARTBEATS_WITH_64_BITS
    payload = struct.pack("<IHI", max(position, _FIRST_POSITION), flags, server_id) + file.encode()
    return _dump(connection, server_id, heartbeat_s, _COM_BINLOG_DUMP, payload, {}, skip)


def peek_from_position(
    connection: pymysql.Connection[Any], *, file: str, position: int, patience_s: float
) -> BinlogConnection:
    """As `dump_from_position`, beside a reader of this process and up to the present end of the log only: it then
    raises ConnectionLost, and `ended` is set."""
    skip = None
    if position >= _POSITION_LIMIT:
        skip, position = SkipTo(file, position), _FIRST_POSITION
    payload = struct.pack("<IHI", max(position, _FIRST_POSITION), _UP_TO_THE_END, _NOBODY) + file.encode()
    return _dump(connection, _NOBODY, patience_s, _COM_BINLOG_DUMP, payload, {}, skip)


def dump_from_gtid_set(
    connection: pymysql.Connection[Any], *, server_id: int, executed: GtidSet, heartbeat_s: float
) -> BinlogConnection:
    """MySQL: every transaction that is not in `executed`, wherever it stands. Raises what `read_event` raises."""
    encoded = executed.encode()
    payload = struct.pack("<HIIQI", _HEARTBEATS_WITH_64_BITS, server_id, 0, _FIRST_POSITION, len(encoded)) + encoded
    return _dump(connection, server_id, heartbeat_s, _COM_BINLOG_DUMP_GTID, payload, {})


def dump_from_mariadb_gtids(
    connection: pymysql.Connection[Any], *, server_id: int, executed: MariadbGtidList, heartbeat_s: float
) -> BinlogConnection:
    """MariaDB: every transaction after those, per domain. Raises what `read_event` raises."""
    variables = {"slave_connect_state": str(executed), "slave_gtid_strict_mode": 1}
    payload = struct.pack("<IHI", _FIRST_POSITION, 0, server_id)
    return _dump(connection, server_id, heartbeat_s, _COM_BINLOG_DUMP, payload, variables)


def probe_mariadb_gtids(connection: pymysql.Connection[Any], gtids: MariadbGtidList, patience_s: float) -> None:
    """Raises ForeignLog unless the log has exactly these, and PositionLost when it no longer has what follows them.
    Closes the connection."""
    variables = {"slave_connect_state": str(gtids), "slave_gtid_strict_mode": 1}
    payload = struct.pack("<IHI", _FIRST_POSITION, _UP_TO_THE_END, _NOBODY)
    try:
        reader = _dump(connection, _NOBODY, patience_s, _COM_BINLOG_DUMP, payload, variables)
    except BaseException:
        connection.close()
        raise
    try:
        # The server looks for them before it sends an event of the log; what it makes up itself may come earlier.
        while (event := reader.read_event(patience_s)) is None or event[4] in _MADE_UP:
            pass
    except ConnectionLost:
        if not reader.ended:
            raise
    finally:
        reader.close()


def _is_mariadb(connection: pymysql.Connection[Any]) -> bool:
    return "mariadb" in str(connection.get_server_info()).lower()  # type: ignore[no-untyped-call]


def _dump(
    connection: pymysql.Connection[Any],
    server_id: int,
    heartbeat_s: float,
    command: int,
    payload: bytes,
    variables: dict[str, object],
    skip: SkipTo | None = None,
) -> BinlogConnection:
    period_ns = int(heartbeat_s * 1e9)
    # Each name before and after MySQL's renaming; a server passes over the variables that it does not know. 4 is the
    # capability of MariaDB 10.0 and later: GTID events come as they are, not as BEGIN.
    variables = {
        "master_heartbeat_period": period_ns,
        "source_heartbeat_period": period_ns,
        "mariadb_slave_capability": 4,
        **variables,
    }
    names = ", ".join(f"@{name} = %s" for name in variables)
    checksum = "@@GLOBAL.binlog_checksum"
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION net_write_timeout = {_NET_WRITE_TIMEOUT_S}")
            cursor.execute(f"SET @master_binlog_checksum = {checksum}, @source_binlog_checksum = {checksum}")
            cursor.execute(f"SET {names}", list(variables.values()))
        if server_id != _NOBODY:
            # Shows this reader in SHOW REPLICAS; host, user and password stay empty, nothing listens on its port.
            registration = struct.pack("<IBBBHII", server_id, 0, 0, 0, 0, 0, 0)
            connection._execute_command(_COM_REGISTER_SLAVE, registration)  # type: ignore[attr-defined]
            connection._read_packet()  # type: ignore[no-untyped-call]
        connection._execute_command(command, payload)  # type: ignore[attr-defined]
    except pymysql.MySQLError as error:
        code, message = (*error.args, 0, "")[:2] if len(error.args) >= 2 else (0, str(error))
        raise from_server(int(code), str(message)) from error
    except OSError as error:
        raise ConnectionLost(f"the connection to the source broke: {error}") from error
    return BinlogConnection(connection, heartbeat_s, skip)
