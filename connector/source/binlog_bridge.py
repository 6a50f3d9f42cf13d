"""From one server's log to another's: which of the transactions that come were dealt with over there. Pure.

A server's log holds the same transactions at other places, and those of different domains or threads in another order.
So they are told apart by GTID. What was dealt with is passed over once each, and forgotten; then nothing is left to do.
"""

from __future__ import annotations

from connector.errors import ForeignLog
from connector.source.binlog.gtid import Gtid, GtidSet, MariadbGtid, MariadbGtidList


class Bridge:
    """`text`: of a position. False, when tested, once everything was passed over. Its text is what is left."""

    __slots__ = ("_left",)

    def __init__(self, text: str, connector: str) -> None:
        self._left: GtidSet | MariadbGtidList = (MariadbGtidList if connector == "mariadb" else GtidSet).parse(text)

    def __bool__(self) -> bool:
        return bool(self._left)

    def __str__(self) -> str:
        return str(self._left)

    def passes(self, gtid: Gtid | MariadbGtid | None, file: str, position: int) -> bool:
        """Whether the transaction that begins there was dealt with. Ask once for each, in the order of the log.

        MySQL: it is in the set. MariaDB: it comes no later in its domain than the last one that was dealt with.
        Raises ForeignLog when that one is missing where it had to be.
        """
        left = self._left
        if isinstance(gtid, Gtid) and isinstance(left, GtidSet):
            if gtid not in left:
                return False
            self._left = left.subtract(GtidSet({(gtid.uuid, gtid.tag): [(gtid.number, gtid.number)]}))
            return True
        if isinstance(gtid, MariadbGtid) and isinstance(left, MariadbGtidList):
            last = left.of(gtid.domain)
            if last is None:
                return False
            if gtid == last:
                self._left = left.without(gtid.domain)
            elif gtid.sequence >= last.sequence:
                raise ForeignLog(
                    f"{gtid} stands at {file}:{position}, and {last}, which was published, not before it: "
                    "the source's log diverged from the one that was read"
                )
            return True
        return False
