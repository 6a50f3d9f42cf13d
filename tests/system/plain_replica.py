"""A replica as simple as can be: the order guard and floors over records in a list, without SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from connector.model import (
    ZERO_ORDER,
    Change,
    CommitOrder,
    Dataset,
    DatasetKey,
    DocKey,
    Document,
    Floor,
    FloorKey,
)

State = dict[DocKey | DatasetKey, Document | Dataset]


def applied(records: Iterable[Change], *, floor_strict: bool = True) -> State:
    """What stands after these records. floor_strict False: as if floors also removed what is equal to them."""
    rows: dict[DocKey | DatasetKey, tuple[CommitOrder, Document | Dataset | None]] = {}
    floors: dict[str | None, CommitOrder] = {}

    def under(key: DocKey | DatasetKey, order: CommitOrder) -> bool:
        if isinstance(key, DatasetKey):
            return False
        floor = max(floors.get(None, ZERO_ORDER), floors.get(key.dataset_id, ZERO_ORDER))
        return order < floor if floor_strict else order <= floor and floor != ZERO_ORDER

    for change in records:
        key, order = change.key, change.order
        if isinstance(change, Floor):
            assert isinstance(key, FloorKey)
            floors[key.dataset_id] = max(order, floors.get(key.dataset_id, ZERO_ORDER))
            for gone in [k for k, (o, _) in rows.items() if key.dataset_id in (None, k.dataset_id) and under(k, o)]:
                del rows[gone]
            continue
        assert not isinstance(key, FloorKey)
        if not under(key, order) and (key not in rows or order > rows[key][0]):
            rows[key] = (order, change.after)
    return {key: row for key, (_, row) in rows.items() if row is not None}


def compacted(log: Sequence[Change]) -> list[Change]:
    """The last record of each key."""
    last: Mapping[object, int] = {change.key: at for at, change in enumerate(log)}
    return [change for at, change in enumerate(log) if last[change.key] == at]
