"""Strategies for everything that goes over the wire."""

from __future__ import annotations

from hypothesis import strategies as st

from connector.model import (
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetCursor,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Floor,
    FloorKey,
    FloorReason,
    Lane,
    LogMark,
    Op,
    PublishedPosition,
    SnapshotProgress,
    SourceIdentity,
    SourceInfo,
    SourcePosition,
    Tombstone,
    TombstoneReason,
)
from connector.wire import TransactionInfo

# No lone surrogates: they are no characters. Everything else is, also NUL, combining marks and unassigned ones.
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(
        ["", "\0", "e\u0301", "é", "👩‍👩‍👧", "\u202e", "\ufeff", "\uffff", "\U0010ffff", "'--", "x" * 5000]
    ),
)
longs = st.one_of(st.integers(0, 300), st.integers(-(2**63), 2**63 - 1))
counts = st.one_of(st.integers(0, 70), st.integers(0, 2**63 - 1))
keys = st.one_of(st.builds(DocKey, texts, texts), st.builds(DatasetKey, texts), st.builds(FloorKey, st.none() | texts))
orders = st.builds(CommitOrder, counts, counts, counts, counts)
documents = st.builds(
    Document,
    content=st.none() | texts,
    meta=st.none() | texts,
    embedding=st.none() | st.binary(max_size=64),
    embedding_model=st.none() | texts,
    scn=longs,
    archived=st.booleans(),
    created_at=st.none() | texts,
    updated_at=st.none() | texts,
)
sources = st.builds(
    SourceInfo,
    connector=texts,
    name=texts,
    ts_us=longs,
    snapshot=st.booleans(),
    db=texts,
    table=texts,
    server_id=counts,
    gtid=st.none() | texts,
    file=st.none() | texts,
    pos=counts,
    row=counts,
)
doc_changes = st.builds(
    DocChange,
    op=st.sampled_from(Op),
    key=st.builds(DocKey, texts, texts),
    scn=longs,
    after=st.none() | documents,
    order=orders,
    source=sources,
    unpublished=st.none() | texts,
    moved=st.just(False),  # not on the wire
)
dataset_changes = st.builds(
    DatasetChange,
    op=st.sampled_from(Op),
    key=st.builds(DatasetKey, texts),
    after=st.none() | st.builds(Dataset, st.none() | texts, st.none() | texts, st.none() | longs),
    order=orders,
    source=sources,
)
floors = st.builds(
    Floor,
    key=st.builds(FloorKey, st.none() | texts),
    order=orders,
    reason=st.sampled_from(FloorReason),
    source=sources,
)
changes = st.one_of(doc_changes, dataset_changes, floors)
transactions = st.builds(TransactionInfo, texts, counts, st.booleans())
tombstones = st.builds(
    Tombstone,
    dataset_id=st.none() | texts,
    id=st.none() | texts,
    order=orders,
    scn=longs,
    reason=st.sampled_from(TombstoneReason),
    ts_us=longs,
)
positions = st.builds(
    PublishedPosition,
    source=st.builds(
        SourcePosition,
        identity=st.builds(SourceIdentity, texts, st.none() | texts, st.none() | texts, counts, counts, counts),
        epoch=counts,
        gtid_set=st.none() | texts,
        file=texts,
        position=counts,
        mark=st.none() | st.builds(LogMark, texts, counts, st.binary(max_size=40)),
        bridge=texts,
        skipped=st.lists(texts, max_size=3).map(tuple),
        open_file=texts,
        open_position=counts,
        dataset_log_seq=counts,
        cursors=st.dictionaries(
            texts,
            st.builds(DatasetCursor, counts, longs, counts, st.lists(longs, max_size=4).map(tuple)),
            max_size=3,
        ),
        snapshot=st.none()
        | st.builds(
            SnapshotProgress,
            texts,
            st.none() | st.lists(texts, max_size=3).map(tuple),
            orders,
            st.none() | st.lists(texts, max_size=3).map(tuple),
            st.lists(texts, max_size=3).map(tuple),
            st.lists(texts, max_size=3).map(tuple),
        ),
        snapshot_done=st.booleans(),
    ),
    ends=st.dictionaries(st.builds(Lane, texts, st.integers(0, 4095)), counts, max_size=4),
    closed=st.booleans(),
    ts_us=longs,
)
