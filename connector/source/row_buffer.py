"""The row events of a transaction until it ends: in memory while it is small, on disk when it is not.

Nothing is decoded here, and whatever the size of the transaction, what it costs in memory is bounded.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Iterator
from typing import IO

from connector.errors import CorruptedLog
from connector.source.binlog.events import RowsKind
from connector.source.binlog.items import StatementItem
from connector.source.binlog.rows import RowPlan, Rows

IN_MEMORY_BYTES = 32 * 2**20
"""Beyond this a transaction goes to disk. Small against the 200 MB that capture may use, large against most writes."""

Entry = Rows | StatementItem


class RowBuffer:
    """Entries in order of execution, read once by `drain`. Savepoints cut off what came after them."""

    def __init__(self, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        self._limit = in_memory_bytes
        self._entries: list[Entry] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._spilled = 0
        self._plans: list[RowPlan] = []
        self._plan_numbers: dict[int, int] = {}
        self._statements: list[StatementItem] = []
        self._savepoints: list[tuple[str, int, int]] = []

    def __len__(self) -> int:
        return self._spilled + len(self._entries)

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        if isinstance(entry, Rows):
            self._bytes += entry.end - entry.start
            if self._bytes > self._limit:
                self._spill()

    def savepoint(self, name: str) -> None:
        """Set again under the same name, the older one is gone."""
        self._spill_if_begun()
        self._savepoints = [s for s in self._savepoints if s[0] != name]
        offset = self._file.tell() if self._file is not None else 0
        self._savepoints.append((name, len(self), offset))

    def roll_back_to(self, name: str) -> None:
        """Forgets what was added since that savepoint, and the savepoints set since. Raises CorruptedLog."""
        found = [at for at, savepoint in enumerate(self._savepoints) if savepoint[0] == name]
        if not found:
            raise CorruptedLog(f"the log rolls back to savepoint {name!r}, which it did not set in this transaction")
        _, length, offset = self._savepoints[found[0]]
        del self._savepoints[found[0] + 1 :]
        if length >= self._spilled:
            for entry in self._entries[length - self._spilled :]:
                self._bytes -= entry.end - entry.start if isinstance(entry, Rows) else 0
            del self._entries[length - self._spilled :]
            return
        # The savepoint is in the file, or was set before there was one: cut the file, or read back what is kept.
        assert self._file is not None
        self._entries.clear()
        self._bytes = 0
        if offset or not length:
            self._file.seek(offset)
            self._file.truncate()
            self._spilled = length
            return
        self._file.seek(0)
        kept = [self._load() for _ in range(length)]
        self._file.close()
        self._file, self._spilled = None, 0
        for entry in kept:
            self.add(entry)

    def drain(self) -> Iterator[Entry]:
        """Every entry, once; the file is gone afterwards."""
        if self._file is not None:
            with self._file as file:
                self._dump()
                file.seek(0)
                for _ in range(self._spilled):
                    yield self._load()
            self._file = None
            return
        entries, self._entries = self._entries, []
        yield from entries

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._entries.clear()

    def _spill_if_begun(self) -> None:
        if self._file is not None:
            self._dump()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="vecsync-")  # noqa: SIM115 -- closed by drain or close
        self._dump()

    def _dump(self) -> None:
        assert self._file is not None
        for entry in self._entries:
            if isinstance(entry, Rows):
                number = self._plan_numbers.get(id(entry.plan))
                if number is None:
                    number = self._plan_numbers[id(entry.plan)] = len(self._plans)
                    self._plans.append(entry.plan)
                data = entry.data[entry.start : entry.end]
                record = (number, int(entry.kind), entry.flags, entry.before, entry.after, bytes(data))
                marshal.dump(record, self._file)
            else:
                marshal.dump(len(self._statements), self._file)
                self._statements.append(entry)
        self._spilled += len(self._entries)
        self._entries.clear()
        self._bytes = 0

    def _load(self) -> Entry:
        assert self._file is not None
        record = marshal.load(self._file)  # noqa: S302 -- our own nameless file, which nobody else can open
        if isinstance(record, int):
            return self._statements[record]
        number, kind, flags, before, after, data = record
        return Rows(self._plans[number], RowsKind(kind), flags, before, after, data, 0, len(data))
