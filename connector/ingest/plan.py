"""What has to change in a dataset so that it holds a corpus: the difference, as values. Pure.

A document is ours when its `meta` carries what `chunk_meta` writes; it is up to date when all of that and the model are
the same. Other keys that somebody added to `meta` are neither looked at nor a reason to write.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from connector.ingest.chunks import Chunk, chunk_id, chunk_meta
from connector.ingest.corpus import Corpus
from connector.upstream import ListedRow

_KEYS = ("path", "root", "md5", "start", "end", "title", "tags")


class Known(NamedTuple):
    """A document as it stands upstream. fingerprint, root, path: None for one that was not ingested."""

    fingerprint: bytes | None
    root: str | None
    path: str | None
    archived: bool


class Write(NamedTuple):
    """A document to be written. replaces: an id that the database may hold equal to this one, to be deleted first."""

    id: str
    path: str
    chunk: Chunk
    meta: Mapping[str, object]
    replaces: str | None


class UnitPlan(NamedTuple):
    """What one unit needs. conflicts: ids that stand upstream and are not ours to overwrite."""

    new: tuple[Write, ...]
    changed: tuple[Write, ...]
    reactivate: tuple[str, ...]
    unchanged: int
    conflicts: tuple[str, ...]

    @property
    def idle(self) -> bool:
        return not (self.new or self.changed or self.reactivate)


class Standing:
    """What a dataset holds, as far as a plan needs to know; from one look at it."""

    def __init__(self, rows: Iterable[ListedRow]) -> None:
        self.documents: dict[str, Known] = {}
        self._spelling: dict[str, str] = {}
        for row in rows:
            self.documents[row.id] = known(row)
            self._spelling[folded(row.id)] = row.id

    def other_spelling(self, id: str) -> str | None:
        """An id that stands, differs from this one, and may be the same to a database that ignores case and accents."""
        found = self._spelling.get(folded(id))
        return found if found != id else None


def known(row: ListedRow) -> Known:
    try:
        meta = json.loads(row.meta) if row.meta else None
    except ValueError:
        meta = None
    if not isinstance(meta, dict) or any(key not in meta for key in _KEYS) or not isinstance(meta["path"], str):
        return Known(None, None, None, row.archived)
    return Known(_fingerprint(meta, row.embedding_model), str(meta["root"]), meta["path"], row.archived)


def unit_plan(path: str, chunks: Iterable[Chunk], standing: Standing, root: str, model: str) -> UnitPlan:
    """The difference between a unit as it is now and what stands. model: that new vectors will carry."""
    new: list[Write] = []
    changed: list[Write] = []
    reactivate: list[str] = []
    conflicts: list[str] = []
    unchanged = 0
    for number, chunk in enumerate(chunks):
        id = chunk_id(path, number)
        meta = chunk_meta(chunk, path, root)
        replaces = None
        before = standing.documents.get(id)
        if before is None and (replaces := standing.other_spelling(id)) is not None:
            before = standing.documents[replaces]
        if before is None:
            new.append(Write(id, path, chunk, meta, None))
        elif before.root != root:
            conflicts.append(id)
        elif replaces is not None or before.fingerprint != _fingerprint(meta, model):
            changed.append(Write(id, path, chunk, meta, replaces))
        elif before.archived:
            reactivate.append(id)
        else:
            unchanged += 1
    return UnitPlan(tuple(new), tuple(changed), tuple(reactivate), unchanged, tuple(conflicts))


def to_retire(
    standing: Standing, corpus: Corpus, counts: Mapping[str, int], unknown: Collection[str], *, archived_too: bool
) -> list[str]:
    """Ids of what disappeared: of this root, in the corpus's scope, and not among its chunks.

    counts: chunks by path, of the units that were read. unknown: paths (with a "/" at the end: directories) that
    could not be read; whatever is there stays.
    """
    # By folded path: the chunks of a file under a new spelling replace those of the old one, number by number, and
    # to the database an id in the old spelling may be the very document that was just written.
    here = {folded(path): count for path, count in counts.items()}
    directories = tuple(path for path in unknown if path.endswith("/"))
    gone = []
    for id, document in standing.documents.items():
        path = document.path
        if path is None or document.root != corpus.root or not corpus.covers(path):
            continue
        if path in unknown or path.startswith(directories) or "./" in directories:
            continue
        number = id.rpartition("#")[2]
        if number.isdecimal() and int(number) < here.get(folded(path), 0):
            continue
        if archived_too or not document.archived:
            gone.append(id)
    return gone


def folded(text: str) -> str:
    """The same for texts that a database may hold equal: without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _fingerprint(meta: Mapping[str, object], model: str | None) -> bytes:
    seen = json.dumps([model, *(meta[key] for key in _KEYS)], ensure_ascii=True)
    return hashlib.blake2b(seen.encode(), digest_size=16).digest()
