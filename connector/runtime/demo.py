"""The demo, step by step: real text, a source with triggers, a durable log, two replicas, changes, collection.

Each step is a function that does one thing and returns what happened; `connector.cli.demo` tells it to a person. It is
made of the same calls as the commands, and everything is in one directory. It must never write outside of it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import quote

from connector.broker.connect import open_broker
from connector.embed import load as load_embedder
from connector.errors import DataRefused, UsageError
from connector.ingest import IngestReport, Progress, files, ingest
from connector.publish import Progress as Published
from connector.publish import Publisher
from connector.replica import Progress as Applied
from connector.replica import run
from connector.runtime.demo_check import Comparison, compare
from connector.runtime.demo_corpus import Area, write_corpus
from connector.search import sql
from connector.settings import Settings, load, origins
from connector.source.connect import open_source
from connector.upstream import Upstream, UpstreamRow, connect
from connector.upstream.install import install

FOLLOWED = {
    "desk": ("files", "text", "data"),
    "server": ("files", "network", "concurrency", "tools"),
}
"""Replica to the datasets that it follows; one is followed by both."""

CONFIG = {"desk": "vecsync.yaml", "server": "server.yaml"}

_OURS = ("library", "upstream.db", "events.db", *CONFIG.values(), *(f"{name}.db" for name in FOLLOWED))

DROPPED_FILE = "network/ftplib.md"
ARCHIVED = ("files", "tempfile > tempfile.mktemp")
UPDATED = ("files", "shutil > shutil.rmtree")
MOVED = ("text", "struct > struct.pack", "network")
NOTE = "\n\nA note of the demo: this is how a directory is removed together with everything that is in it."
"""Put behind the text of the updated document, with the time, so that every run really changes it."""


@dataclass(frozen=True, slots=True)
class Demo:
    """settings: by replica; source, broker and topics are the same in all."""

    directory: Path
    settings: dict[str, Settings]
    again: bool

    @property
    def any_settings(self) -> Settings:
        return self.settings["desk"]


def prepare(directory: Path, *, fresh: bool = False) -> Demo:
    """Makes the directory and its configuration files. fresh: removes what an earlier demo left in it."""
    if fresh and directory.is_dir():
        remove(directory)
    again = (directory / "upstream.db").exists()
    directory.mkdir(parents=True, exist_ok=True)
    embedder = "wordllama" if find_spec("wordllama") is not None else "hashing"
    settings = {}
    for name in FOLLOWED:
        path = directory / CONFIG[name]
        path.write_text(_config(directory.absolute(), name, embedder), encoding="utf-8")
        settings[name] = load(path)
        _refuse_other_origins(path)
    return Demo(directory, settings, again)


def _refuse_other_origins(path: Path) -> None:
    """The demo makes tables and writes documents: never where a variable that was set for another purpose says."""
    for key, origin in origins(path).items():
        if origin != str(path) and not key.startswith("log."):
            raise UsageError(
                f"{key} is set by {origin}, and would turn the demo to something else",
                hint="Unset it for the demo; nothing was written but the demo's own configuration files.",
            )


def remove(directory: Path) -> None:
    """What the demo made, and nothing else: generations, logs and locks of a database begin with its name."""
    databases = tuple(f"{name.removesuffix('.db')}." for name in _OURS if name.endswith(".db"))
    for path in directory.iterdir():
        if path.name in _OURS or path.name.startswith(databases):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _config(directory: Path, name: str, embedder: str) -> str:
    def quoted(path: Path) -> str:
        return json.dumps(str(path), ensure_ascii=False)

    url = json.dumps("sqlite:///" + quote(str(directory / "upstream.db")))
    other = " and ".join(CONFIG[other] for other in FOLLOWED if other != name)
    return f"""\
# Written by `vecsync demo`, which writes it anew each time. {other} is for the other replica of the same log.
source:
  kind: sqlite
  url: {url}
broker:
  kind: embedded
  path: {quoted(directory / "events.db")}
topics:
  prefix: demo
replica:
  path: {quoted(directory / f"{name}.db")}
  group: {name}
  datasets: {json.dumps(FOLLOWED[name])}
ingest:
  embedder: {embedder}
log:
  level: warning
"""


def write_text(demo: Demo) -> list[Area]:
    return write_corpus(demo.directory / "library")


def set_up_source(demo: Demo) -> int:
    """Number of statements that were needed."""
    return len(install(demo.any_settings.source))


def ingest_areas(demo: Demo, areas: Iterable[str], progress: Progress) -> list[IngestReport]:
    """One dataset an area. Raises DataRefused when a file could not be ingested: the demo's own files can be."""
    settings = demo.any_settings
    embedder = load_embedder(settings.ingest.embedder)
    upstream = connect(settings.source)
    try:
        reports = []
        for area in areas:
            corpus = files(demo.directory / "library" / area)
            description = f"Python {sys.version_info.major}.{sys.version_info.minor}, standard library: {area}"
            report = ingest(
                upstream,
                area,
                corpus,
                embedder,
                settings.ingest,
                retire="delete",
                description=description,
                progress=progress,
            )
            if report.errors:
                raise DataRefused(f"{report.errors[0].path} {report.errors[0].reason}")
            reports.append(report)
        return reports
    finally:
        upstream.close()


