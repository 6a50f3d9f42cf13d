"""The fast encoder against fastavro: the same bytes, whatever came before."""

from hypothesis import given
from hypothesis import strategies as st

from connector.model import CommitOrder, DocChange, DocKey, Document, Op, SourceInfo
from connector.wire import DocEncoder, TransactionInfo, encode_key, encode_value

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
longs = st.one_of(st.integers(0, 300), st.integers(-(2**63), 2**63 - 1))
counts = st.one_of(st.integers(0, 70), st.sampled_from([2**13 - 1, 2**13, 2**14 - 1, 2**14, 2**31, 2**62]))
documents = st.builds(
    Document,
    content=st.none() | texts | st.sampled_from(["x" * 9000, "ü" * 20_000]),
    meta=st.none() | texts,
    embedding=st.none() | st.binary(max_size=40) | st.sampled_from([b"\0" * 6144, b"\0" * 70_001]),
    embedding_model=st.none() | texts,
    scn=longs,
    archived=st.booleans(),
    created_at=st.none() | texts,
    updated_at=st.none() | texts,
)
sources = st.builds(
    SourceInfo,
    connector=st.sampled_from(["mysql", "mariadb"]),
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
changes = st.builds(
    DocChange,
    op=st.sampled_from(Op),
    key=st.builds(DocKey, texts, texts),
    scn=longs,
    after=st.none() | documents,
    order=st.builds(CommitOrder, counts, counts, counts, counts),
    source=sources,
    unpublished=st.none() | texts,
    moved=st.just(False),  # not on the wire
)


@given(st.lists(st.tuples(changes, st.builds(TransactionInfo, texts, counts, st.booleans()), longs), max_size=4))
def test_the_same_bytes_as_fastavro(events: list[tuple[DocChange, TransactionInfo, int]]) -> None:
    encode = DocEncoder()
    for change, transaction, ts_us in [*events, *events]:
        assert encode(change, transaction, ts_us) == encode_value(change, transaction, ts_us)
        assert encode.key(change.key) == encode_key(change.key)
