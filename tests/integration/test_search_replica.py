"""Searching replicas that the applier wrote: exact, typed, of one state."""

from __future__ import annotations

import math
import random
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw
import pytest

from connector import embed
from connector.errors import (
    DimensionMismatch,
    NoEmbedder,
    QueryRefused,
    QuerySyntax,
    ReplicaRefused,
    UnknownDataset,
    VecsyncError,
)
from connector.model import (
    CommitOrder,
    Dataset,
    DatasetChange,
    DatasetKey,
    DocChange,
    DocKey,
    Document,
    Lane,
    Op,
    SourceInfo,
)
from connector.replica import connection, schema
from connector.replica.apply import Applier
from connector.search import Hit, Mode, Searcher, TextSyntax, Weights, frequency, open_reader, sql
from connector.settings import ModelSettings

HASHING = embed.load("hashing")
LANE = Lane("t.app.shadow_vec_docs", 0)
OTHER_LANE = Lane("t.app.notes", 0)


def vector(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


class Writer:
    """Changes a replica as its applier does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connection.open_writer(path)
        schema.prepare(self._connection, path)
        self._applier = Applier(
            self._connection, path, ["*"], {}, {LANE.topic: "shadow_vec_docs", OTHER_LANE.topic: "notes"}
        )
        self._position = 0

    def put(
        self,
        dataset: str,
        id: str,
        content: str | None = None,
        *,
        vector: bytes | None = None,
        model: str | None = "m",
        archived: bool = False,
        lane: Lane = LANE,
        meta: str | None = None,
    ) -> None:
        self._apply(lane, dataset, id, Document(content, meta, vector, model, 1, archived))

    def text(self, dataset: str, id: str, content: str, *, archived: bool = False) -> None:
        """With the vector of its text."""
        self.put(dataset, id, content, vector=HASHING.embed([content])[0], model=HASHING.name, archived=archived)

    def delete(self, dataset: str, id: str) -> None:
        self._apply(LANE, dataset, id, None)

    def dataset(self, dataset: str) -> None:
        self._position += 1
        order, source = CommitOrder(1, 1, self._position, 1), self._source()
        change = DatasetChange(Op.CREATE, DatasetKey(dataset), Dataset(None, None), order, source)
        self._applier.apply([(LANE, change)], [], {})

    def _apply(self, lane: Lane, dataset: str, id: str, after: Document | None) -> None:
        self._position += 1
        op = Op.DELETE if after is None else Op.UPDATE
        change = DocChange(op, DocKey(dataset, id), 1, after, CommitOrder(1, 1, self._position, 1), self._source())
        self._applier.apply([(lane, change)], [], {})

    @staticmethod
    def _source() -> SourceInfo:
        return SourceInfo("mysql", "t", 0, False, "app", "shadow_vec_docs", 1, None, None, 0, 0)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "replica.db")
    yield made
    made.close()


Open = Callable[..., Searcher]


@pytest.fixture
def opened(writer: Writer) -> Iterator[Open]:
    readers: list[Searcher] = []

    def go(models: dict[str, ModelSettings] | None = None) -> Searcher:
        readers.append(open_reader(writer.path, models))
        return readers[-1]

    yield go
    for reader in readers:
        reader.close()


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.id for hit in hits]


@pytest.fixture
def library(writer: Writer) -> Writer:
    writer.text("os", "unlink", "Remove (delete) the file path. It cannot be a directory.")
    writer.text("os", "rmdir", "Remove the directory path. Only works when it is empty.")
    writer.text("os", "getpid", "Return the current process id.")
    writer.text("os", "removed", "Removing files: an old text about files.", archived=True)
    writer.text("net", "socket", "Open a network connection to a host; files are not involved.")
    return writer


# -- what is found --


def test_hybrid_finds_by_words_and_vectors_and_says_how(library: Writer, opened: Open) -> None:
    result = opened().search("How do I remove a file?", datasets=["os"], k=2)
    assert ids(result.hits) == ["unlink", "rmdir"]
    assert (result.mode, result.models, result.skipped_models) == ("hybrid", (HASHING.name,), ())
    first = result.hits[0]
    assert (first.dataset_id, first.shadow_table, first.archived) == ("os", "shadow_vec_docs", False)
    assert first.content == "Remove (delete) the file path. It cannot be a directory."
    assert (first.breakdown.text_rank, first.breakdown.vector_rank) == (1, 1)
    assert first.score == pytest.approx(1 / 61 + 1 / 61)
    assert first.breakdown.text_score is not None
    assert first.breakdown.text_score > 0
    expected = cosine(HASHING.embed(["How do I remove a file?"])[0], HASHING.embed([first.content])[0])
    assert first.breakdown.vector_score == pytest.approx(expected, abs=1e-5)


def test_each_part_alone(library: Writer, opened: Open) -> None:
    reader = opened()
    text = reader.search("remove", mode="text")
    assert sorted(ids(text.hits)) == ["rmdir", "unlink"]
    assert text.models == ()
    for hit in text.hits:
        assert hit.score == hit.breakdown.text_score
        assert hit.breakdown.vector_rank is None
    near = reader.search("remove", mode="vector", datasets=["os"])
    assert len(near.hits) == 3, "nearness has no end"
    assert all(hit.score == hit.breakdown.vector_score and hit.breakdown.text_rank is None for hit in near.hits)


def test_archived_are_found_only_on_request(library: Writer, opened: Open) -> None:
    reader = opened()
    for mode in ("text", "vector", "hybrid"):
        assert "removed" not in ids(reader.search("removing files", mode=mode).hits)
        found = reader.search("removing files", mode=mode, include_archived=True).hits
        assert found[0].id == "removed"
        assert found[0].archived


def test_a_dataset_shows_nothing_of_others(library: Writer, opened: Open) -> None:
    reader = opened()
    for mode in ("text", "vector", "hybrid"):
        assert {hit.dataset_id for hit in reader.search("files", mode=mode, datasets=["net"]).hits} == {"net"}
        assert {hit.dataset_id for hit in reader.search("files", mode=mode, datasets=["os"]).hits} <= {"os"}
        both = reader.search("file path host", mode=mode, datasets=["net", "os", "net"])
        assert {hit.dataset_id for hit in both.hits} == {"net", "os"}
        assert ids(both.hits) == ids(reader.search("file path host", mode=mode).hits)


def test_never_fewer_than_k_when_there_are_k(writer: Writer, opened: Open) -> None:
    """Archived documents and other datasets stand before those that are wanted, in both parts."""
    for i in range(300):
        writer.put("d", f"old{i:03}", "needle needle needle", vector=vector(1, 0.001 * i), archived=True)
        writer.put("other", f"x{i:03}", "needle needle needle", vector=vector(1, 0.001 * i))
    for i in range(20):
        writer.put("d", f"new{i:02}", f"one needle in {'hay ' * i}", vector=vector(1, 1 + i))
    reader = opened({"m": ModelSettings(dims=None, embedder=None)})
    for mode in ("text", "vector", "hybrid"):
        found = reader.search("needle", mode=mode, vector=vector(1, 0), datasets=["d"], k=20)
        assert sorted(ids(found.hits)) == [f"new{i:02}" for i in range(20)]
    assert len(reader.search("needle", mode="text", datasets=["d"], include_archived=True, k=1000).hits) == 320


def cosine(a: bytes, b: bytes) -> float:
    x, y = (struct.unpack(f"<{len(v) // 4}f", v) for v in (a, b))
    return float(sum(p * q for p, q in zip(x, y, strict=True))) / (math.hypot(*x) * math.hypot(*y))


def test_the_vector_part_is_exact(writer: Writer, opened: Open) -> None:
    chance = random.Random(7)
    stored = {}
    for i in range(400):
        dataset = f"d{i % 3}"
        stored[dataset, f"{i}"] = vector(*(chance.gauss(0, 1) for _ in range(8)))
        writer.put(dataset, f"{i}", vector=stored[dataset, f"{i}"])
    for i in range(0, 400, 7):
        writer.delete(f"d{i % 3}", f"{i}")
        del stored[f"d{i % 3}", f"{i}"]
    reader = opened()
    for datasets in (None, ["d1"], ["d0", "d2"]):
        question = vector(*(chance.gauss(0, 5) for _ in range(8)))
        expected = sorted(
            ((cosine(question, v), key) for key, v in stored.items() if datasets is None or key[0] in datasets),
            reverse=True,
        )[:25]
        hits = reader.search(vector=question, mode="vector", datasets=datasets, k=25).hits
        assert [(hit.dataset_id, hit.id) for hit in hits] == [key for _, key in expected]
        assert [hit.score for hit in hits] == pytest.approx([score for score, _ in expected], abs=1e-5)
        assert [hit.breakdown.vector_rank for hit in hits] == list(range(1, 26))


def test_words_that_nearly_all_documents_have_cost_nothing_and_lose_nothing(
    writer: Writer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(60):
        words = ["the"] * (i % 4 + 1) + ["needle"] * (i % 20 == 0) + ["hay"] * (i % 3 == 0)
        writer.put("d", f"{i:02}", " ".join(words), vector=vector(1, i))
    writer.put("small", "1", "the needle")
    everything = opened().search("the needle", mode="text", k=100).hits
    monkeypatch.setattr(frequency, "_SMALL", 10)
    reader = opened()

    def found(query: str, k: int, **options: object) -> list[str]:
        return ids(reader.search(query, mode="text", k=k, **options).hits)  # type: ignore[arg-type]

    assert found("the needle", 4) == ids(everything)[:4] == ["20", "40", "1", "00"]
    assert reader._frequencies._frequent == {"the": True, "needle": False}
    assert len(found("the needle", 50)) == 50, "k come if there are k"
    assert found("the needle", 50)[:4] == ["20", "40", "1", "00"]
    assert len(found("the", 7)) == 7, "nothing but frequent words is still a question"
    assert found("the", 7, datasets=["small"]) == ["1"]
    hybrid = reader.search("the needle", vector=vector(1, 0), k=60).hits
    assert sum(hit.breakdown.text_rank is not None for hit in hybrid) == 4, "what all have brings nobody forward"

    for i in range(60, 200):
        writer.put("d", f"{i:02}", "straw")
    assert found("the needle", 4) == ["20", "40", "1", "00"]
    assert reader._frequencies._frequent == {"the": False, "needle": False}, "counted anew, as the replica grew"


def test_fusion_by_hand(writer: Writer, opened: Open) -> None:
    writer.put("d", "both", "apple", vector=vector(1, 1))
    writer.put("d", "words", "apple apple", vector=None)
    writer.put("d", "near", "pear", vector=vector(1, 0))
    reader = opened()

    def scores(**options: object) -> dict[str, float]:
        found = reader.search("apple", vector=vector(1, 0), **options)  # type: ignore[arg-type]
        return {hit.id: hit.score for hit in found.hits}

    assert scores() == pytest.approx({"both": 2 / 62, "words": 1 / 61, "near": 1 / 61})
    assert scores(rrf_k=0) == pytest.approx({"both": 1.0, "words": 1.0, "near": 1.0})
    assert scores(weights=Weights(text=3, vector=1)) == pytest.approx({"both": 4 / 62, "words": 3 / 61, "near": 1 / 61})
    assert scores(fusion="linear") == pytest.approx({"both": 0.0, "words": 1.0, "near": 1.0})
    assert scores(weights=Weights(text=0, vector=1)) == pytest.approx({"near": 1 / 61, "both": 1 / 62})


def test_equal_scores_go_by_dataset_and_id(writer: Writer, opened: Open) -> None:
    for id in ("c", "a", "b"):
        for dataset in ("y", "x"):
            writer.put(dataset, id, "same words", vector=vector(1, 0))
    for mode in ("text", "vector", "hybrid"):
        hits = opened().search("same", vector=vector(1, 0), mode=mode, k=4).hits
        assert [(hit.dataset_id, hit.id) for hit in hits] == [("x", "a"), ("x", "b"), ("x", "c"), ("y", "a")]
        assert len({hit.score for hit in hits}) == 1


def test_what_has_no_searchable_vector_is_found_by_words(writer: Writer, opened: Open) -> None:
    writer.put("d", "none", "plum", vector=None)
    writer.put("d", "empty", "plum", vector=b"")
    writer.put("d", "zero", "plum", vector=vector(0, 0))
    writer.put("d", "nan", "plum", vector=vector(math.nan, 1))
    writer.put("d", "odd", "plum", vector=b"123")
    writer.put("d", "good", "plum", vector=vector(0, 1))
    writer.put("d", "nothing", None, vector=vector(1, 1))
    reader = opened()
    assert len(reader.search("plum", mode="text").hits) == 6
    assert ids(reader.search(vector=vector(0, 1), mode="vector").hits) == ["good", "nothing"]
    found = {hit.id: hit for hit in reader.search("plum", vector=vector(0, 1)).hits}
    assert len(found) == 7
    assert (found["nothing"].content, found["nothing"].snippet) == (None, "")


def test_the_same_dataset_in_two_tables(writer: Writer, opened: Open) -> None:
    writer.put("d", "1", "fig", vector=vector(1, 0))
    writer.put("d", "1", "fig", vector=vector(1, 0), lane=OTHER_LANE)
    hits = opened().search("fig", vector=vector(1, 0), datasets=["d"]).hits
    assert sorted(hit.shadow_table for hit in hits) == ["notes", "shadow_vec_docs"]


def test_ids_and_datasets_are_no_words_of_the_text(writer: Writer, opened: Open) -> None:
    writer.put("c1", "alpha.md#0", "beta")
    reader = opened()
    assert reader.search("c1 alpha md 0", mode="text").hits == ()
    assert ids(reader.search("id:alpha AND content:beta", mode="text", text_syntax="fts5").hits) == ["alpha.md#0"]


# -- several models --


@pytest.fixture
def two_models(writer: Writer) -> Writer:
    writer.text("d", "hashed", "remove a file")
    writer.put("d", "foreign", "delete a file", vector=vector(1, 0, 0), model="elsewhere-3")
    return writer


def test_models_without_an_embedder_are_named(two_models: Writer, opened: Open) -> None:
    result = opened().search("remove file")
    assert (result.models, result.skipped_models) == ((HASHING.name,), ("elsewhere-3",))
    found = {hit.id: hit.breakdown for hit in result.hits}
    assert found["foreign"].text_rank == 2
    assert found["foreign"].vector_rank is None


def test_similarities_of_two_models_are_not_compared(writer: Writer, opened: Open, tmp_path: Path) -> None:
    for i, text in enumerate(("remove a file", "open a socket", "sing a song")):
        writer.text("d", f"h{i}", text)
        embedded = embed.load("wordllama").embed([text])[0]
        writer.put("d", f"w{i}", text, vector=embedded, model=embed.load("wordllama").name)
    result = opened().search("removing files", mode="vector", k=6)
    assert set(result.models) == {HASHING.name, embed.load("wordllama").name}
    assert {hit.id for hit in result.hits[:2]} == {"h0", "w0"}, "the first of each comes first"
    assert [hit.breakdown.vector_rank for hit in result.hits] == [1, 1, 2, 2, 3, 3]
    only = opened().search("removing files", mode="vector", model=HASHING.name)
    assert sorted(ids(only.hits)) == ["h0", "h1", "h2"]
    assert only.hits[0].score == only.hits[0].breakdown.vector_score


def test_a_given_vector_asks_the_model_it_fits(two_models: Writer, opened: Open) -> None:
    result = opened().search(vector=vector(5, 0, 0), mode="vector")
    assert ids(result.hits) == ["foreign"]
    assert result.hits[0].score == pytest.approx(1.0)
    assert result.skipped_models == (HASHING.name,)
    two_models.put("d", "rival", vector=vector(0, 1, 0), model="other-3")
    with pytest.raises(QueryRefused, match=r"several models have 3 dimensions: 'elsewhere-3', 'other-3'"):
        opened().search(vector=vector(5, 0, 0), mode="vector")
    assert ids(opened().search(vector=vector(5, 1, 0), mode="vector", model="other-3").hits) == ["rival"]


def test_an_embedder_by_configuration(writer: Writer, opened: Open) -> None:
    text = "remove a file"
    writer.put("d", "1", text, vector=HASHING.embed([text])[0], model="ours")
    reader = opened({"ours": ModelSettings(dims=None, embedder="hashing")})
    assert ids(reader.search("files removed", mode="vector").hits) == ["1"]


# -- what is refused --


def test_no_embedder_is_an_error_for_the_vector_part(writer: Writer, opened: Open) -> None:
    writer.put("d", "1", "apple", vector=vector(1, 0), model="text-embedding-3")
    writer.put("d", "2", "apple", vector=vector(1, 0, 1), model=None)
    for mode in ("vector", "hybrid"):
        with pytest.raises(NoEmbedder, match="'text-embedding-3'") as caught:
            opened().search("apple", mode=mode)
        assert "--vector" in caught.value.hint
        assert "replica.models" in caught.value.hint
    assert len(opened().search("apple", mode="text").hits) == 2
    assert len(opened().search("apple", vector=vector(1, 0)).hits) == 2


def test_a_dimension_that_does_not_fit_names_both_sizes(writer: Writer, opened: Open) -> None:
    writer.put("d", "1", "apple", vector=vector(1, 0), model="two")
    with pytest.raises(DimensionMismatch, match=r"has 3 dimensions, the stored ones have 2 \('two'\)"):
        opened().search("apple", vector=vector(1, 0, 0))
    writer.put("e", "1", "apple", vector=vector(1, 0), model=HASHING.name)
    with pytest.raises(DimensionMismatch, match=f"gives 256 dimensions, the vectors of {HASHING.name} have 2"):
        opened().search("apple", datasets=["e"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"vector": vector(math.nan, 1)}, QueryRefused, "nan at place 0"),
        ({"vector": vector(1, math.inf)}, QueryRefused, "inf at place 1"),
        ({"vector": vector(0, 0)}, QueryRefused, "length 0"),
        ({"vector": b"abc"}, QueryRefused, "3 bytes"),
        ({"vector": b""}, QueryRefused, "0 bytes"),
        ({"k": 0}, QueryRefused, "k is 0, and must be between 1 and 1000"),
        ({"k": 1001}, QueryRefused, "k is 1001"),
        ({"k": -5}, QueryRefused, "k is -5"),
        ({"datasets": ["oss"]}, UnknownDataset, "no dataset 'oss'; did you mean os"),
        ({"datasets": ["os", "zzz"]}, UnknownDataset, "no dataset 'zzz'"),
        ({"model": "nope"}, QueryRefused, f"no vector here is of the model 'nope'.*{HASHING.name}"),
        ({"mode": "fuzzy"}, QueryRefused, "no mode 'fuzzy'"),
        ({"fusion": "sum"}, QueryRefused, "no fusion 'sum'"),
        ({"text_syntax": "sql"}, QueryRefused, "no text syntax 'sql'"),
        ({"rrf_k": -1}, QueryRefused, "rrf_k is -1"),
        ({"rrf_k": math.nan}, QueryRefused, "rrf_k is nan"),
        ({"weights": Weights(0, 0)}, QueryRefused, "weights are 0 and 0"),
        ({"weights": Weights(-1, 1)}, QueryRefused, "weights are -1 and 1"),
        ({"query": "  "}, QueryRefused, "query is empty"),
        ({"query": " ", "vector": vector(1), "mode": "text"}, QueryRefused, "query is empty"),
        ({"query": "a \ud800"}, QueryRefused, "character 3"),
        ({"query": "what?", "text_syntax": "fts5"}, QuerySyntax, "at character 5"),
        ({"query": "nothing:x", "text_syntax": "fts5"}, QuerySyntax, "no column 'nothing'; there is id, content"),
    ],
)
def test_refusals_are_typed_and_helpful(
    library: Writer, opened: Open, options: dict[str, object], error: type[VecsyncError], message: str
) -> None:
    reader = opened()
    with pytest.raises(error, match=message) as caught:
        reader.search(**({"query": "file"} | options))  # type: ignore[arg-type]
    assert type(caught.value) is error
    assert caught.value.hint
    assert reader.search("file").hits, "the reader goes on after a refusal"


def test_nothing_that_is_typed_shows_a_raw_error(library: Writer, opened: Open) -> None:
    reader = opened()
    chance = random.Random(11)
    pieces = [
        *"\"'()*+-:^{}\0\\/%;,.?! ",
        "AND",
        "OR",
        "NOT",
        "NEAR(",
        "file",
        "content:",
        "c1",
        "é",
        "文",
        "\ud800",
        "\n",
    ]
    answered, refused, wrongly = 0, 0, []
    for _ in range(1500):
        query = "".join(chance.choice(pieces) for _ in range(chance.randrange(9)))
        syntax: TextSyntax = chance.choice(("plain", "fts5"))
        mode: Mode = chance.choice(("text", "hybrid", "vector"))
        try:
            reader.search(query, mode=mode, text_syntax=syntax, datasets=chance.choice((None, ["os"])))
            answered += 1
        except QueryRefused as error:
            refused += 1
            plain = syntax == "plain" or mode == "vector"
            if not error.hint or (plain and query.strip() and "\ud800" not in query):
                wrongly.append((query, error))
    assert not wrongly
    assert min(answered, refused) > 300


def test_only_punctuation_finds_nothing_by_words(library: Writer, opened: Open) -> None:
    assert opened().search("?!", mode="text").hits == ()
    assert len(opened().search("?!", datasets=["os"]).hits) == 3, "its vector still is near to something"


def test_a_dataset_without_documents_is_no_error(writer: Writer, opened: Open) -> None:
    writer.dataset("empty")
    writer.put("gone", "1", "x", vector=vector(1))
    writer.delete("gone", "1")
    for mode in ("text", "vector", "hybrid"):
        assert opened().search("x", mode=mode, datasets=["empty"]).hits == ()
    with pytest.raises(UnknownDataset, match="gone"):
        opened().search("x", datasets=["gone"])


def test_what_is_no_replica(tmp_path: Path) -> None:
    with pytest.raises(ReplicaRefused, match="no replica at"):
        open_reader(tmp_path / "missing.db")
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(ReplicaRefused):
        open_reader(tmp_path / "text.db")
    other = apsw.Connection(str(tmp_path / "other.db"))
    other.execute("CREATE TABLE t(a)")
    other.close()
    with pytest.raises(ReplicaRefused, match="not a replica"):
        open_reader(tmp_path / "other.db")


# -- snippets --


def test_snippets_show_the_words_or_the_beginning(writer: Writer, opened: Open) -> None:
    writer.put("d", "long", "start " + "filler " * 200 + "the removed\n   file " + "filler " * 200, vector=vector(1, 0))
    writer.put("d", "near", "opening words " + "more words " * 100, vector=vector(1, 0.1))
    hits = opened().search("removing", vector=vector(1, 0), marks=("<", ">")).hits
    found = {hit.id: hit.snippet for hit in hits}
    assert "the <removed> file" in found["long"]
    assert len(found["long"]) < 300
    assert found["near"].startswith("opening words more")
    assert found["near"].endswith("…")
    assert len(found["near"]) < 300


# -- one state --


def test_a_search_sees_one_state_while_documents_change(writer: Writer, opened: Open) -> None:
    """Each version of a document has one word and one vector; a mixture of two would show."""
    directions = {f"v{i}": vector(math.cos(i), math.sin(i)) for i in range(6)}
    for i in range(10):
        writer.put("d", f"{i}", "v0", vector=directions["v0"])
    stop = threading.Event()
    wrong: list[str] = []

    def look(reader: Searcher) -> None:
        while not stop.is_set():
            for word, direction in directions.items():
                for hit in reader.search(word, vector=direction, k=10).hits:
                    by_text = hit.breakdown.text_rank is not None
                    assert hit.breakdown.vector_score is not None
                    by_vector = hit.breakdown.vector_score > 0.9999
                    if by_text != by_vector or (hit.content == word) != by_text:
                        wrong.append(f"{word}: {hit}")

    threads = [threading.Thread(target=look, args=(opened(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    chance = random.Random(3)
    for _ in range(400):
        word = chance.choice(list(directions))
        writer.put("d", str(chance.randrange(10)), word, vector=directions[word])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_reader_serves_several_threads(library: Writer, opened: Open) -> None:
    reader = opened()
    expected = ids(reader.search("remove file").hits)
    results: list[list[str]] = []

    def ask() -> None:
        results.extend(ids(reader.search("remove file").hits) for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 80


# -- SQL --


def test_sql_reads_documents_and_vectors(library: Writer) -> None:
    with sql(
        library.path, "SELECT id, vec_length(embedding) AS dims FROM shadow_vec_docs WHERE id = ?", ["unlink"]
    ) as r:
        assert r.columns == ("id", "dims")
        assert list(r.rows) == [("unlink", 256)]
    with sql(library.path, "SELECT id FROM shadow_vec_docs WHERE 0") as r:
        assert (r.columns, list(r.rows)) == (("id",), [])


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM replica_document", "readonly"),
        ("CREATE TEMP TABLE x(a)", "readonly"),
        ("SELEC 1", "at byte 1.*syntax error"),
        ("SELECT missing FROM shadow_vec_docs", "no such column"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        (" ", "no statement"),
        ("SELECT load_extension('x')", "not authorized"),
        ("ATTACH '/nowhere/x.db' AS x", "unable to open"),
        ("SELECT ?", "bindings"),
    ],
)
def test_sql_that_is_refused(library: Writer, statement: str, message: str) -> None:
    before = library.path.read_bytes()
    with pytest.raises(QueryRefused, match=message) as caught, sql(library.path, statement) as rows:
        list(rows.rows)
    assert caught.value.hint
    assert library.path.read_bytes() == before


def test_sql_errors_while_rows_are_read(library: Writer) -> None:
    spoilt = "WITH v(x) AS (VALUES (x'00000000'), (x'00')) SELECT vec_length(x) FROM v"
    with sql(library.path, spoilt) as rows:
        assert next(rows.rows) == (1,)
        with pytest.raises(QueryRefused, match="SQLite refuses"):
            list(rows.rows)
