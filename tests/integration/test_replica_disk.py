"""A replica whose disk fails, or whose process dies in mid-write: the error is said, and nothing half stands."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from connector.broker.embedded import EmbeddedBroker
from connector.replica import digests, open_reader
from tests.integration.test_replica_follow import PARTITIONS, Log, catch_up, configured
from tests.integration.test_replica_kill import check_file, workload

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="faults are injected with strace: apt-get install strace"
)

# Only what is written to the replica fails: the log on the same disk is read, and its offsets are written at the end.
APPLIER = """
import sys, threading
from pathlib import Path
from connector.broker.embedded import EmbeddedBroker
from connector.errors import VecsyncError
from connector.replica import run
from connector.settings import Settings
log, path, partitions = sys.argv[1:]
settings = Settings(topics={"prefix": "t", "partitions": int(partitions)}, replica={"path": path, "batch_records": 40})
try:
    run(settings, EmbeddedBroker(Path(log)), threading.Event(), until_current=True)
except VecsyncError as error:
    print(type(error).__name__, error, "|", error.hint)
    sys.exit(error.exit_code)
"""


def applied_under(fault: str, log: Path, replica: Path) -> subprocess.CompletedProcess[str]:
    """fault: what strace does to writes at a place in the file that are made to the replica or its log."""
    first = replica.with_name("replica.g1.db")
    only = [option for path in (first, Path(f"{first}-wal")) for option in ("-P", str(path))]
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        *only,
        "-e",
        "trace=pwrite64",
        "-e",
        f"inject=pwrite64:{fault}",
    ]
    return subprocess.run(
        [*command, sys.executable, "-c", APPLIER, str(log), str(replica), str(PARTITIONS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        ("error=ENOSPC:when=700+", 7, "no space is left"),
        ("error=EIO:when=700+", 7, "cannot be read or written"),
        ("error=EIO:when=900", 7, "cannot be read or written"),
        ("signal=KILL:when=600", -9, ""),
        ("signal=KILL:when=1100", -9, ""),
    ],
)
def test_a_failing_write(tmp_path: Path, fault: str, code: int, says: str) -> None:
    log = Log(EmbeddedBroker(tmp_path / "events.db"))
    log.publish(*workload(random.Random(3), 1500))
    settings, other = configured(tmp_path), configured(tmp_path, "untouched.db")
    found = applied_under(fault, tmp_path / "events.db", settings.replica.path)
    assert found.returncode in (code, 128 - code), found.stdout + found.stderr
    assert says in found.stdout
    check_file(settings.replica.path)
    done = catch_up(settings, log)
    assert done.records > 0  # it had not come to the end
    catch_up(other, log)
    first, second = open_reader(settings.replica.path), open_reader(other.replica.path)
    assert digests(first) == digests(second)
    first.close()
    second.close()