def publish(demo: Demo, stop: Event) -> Published:
    """Everything up to the source's present head."""
    settings = demo.any_settings
    source = open_source(settings)
    try:
        return Publisher(source, open_broker(settings), settings, stop).run(until_current=True)
    finally:
        source.close()


def apply(demo: Demo, name: str, stop: Event) -> Applied:
    """Everything that the topics hold, to one of the replicas."""
    settings = demo.settings[name]
    return run(settings, open_broker(settings), stop, until_current=True)


def check(demo: Demo, name: str) -> Comparison:
    return compare(demo.directory / "upstream.db", demo.settings[name].replica.path, FOLLOWED[name])


class Changed(NamedTuple):
    """One of the changes at the source. ids: of the documents, in `dataset` (and in `to`, where they moved)."""

    what: str
    dataset: str
    title: str
    ids: tuple[str, ...]
    to: str | None = None


def put_back(demo: Demo) -> None:
    """Undoes the move of an earlier run; ingest puts everything else back, because it differs from the files."""
    upstream = connect(demo.any_settings.source)
    try:
        moved = [row.id for row in upstream.listing(MOVED[2]) if row.id.startswith("struct.md#")]
        upstream.delete(MOVED[2], moved)
    finally:
        upstream.close()


def change_source(demo: Demo, progress: Progress) -> list[Changed]:
    """An update, an archiving, a move to another dataset, and a file whose documents are deleted with it."""
    upstream = connect(demo.any_settings.source)
    try:
        changes = [_update(upstream, demo), _archive(upstream), _move(upstream)]
    finally:
        upstream.close()
    (demo.directory / "library" / DROPPED_FILE).unlink()
    area, _, name = DROPPED_FILE.partition("/")
    (report,) = ingest_areas(demo, [area], progress)
    changes.append(Changed("deleted", area, f"{name} ({len(report.retired_ids)} documents)", report.retired_ids))
    return changes


def _update(upstream: Upstream, demo: Demo) -> Changed:
    dataset, title = UPDATED
    id = _id_of(upstream, dataset, title)
    row = upstream.get(dataset, id)
    assert row is not None, "it was just listed"
    content = f"{(row.content or '').partition(NOTE)[0]}{NOTE} (written {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC)"
    embedder = load_embedder(demo.any_settings.ingest.embedder)
    (vector,) = embedder.embed([content])
    upstream.upsert(dataset, [UpstreamRow(id, content, row.meta, vector, embedder.name)])
    return Changed("updated", dataset, _short(title), (id,))


def _archive(upstream: Upstream) -> Changed:
    dataset, title = ARCHIVED
    id = _id_of(upstream, dataset, title)
    upstream.set_archived(dataset, [id], True)
    return Changed("archived", dataset, _short(title), (id,))


def _move(upstream: Upstream) -> Changed:
    dataset, title, to = MOVED
    id = _id_of(upstream, dataset, title)
    row = upstream.get(dataset, id)
    assert row is not None, "it was just listed"
    with upstream.transaction():
        upstream.delete(dataset, [id])
        upstream.upsert(to, [UpstreamRow(id, row.content, row.meta, row.embedding, row.embedding_model)])
    return Changed("moved", dataset, _short(title), (id,), to)


def _id_of(upstream: Upstream, dataset: str, title: str) -> str:
    """The first chunk whose title begins so. Ids count the chunks of a file, and differ from one Python to another."""
    for row in upstream.listing(dataset):
        meta: Any = json.loads(row.meta or "{}")
        found = str(meta.get("title", ""))
        if found == title or found.startswith(f"{title}("):
            return row.id
    raise UsageError(f"dataset {dataset} has no document called {title}", hint="Begin anew: vecsync demo --fresh.")


def _short(title: str) -> str:
    return title.rpartition(" > ")[2]


def view_of(demo: Demo, name: str, change: Changed) -> str:
    """How a replica shows the first document of a change, in a few words."""
    followed = FOLLOWED[name]
    if change.dataset not in followed and change.to not in followed:
        return "does not follow it"
    places = []
    for dataset in (change.dataset, change.to):
        if dataset in followed:
            with sql(
                demo.settings[name].replica.path,
                "SELECT archived, content FROM shadow_vec_docs WHERE dataset_id = ? AND id = ?",
                (dataset, change.ids[0]),
            ) as found:
                row = next(found.rows, None)
            if row is None:
                places.append("gone")
            elif row[0]:
                places.append("archived")
            else:
                places.append("with its new text" if NOTE in str(row[1]) else "there")
    return " and ".join(places)


class Collection(NamedTuple):
    """Since the replica was made."""

    collected: int
    waiting: int
    freed_bytes: int
    file_bytes: int


def collected(demo: Demo, name: str) -> Collection:
    path = demo.settings[name].replica.path
    with sql(path, "SELECT collected, (SELECT count(*) FROM gc_queue), freed_bytes FROM replica_state") as found:
        row = [int(value or 0) for value in next(found.rows)]
    return Collection(row[0], row[1], row[2], path.stat().st_size)
