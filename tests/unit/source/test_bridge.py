"""From one server's log to another's: what is passed over, and what is taken."""

from __future__ import annotations

import pytest

from connector.errors import ForeignLog
from connector.source.binlog.gtid import GtidSet, MariadbGtidList
from connector.source.binlog_bridge import Bridge

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "3e11fa47-71ca-11e1-9e33-c80aa9429563"


def passes(bridge: Bridge, text: str) -> bool:
    """Asked about the transaction of that GTID."""
    gtid = (GtidSet if ":" in text else MariadbGtidList).parse(text).single
    assert gtid is not None
    return bridge.passes(gtid, "b.000001", 4)


def test_mysql_in_whatever_order_they_come() -> None:
    bridge = Bridge(f"{A}:2-3,{B}:7", "mysql")
    came = [f"{A}:4", f"{B}:7", f"{A}:3", f"{B}:8", f"{A}:2", f"{A}:5"]
    assert [passes(bridge, text) for text in came] == [False, True, True, False, True, False]
    assert not bridge
    assert str(bridge) == ""


def test_what_is_left_can_be_kept_in_between() -> None:
    bridge = Bridge(f"{A}:2-4", "mysql")
    assert passes(bridge, f"{A}:3")
    bridge = Bridge(str(bridge), "mysql")
    assert not passes(bridge, f"{A}:3")
    assert passes(bridge, f"{A}:4")
    assert bridge


def test_mariadb_by_domain() -> None:
    bridge = Bridge("0-1-5,1-1-3", "mariadb")
    came = ["0-1-4", "1-1-3", "2-1-1", "1-2-4", "0-1-5", "0-1-6"]
    assert [passes(bridge, text) for text in came] == [True, True, False, False, True, False]
    assert not bridge


@pytest.mark.parametrize("came", ["0-2-5", "0-2-6"])
def test_a_log_that_diverged(came: str) -> None:
    """The number is there, and it is another server's transaction."""
    with pytest.raises(ForeignLog, match="diverged"):
        passes(Bridge("0-1-5", "mariadb"), came)
