"""What stands in a lane and was read from another server, as the stream of the new one comes to it."""

from __future__ import annotations

import pytest

from connector.model import CommitOrder, SourceIdentity, SourcePosition, Transaction
from connector.publish.failover import Crossing, TailAcross

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
NAMES = {"mysql": f"{UUID}:{{}}", "mariadb": "0-1-{}"}
SETS = {"mysql": f"{UUID}:1-{{}}", "mariadb": "0-1-{}"}


class Tail:
    """Of one lane, where these stand: (number of the transaction, ordinal) to their offset, all of one key."""

    def __init__(self, connector: str, standing: dict[tuple[int, int], int]) -> None:
        self.connector = connector
        self.crossing = Crossing(connector)
        self.tail = TailAcross(self.crossing)
        for (number, ordinal), offset in standing.items():
            self.tail.add_elsewhere(NAMES[connector].format(number), ordinal, b"key", offset)

    def stands(self, number: int, ordinal: int) -> int | None:
        """The stream is at that change of the key."""
        after = SourcePosition(SourceIdentity(self.connector, None), 2, SETS[self.connector].format(number))
        self.crossing.enter(Transaction(NAMES[self.connector].format(number), iter(()), after))
        return self.tail.stands(CommitOrder(2, 1, number * 100, ordinal), b"key")


@pytest.fixture(params=["mysql", "mariadb"])
def connector(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_stands_is_known_by_its_gtid(connector: str) -> None:
    tail = Tail(connector, {(5, 1): 7, (5, 2): 8, (6, 1): 9})
    assert [tail.stands(*at) for at in ((5, 1), (5, 2), (6, 1), (6, 2), (7, 1))] == [8, 9, 10, None, None]


def test_what_compaction_removed_was_superseded(connector: str) -> None:
    tail = Tail(connector, {(6, 1): 9})
    assert [tail.stands(*at) for at in ((4, 1), (5, 1), (6, 1), (7, 1))] == [0, 0, 10, None]


def test_a_change_that_does_not_come_again_keeps_no_later_one_out(connector: str) -> None:
    """The new server left the table out then, or other tables are followed now."""
    tail = Tail(connector, {(5, 1): 7, (6, 2): 8})
    assert [tail.stands(*at) for at in ((4, 1), (6, 1), (7, 1))] == [0, 0, None]
