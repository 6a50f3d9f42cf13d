"""Entries of the change log as changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CorruptedLog, UnsupportedChange
from connector.model import DatasetChange, DocChange, DocKey, Document, Floor, FloorKey, Op
from connector.source.shadow_log_entries import Entry, change_of, document_of, mark_after, order_of

KEY = DocKey("A", "1")
FIELDS: dict[str, Any] = {
    "dataset_id": "A",
    "id": "1",
    "content": "text",
    "meta": None,
    "embedding": "0000803f",
    "embedding_model": "m",
    "scn": 3,
    "archived": 1,
}
ENTRY = Entry(9, "docs", "A", "update", 4, "1", None, None, None, 5, json.dumps(FIELDS).encode())


def test_an_update() -> None:
    change = change_of(ENTRY, 2, "demo", "vec_dataset")
    assert isinstance(change, DocChange)
    assert change.after == Document("text", None, b"\x00\x00\x80?", "m", 3, True)
    assert (change.op, change.key, change.scn, change.order) == (Op.UPDATE, KEY, 4, (2, 0, 9, 1))
    assert (change.source.table, change.source.db, change.source.ts_us, change.source.pos) == ("docs", "main", 5, 9)


def test_the_other_kinds() -> None:
    gone = change_of(ENTRY._replace(op="delete", scn=None, payload=None), 1, "demo", "vec_dataset")
    assert isinstance(gone, DocChange)
    assert (gone.op, gone.after, gone.scn) == (Op.DELETE, None, 0)
    floor = change_of(ENTRY._replace(op="cascade", document_id=None), 1, "demo", "vec_dataset")
    assert isinstance(floor, Floor)
    assert floor.key == FloorKey("A")
    about = ENTRY._replace(shadow_table=None, description="d", last_scn=7)
    for op, letter in (("insert", Op.CREATE), ("update", Op.UPDATE), ("delete", Op.DELETE)):
        change = change_of(about._replace(op=op), 1, "demo", "vec_dataset")
        assert isinstance(change, DatasetChange)
        assert (change.op, change.source.table, change.after is None) == (letter, "vec_dataset", op == "delete")


@pytest.mark.parametrize(
    "wrong", [{"op": "merge"}, {"dataset_id": None}, {"document_id": None}, {"shadow_table": None, "op": "truncate"}]
)
def test_what_is_not_understood_stops(wrong: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedChange):
        change_of(ENTRY._replace(**wrong), 1, "demo", "vec_dataset")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[1]",
        b"{}",
        json.dumps(FIELDS | {"id": "2"}),
        json.dumps(FIELDS | {"dataset_id": "B"}),
        json.dumps(FIELDS | {"embedding": "0"}),
        json.dumps(FIELDS | {"embedding": "zz"}),
        json.dumps(FIELDS | {"embedding": 7}),
        json.dumps(FIELDS | {"scn": "x"}),
        json.dumps(FIELDS | {"content": 5}),
        json.dumps({k: v for k, v in FIELDS.items() if k != "meta"}),
        None,
    ],
)
def test_a_payload_that_is_none_stops(payload: bytes | str | None) -> None:
    with pytest.raises(CorruptedLog, match="entry 9"):
        change_of(ENTRY._replace(payload=payload), 1, "demo", "vec_dataset")


@given(
    st.fixed_dictionaries(
        {
            "content": st.none() | st.text(),
            "meta": st.none() | st.text(),
            "embedding": st.none() | st.binary(max_size=40),
            "scn": st.integers(0, 2**63 - 1),
            "archived": st.booleans(),
        }
    ),
    st.randoms(),
)
def test_any_order_of_keys_gives_the_same_document(values: dict[str, Any], shuffle: Any) -> None:
    fields = FIELDS | values | {"embedding": (values["embedding"] or b"").hex(), "archived": int(values["archived"])}
    items = list(fields.items())
    shuffle.shuffle(items)
    document = document_of(json.dumps(dict(items)), KEY, 1)
    assert document == Document(
        values["content"], values["meta"], values["embedding"] or None, "m", values["scn"], values["archived"]
    )


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_mark_stands_between(seq: int, later: int) -> None:
    assert order_of(1, seq) < mark_after(1, seq) < order_of(1, seq + 1 + later) < order_of(2, 0)
