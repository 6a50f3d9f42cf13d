"""What a server's error means to a reader of its binlog. Pure: number and text in, typed error out.

Number 1236 stands for nearly everything that can go wrong in the stream, so its text decides. Texts are those of
MySQL 5.7..9.x and MariaDB 10.5..12.x; one that is not known is never taken for a mere interruption.
"""

from __future__ import annotations

from connector.errors import (
    AuthenticationFailed,
    ConnectionLost,
    CorruptedLog,
    DuplicateServerId,
    ForeignLog,
    NotYet,
    PositionLost,
    Unreachable,
    UnsupportedChange,
    VecsyncError,
)

_FATAL_BINLOG_ERROR = 1236
_SAME_SERVER_ID = 4052  # MariaDB; MySQL says it with 1236
# Pieces of the text of error 1236 (lower case), the first that occurs decides.
_BY_TEXT: tuple[tuple[str, type[VecsyncError], str | None], ...] = (
    ("with the same server_uuid/server_id", DuplicateServerId, None),
    (
        "more gtids than",
        ForeignLog,
        "The source has lost transactions that were published already (reset, restored or failed over): it is another "
        "log now. Take a new snapshot.",
    ),
    (
        "which is not in the master's binlog",
        ForeignLog,
        "The source's log is not the one recorded. Take a new snapshot.",
    ),
    ("diverged", ForeignLog, "The source's log is not the one recorded. Take a new snapshot."),
    ("purged", PositionLost, None),
    ("could not find first log file name", PositionLost, None),
    ("could not find gtid state", PositionLost, None),
    ("could not open log file", PositionLost, None),
    (
        "position > file size",
        ForeignLog,
        "The source's log is shorter than what was read from it: it was reset, or lost its end in a crash. "
        "Take a new snapshot.",
    ),
    ("crc check", CorruptedLog, None),
    ("truncated in the middle", CorruptedLog, None),
    ("bogus data", CorruptedLog, None),
    ("binlog checksum", UnsupportedChange, "Set binlog_checksum to CRC32 or NONE on the source."),
    (
        "max_allowed_packet",
        UnsupportedChange,
        "Raise max_allowed_packet on the source above its largest row. If it is, then the position is not one where "
        "an event begins: this is another log than the one recorded.",
    ),
    ("binary log is not open", PositionLost, "Switch the binlog of the source on (log_bin), then take a new snapshot."),
)

_ACCESS = {1044, 1045, 1130, 1142, 1227, 1251, 1698, 1862, 2059}
# 0: PyMySQL found the connection broken and has no number for it. 1213: a question waited for a statement that makes or
# drops its table, and was given up.
_INTERRUPTED = {0, 1053, 1077, 1080, 1152, 1159, 1161, 1189, 1213, 1317, 1927, 2006, 2013, 2055, 3169, 4031}
_HELD = 1205  # by a session that has locked the table, or a statement that makes, alters or drops it
_NOT_THERE = {1040, 1203, 2002, 2003, 2005}


def from_server(code: int, message: str) -> VecsyncError:
    """The error to raise for a server's (or PyMySQL's) error."""
    text = f"the source says: {message} (error {code})"
    if code == _FATAL_BINLOG_ERROR:
        lower = message.lower()
        for piece, kind, hint in _BY_TEXT:
            if piece in lower:
                return kind(text, hint=hint)
        return CorruptedLog(text, hint="Look into the source's error log; the reader cannot go on by itself.")
    if code == _SAME_SERVER_ID:
        return DuplicateServerId(text)
    if code in _ACCESS:
        return AuthenticationFailed(
            text,
            hint="Check user and password (VECSYNC_SOURCE__PASSWORD), the account's allowed hosts, and that it has "
            "REPLICATION SLAVE and REPLICATION CLIENT (MariaDB: BINLOG MONITOR).",
        )
    if code in _NOT_THERE:
        return Unreachable(text)
    if code == _HELD:
        return NotYet(text)
    if code in _INTERRUPTED:
        return ConnectionLost(text)
    return CorruptedLog(text, hint="Look into the source's error log; the reader cannot go on by itself.")
