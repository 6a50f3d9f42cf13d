"""Carries a plan out: embeds what is new or changed, writes it in transactions, retires what disappeared.

Reads the corpus twice: once to know what there is to do, and then again only the units that changed, so that memory
holds no more than a batch. May be killed anywhere: each transaction leaves whole documents, and the next run finds what
is still missing. Nothing is retired before everything new is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from connector.embed import Embedder
from connector.errors import DataRefused, UsageError
from connector.ingest.chunks import embedded_text, meta_text
from connector.ingest.corpus import Corpus, Remark, Unit
from connector.ingest.plan import Standing, UnitPlan, Write, folded, to_retire, unit_plan
from connector.settings import IngestSettings
from connector.upstream import Upstream, UpstreamRow

Retire = Literal["archive", "delete"]
Phase = Literal["read", "write", "retire"]


class Progress(Protocol):
    """Told how far the work is. Phases follow one another: `read` counts units, the others documents."""

    def begin(self, phase: Phase, total: int) -> None: ...

    def advance(self, count: int) -> None: ...


class Silent:
    """Fulfils `Progress`, and says nothing."""

    def begin(self, phase: Phase, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Changed:
    """What a unit needs or got, in documents."""

    path: str
    new: int
    changed: int
    reactivated: int


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What was done, or would be done (`dry_run`). Counts are documents unless said.

    units: that were read. other_roots: documents in the dataset that were ingested from elsewhere or written by
    somebody else, and are left alone. errors: what should have been ingested and was not.
    """

    dataset_id: str
    model: str
    dry_run: bool
    retire: Retire
    units: int
    new: int
    changed: int
    reactivated: int
    unchanged: int
    retired: int
    other_roots: int
    details: tuple[Changed, ...]
    retired_ids: tuple[str, ...]
    skipped: tuple[Remark, ...]
    errors: tuple[Remark, ...]

    @property
    def complete(self) -> bool:
        return not self.errors


