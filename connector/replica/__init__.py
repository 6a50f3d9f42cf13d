"""From the topics to an exact SQLite replica. It knows events, never the source they came from.

A replica is a SQLite file; `schema` says what is in it. `run` keeps it up to date, `status` and `wait` look at it,
`replay` builds it anew, `export` copies it, `collect` erases what deleted vectors left behind.
"""

from connector.replica.apply import Applied
from connector.replica.connection import load_vectors, open_reader
from connector.replica.consume import Progress
from connector.replica.digest import digests
from connector.replica.gc import Collected
from connector.replica.replay import export, replay
from connector.replica.run import collect, run
from connector.replica.status import DatasetStatus, PartitionStatus, Status, status, wait

__all__ = [
    "Applied",
    "Collected",
    "DatasetStatus",
    "PartitionStatus",
    "Progress",
    "Status",
    "collect",
    "digests",
    "export",
    "load_vectors",
    "open_reader",
    "replay",
    "run",
    "status",
    "wait",
]
