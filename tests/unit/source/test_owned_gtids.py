"""Text of `gtid_owned` as MySQL 9.7 gives it."""

from __future__ import annotations

import pytest

from connector.source.binlog.gtid import GtidSet
from connector.source.snapshot_visibility import owned_gtids

A, B = "9da6a20e-e59b-11f1-a296-02fc00000001", "1111a20e-e59b-11f1-a296-02fc00000002"


@pytest.mark.parametrize(
    ("text", "gtids"),
    [
        (f"{A}:3#13", f"{A}:3"),
        (f"{A}:5#19:4#17:3#15", f"{A}:3-5"),
        (f"{A}:5#19:4#15{A}:tagx:1#18{A}:tagy:1#16", f"{A}:4-5:tagx:1:tagy:1"),
        (f"{A}:5#1{B}:7#2", f"{A}:5,{B}:7"),
        (f"{A}:5#1,\n{B}:7#2", f"{A}:5,{B}:7"),
    ],
)
def test_each_number_without_its_thread(text: str, gtids: str) -> None:
    assert GtidSet.parse(owned_gtids(text)) == GtidSet.parse(gtids)