def ingest(
    upstream: Upstream,
    dataset_id: str,
    corpus: Corpus,
    embedder: Embedder,
    settings: IngestSettings,
    *,
    retire: Retire = "archive",
    dry_run: bool = False,
    description: str | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Makes the dataset hold the corpus. A unit that cannot be read or is refused by the database is an error in the
    report and does not stop the rest; what stands of it is left alone.

    Raises UsageError, before anything is written, when an id belongs to a document that is not ours; and what
    `Upstream` raises, after which the same call goes on where this one ended.
    """
    work = _Work(upstream, dataset_id, corpus, embedder, settings, progress or Silent())
    work.plan()
    missing = to_retire(work.standing, corpus, work.counts, work.unread(), archived_too=retire == "delete")
    if not dry_run:
        uri = corpus.uri if dataset_id not in upstream.datasets() else None
        upstream.ensure_dataset(dataset_id, description, uri)
        work.write()
        missing = [id for id in missing if work.standing.documents[id].path not in work.failed]
        work.retire(missing, retire)
    details = [needed for path, needed in work.needed.items() if path not in work.failed]
    return IngestReport(
        dataset_id=dataset_id,
        model=embedder.name,
        dry_run=dry_run,
        retire=retire,
        units=len(work.counts),
        new=sum(unit.new for unit in details),
        changed=sum(unit.changed for unit in details),
        reactivated=sum(unit.reactivated for unit in details),
        unchanged=work.unchanged,
        retired=len(missing),
        other_roots=sum(document.root != corpus.root for document in work.standing.documents.values()),
        details=tuple(details),
        retired_ids=tuple(missing),
        skipped=corpus.skipped,
        errors=tuple(work.errors),
    )


class _Work:
    def __init__(
        self,
        upstream: Upstream,
        dataset_id: str,
        corpus: Corpus,
        embedder: Embedder,
        settings: IngestSettings,
        progress: Progress,
    ) -> None:
        self._upstream, self._dataset, self._corpus = upstream, dataset_id, corpus
        self._embedder, self._settings, self._progress = embedder, settings, progress
        self.standing = Standing(upstream.listing(dataset_id))
        self.errors = list(corpus.errors)
        self.failed: set[str] = set()
        self.counts: dict[str, int] = {}
        self.needed: dict[str, Changed] = {}
        self.unchanged = 0

    def unread(self) -> set[str]:
        return {remark.path for remark in self._corpus.errors} | self.failed

    def plan(self) -> None:
        """Finds out what each unit needs, and keeps only the counts. Raises UsageError for ids that are not ours."""
        self._progress.begin("read", len(self._corpus.units))
        spelling: dict[str, str] = {}
        conflicts: list[str] = []
        for unit in self._corpus.units:
            twin = spelling.setdefault(folded(unit.path), unit.path)
            if twin != unit.path:
                # A database that ignores case would keep one document for both, and change it with every run.
                self._fail(unit.path, f"differs from {twin} only by case or accents, which databases may ignore")
            elif (plan := self._plan(unit)) is not None:
                self.unchanged += plan.unchanged
                conflicts.extend(plan.conflicts)
                if not plan.idle:
                    self.needed[unit.path] = _changed(unit, plan)
            self._progress.advance(1)
        if conflicts:
            root = self.standing.documents[conflicts[0]].root
            whose = "was not written by ingest" if root is None else f"was ingested from another root, {root!r}"
            raise UsageError(
                f"{conflicts[0]!r} in dataset {self._dataset!r} {whose} ({len(conflicts)} such documents)",
                hint="Use another dataset; or, if it is the same root under a new name, give that name as the label.",
            )

    def _plan(self, unit: Unit) -> UnitPlan | None:
        try:
            chunks = unit.load(self._settings.chunk_chars)
        except OSError as error:
            self._fail(unit.path, f"cannot be read: {error.strerror or error}")
            return None
        except ValueError as error:
            self._fail(unit.path, str(error))
            return None
        self.counts.setdefault(unit.path, len(chunks))
        return unit_plan(unit.path, chunks, self.standing, self._corpus.root, self._embedder.name)

    def _fail(self, path: str, reason: str) -> None:
        self.errors.append(Remark(path, reason))
        self.failed.add(path)
        self.counts.pop(path, None)

    def write(self) -> None:
        total = sum(needed.new + needed.changed + needed.reactivated for needed in self.needed.values())
        self._progress.begin("write", total)
        batch: list[Write] = []
        reactivate: list[str] = []
        for unit in self._corpus.units:
            if unit.path not in self.needed or (plan := self._plan(unit)) is None:
                continue
            if plan.conflicts:  # it grew over a document that is not ours
                self._fail(unit.path, f"{plan.conflicts[0]} was not written by ingest, or comes from another root")
                continue
            self.needed[unit.path] = _changed(unit, plan)  # the file may have changed since it was planned
            reactivate.extend(plan.reactivate)
            for write in (*plan.new, *plan.changed):
                batch.append(write)
                if len(batch) >= self._settings.batch_rows:
                    self._write_batch(batch)
                    batch = []
        self._write_batch(batch)
        for ids in _batches(reactivate, self._settings.batch_rows):
            self._upstream.set_archived(self._dataset, ids, False)
            self._progress.advance(len(ids))

    def _write_batch(self, batch: Sequence[Write]) -> None:
        if not batch:
            return
        vectors = self._embedder.embed([embedded_text(write.chunk) for write in batch])
        rows = [
            UpstreamRow(write.id, write.chunk.content, meta_text(write.meta), vector, self._embedder.name)
            for write, vector in zip(batch, vectors, strict=True)
        ]
        try:
            self._upsert(batch, rows)
        except DataRefused:
            # One row spoils a whole transaction: each unit alone shows whose it is, and saves the others.
            for path in dict.fromkeys(write.path for write in batch):
                mine = [i for i, write in enumerate(batch) if write.path == path]
                try:
                    self._upsert([batch[i] for i in mine], [rows[i] for i in mine])
                except DataRefused as error:
                    self._fail(path, str(error))
        self._progress.advance(len(batch))

    def _upsert(self, batch: Sequence[Write], rows: Sequence[UpstreamRow]) -> None:
        with self._upstream.transaction():
            replaced = [write.replaces for write in batch if write.replaces is not None]
            if replaced:
                self._upstream.delete(self._dataset, replaced)
            self._upstream.upsert(self._dataset, rows)

    def retire(self, ids: Sequence[str], how: Retire) -> None:
        self._progress.begin("retire", len(ids))
        for part in _batches(ids, self._settings.batch_rows):
            if how == "delete":
                self._upstream.delete(self._dataset, part)
            else:
                self._upstream.set_archived(self._dataset, part, True)
            self._progress.advance(len(part))


def _changed(unit: Unit, plan: UnitPlan) -> Changed:
    return Changed(unit.path, len(plan.new), len(plan.changed), len(plan.reactivate))


def _batches(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
