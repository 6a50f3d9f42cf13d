"""Files into documents of the source: found, cut into chunks, embedded, written; and again, only what changed.

    ingest(connect(settings.source), "docs", files(Path("docs")), load("hashing"), settings.ingest)

Writes through `connector.upstream` only: what is written there reaches replicas as any other change does.
"""

from connector.ingest.chunks import Chunk
from connector.ingest.corpus import Corpus, Remark, Unit, files
from connector.ingest.execute import Changed, IngestReport, Phase, Progress, Retire, ingest
from connector.ingest.formats import SUFFIXES

__all__ = [
    "SUFFIXES",
    "Changed",
    "Chunk",
    "Corpus",
    "IngestReport",
    "Phase",
    "Progress",
    "Remark",
    "Retire",
    "Unit",
    "files",
    "ingest",
]
