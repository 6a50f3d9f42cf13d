"""Search quality on a collection with judgements: nDCG@10 and recall@100 of text, vector and hybrid search.

    python -m tests.bench.bench_quality FOLDER [--embedder wordllama]

FOLDER (or the environment variable VECSYNC_CRANFIELD) holds a collection in the form of Cranfield 1400:
`cran.all.1400`, `queries.tsv` (number, text) and `qrels.tsv` (query, document, gain). It is only read: collections have
licences of their own. The documents go through the applier into a replica in a temporary directory, each as a whole.

A gain g counts 2^g - 1. Queries without a relevant document are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import log2
from pathlib import Path
from statistics import fmean, median

from connector import embed
from connector.model import CommitOrder, DocChange, DocKey, Document, Lane, Op, SourceInfo
from connector.replica import connection, schema
from connector.replica.apply import Applier
from connector.search import Searcher, SearchResult, open_reader

TOPIC = "bench.app.shadow_vec_docs"
SOURCE = SourceInfo("mysql", "bench", 0, False, "app", "shadow_vec_docs", 1, None, None, 0, 0)
Judgements = Mapping[str, Mapping[str, int]]


def documents(folder: Path) -> list[tuple[str, str]]:
    """Number and text (title, empty line, body), without documents that have no text."""
    found = []
    for entry in re.split(r"(?m)^\.I ", (folder / "cran.all.1400").read_text())[1:]:
        number, rest = entry.split("\n", 1)
        parts = dict(re.findall(r"(?ms)^\.([TABW])\n(.*?)(?=^\.[TABW]\n|\Z)", rest))
        text = "\n\n".join(part.strip() for part in (parts.get("T", ""), parts.get("W", "")) if part.strip())
        if text:
            found.append((number.strip(), text))
    return found


def queries(folder: Path) -> dict[str, str]:
    fields = (line.split("\t", 1) for line in (folder / "queries.tsv").read_text().splitlines() if line)
    return {number: text for number, text in fields}  # noqa: C416 -- says that there are two fields


def judgements(folder: Path) -> Judgements:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text().splitlines():
        query, document, gain = line.split("\t")
        if int(gain) > 0:
            found[query][document] = int(gain)
    return found


def ndcg(ids: Sequence[str], gains: Mapping[str, int], depth: int) -> float:
    def dcg(values: Sequence[int]) -> float:
        return sum((2.0**gain - 1) / log2(place + 1) for place, gain in enumerate(values, 1))

    return dcg([gains.get(id, 0) for id in ids[:depth]]) / dcg(sorted(gains.values(), reverse=True)[:depth])


def recall(ids: Sequence[str], gains: Mapping[str, int], depth: int) -> float:
    return len(set(ids[:depth]) & set(gains)) / len(gains)


def fill(path: Path, texts: Sequence[tuple[str, str]], embedder: embed.Embedder) -> float:
    """A replica with these documents; gives the seconds that embedding took."""
    writer = connection.open_writer(path)
    schema.prepare(writer, path)
    applier = Applier(writer, path, ["*"], {}, {TOPIC: "shadow_vec_docs"})
    began = time.perf_counter()
    vectors = embedder.embed([text for _, text in texts])
    took = time.perf_counter() - began
    changes = [
        (
            Lane(TOPIC, 0),
            DocChange(
                Op.CREATE,
                DocKey("bench", number),
                place,
                Document(text, None, vector, embedder.name, place, False),
                CommitOrder(1, 1, place, 1),
                SOURCE,
            ),
        )
        for place, ((number, text), vector) in enumerate(zip(texts, vectors, strict=True), 1)
    ]
    applier.apply(changes, [], {})
    writer.close()
    return took


def measure(asked: Mapping[str, str], judged: Judgements, search: Callable[[str], SearchResult]) -> tuple[float, ...]:
    """nDCG@10, recall@100, and the median and 99th percentile of the time in milliseconds."""
    gained, recalled, times = [], [], []
    for number, text in asked.items():
        if number not in judged:
            continue
        began = time.perf_counter()
        ids = [hit.id for hit in search(text).hits]
        times.append((time.perf_counter() - began) * 1000)
        gained.append(ndcg(ids, judged[number], 10))
        recalled.append(recall(ids, judged[number], 100))
    return fmean(gained), fmean(recalled), median(times), sorted(times)[int(len(times) * 0.99)]


def ways(replica: Searcher) -> dict[str, Callable[[str], SearchResult]]:
    return {
        "text": lambda query: replica.search(query, k=100, mode="text"),
        "vector": lambda query: replica.search(query, k=100, mode="vector"),
        "hybrid, rrf": lambda query: replica.search(query, k=100),
        "hybrid, linear": lambda query: replica.search(query, k=100, fusion="linear"),
        "hybrid, rrf, k 10": lambda query: replica.search(query, k=10),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=os.environ.get("VECSYNC_CRANFIELD"), help="the collection")
    parser.add_argument("--embedder", default="wordllama", choices=embed.available())
    chosen = parser.parse_args()
    if chosen.folder is None:
        parser.error("name the folder of the collection, or set VECSYNC_CRANFIELD")
    folder = Path(chosen.folder)
    texts, asked, judged = documents(folder), queries(folder), judgements(folder)
    embedder = embed.load(chosen.embedder)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "replica.db"
        took = fill(path, texts, embedder)
        print(f"{len(texts)} documents, {len(asked)} queries, {embedder.name}: {len(texts) / took:.0f} embedded/s")
        print(f"{'way':<20}{'nDCG@10':>9}{'recall@100':>12}{'p50 ms':>9}{'p99 ms':>9}")
        with open_reader(path) as replica:
            for name, search in ways(replica).items():
                quality, found, p50, p99 = measure(asked, judged, search)
                print(f"{name:<20}{quality:>9.3f}{found:>12.3f}{p50:>9.1f}{p99:>9.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
