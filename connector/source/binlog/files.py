"""Binlog files cut into events, for logs that were copied rather than streamed. Reads a binary file object, no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from connector.errors import CorruptedLog, UnsupportedChange
from connector.source.binlog.events import ENCRYPTED_FILE_MAGIC, FILE_MAGIC, HEADER_SIZE, EventType
from connector.source.binlog.integers import fixed


def events(file: BinaryIO) -> Iterator[bytes]:
    """Every event of a file, each whole. Raises CorruptedLog where the file ends inside one, UnsupportedChange for an
    encrypted file (a server decrypts what it streams)."""
    magic = file.read(4)
    if magic == ENCRYPTED_FILE_MAGIC:
        raise UnsupportedChange("the file is encrypted", hint="Read it from its server, which holds the key.")
    if magic != FILE_MAGIC:
        raise CorruptedLog(f"no binlog file: it begins with {magic.hex()}")
    while header := file.read(HEADER_SIZE):
        size = fixed(header, 9, 4) if len(header) == HEADER_SIZE else 0
        if size < HEADER_SIZE:
            raise CorruptedLog("file ends inside an event header, or holds an event without a size")
        body = file.read(size - HEADER_SIZE)
        if len(body) != size - HEADER_SIZE:
            raise CorruptedLog(f"file ends inside an event of {size} bytes, after {HEADER_SIZE + len(body)}")
        if header[4] == EventType.START_ENCRYPTION:
            raise UnsupportedChange("the file is encrypted", hint="Read it from its server, which holds the key.")
        yield header + body
