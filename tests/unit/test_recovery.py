"""docs/reference/recovery.md is what its program makes of what was measured; and how that program judges a topic."""

from __future__ import annotations

from connector.model import CommitOrder, DocChange, DocKey, Document, Op, SourceInfo
from connector.wire import encode_key, encode_value
from connector.wire.events import TransactionInfo
from tests.system.recovery.page import FAULTS, PAGE, Measured, Sample, kept, page, places
from tests.system.recovery.topic import Seen, judged

_STALE = "stale: run python -m tests.system.recovery"


def test_the_page_is_what_was_measured() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(kept()), _STALE


def test_every_fault_was_measured() -> None:
    found = {place.fault for place, measured in kept().items() if measured.samples}
    assert [fault.name for fault in FAULTS if fault.name not in found] == [], _STALE


def test_faults_are_told_apart_by_their_names() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_figures_are_least_median_and_most() -> None:
    place, _ = next(places())
    samples = [
        Sample(captured, 2 * captured, [6, 7], 100, 1, 0, 3.0, {"s until": captured}) for captured in (3.0, 1.0, 200.4)
    ]
    row = next(
        line for line in page({place: Measured("2026-01-02", "one machine", samples)}).splitlines() if "6, 7" in line
    )
    assert row.endswith(
        "| MariaDB | 3 | 1.0 / 3.0 / 200 | 2.0 / 6.0 / 401 | 3 | 0 | 3.0 | exit 6, 7; 1.0 / 3.0 / 200 s until |"
    )


def seen(id: str, scn: int, at: int, ordinal: int = 1, epoch: int = 1, op: Op = Op.UPDATE) -> Seen:
    order, key = CommitOrder(epoch, 1, at, ordinal), DocKey("d", id)
    source = SourceInfo("mysql", "p", 1, False, "app", "shadow_vec_docs", 1, None, "b.000001", at, 1)
    row = None if op is Op.DELETE else Document("text", None, None, None, scn, False)
    value = encode_value(DocChange(op, key, scn, row, order, source), TransactionInfo("t", 1, True), 5)
    return Seen(0.0, 0, encode_key(key), value)


def test_a_log_in_order() -> None:
    found = judged([seen("a", 1, 10), seen("b", 1, 10, 2), seen("a", 2, 20), seen("a", 2, 30, op=Op.DELETE)])
    assert found == (4, 0, 0, [])


def test_a_change_that_stands_twice() -> None:
    assert judged([seen("a", 1, 10), seen("a", 1, 10)]).repeated == 1


def test_a_change_that_another_server_gave_another_order() -> None:
    assert judged([seen("a", 1, 10), seen("a", 1, 4, epoch=2)]).repeated == 1


def test_what_a_snapshot_reads_again_is_no_repetition() -> None:
    assert judged([seen("a", 1, 10), seen("a", 1, 20, 0)]).repeated == 0


def test_a_late_record_that_was_mended() -> None:
    assert judged([seen("a", 2, 20), seen("a", 1, 10), seen("a", 2, 30, 0)])[2:] == (1, [])


def test_a_late_record_that_was_not() -> None:
    late = seen("a", 1, 10)
    assert judged([seen("a", 2, 20), late])[2:] == (1, [late.key])
