"""A coverage-guided campaign against the decoder: `python -m tests.fuzz.binlog --seconds 600`.

Any bytes at all, without checksums, may raise an error of ours; anything else, an input that takes longer than twenty
seconds, or one that takes the process over a gigabyte ends the campaign with the input in a file, and with exit code 1.
Needs atheris: `pip install --require-hashes -r requirements/fuzz.txt`.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from connector.errors import VecsyncError
from tests.servers.model import ServerUnavailable

# What imports the decoder is imported inside functions: the fuzzer has to see it imported.
_DATA = Path(__file__).parents[1] / "unit/binlog/data"
_ONE_INPUT_S, _MEMORY_MB, _LONGEST = 20, 1024, 8192
_LOG, _JSON, _SQL = b"\xfe", b"J", b"Q"


def seeds() -> Iterator[bytes]:
    """Binlogs of servers, whole and as a compressed transaction would hold them; JSON values; statements."""
    from tests.conformance.binlogs.saved import COLLECTIONS, directory, expectations
    from tests.fuzz.logs import in_payloads, unchecked

    paths = sorted(_DATA.glob("*.binlog"))
    for collection in COLLECTIONS:
        with contextlib.suppress(ServerUnavailable):
            there = directory(collection)
            paths += [there / name for name in expectations(collection) if (there / name).exists()]
    for path in paths:
        content = path.read_bytes()
        if len(content) > _LONGEST:
            continue
        with contextlib.suppress(VecsyncError):
            yield unchecked(content)
            yield in_payloads(content)
    for raw in ("020100060005020000", "00010013000b0001000c0c006b056162636465", "0a", "05ffff", "0b182d4454fb210940"):
        yield _JSON + bytes.fromhex(raw)
    for path in sorted(_DATA.glob("*.sql")):
        yield from (_SQL + line.encode() for line in path.read_text().splitlines())


def campaign(corpus: Path, seconds: int) -> None:
    """In a process of its own: the fuzzer ends it."""
    import atheris  # no part of the locked environment

    with atheris.instrument_imports(include=["connector.source.binlog"]):
        from connector.source.binlog.json_text import json_text
        from connector.source.binlog.query import Query
        from connector.source.binlog.statements import classify
        from tests.fuzz.logs import decoded, repaired

    def one(content: bytes) -> None:
        kind, rest = content[:1], content[1:]
        try:
            if kind == _LOG:
                log = repaired(content)
                for every in (0, 1, 2):
                    decoded(log, every=every)
            elif kind == _JSON:
                json_text(rest)
            elif kind == _SQL:
                classify(Query("app", rest.decode("utf-8", "surrogateescape"), False, False, True, 0))
        except VecsyncError:
            pass
        except (ValueError, ArithmeticError, IndexError):
            if kind != _JSON:  # whoever decodes a row makes an error of these that names the column
                raise

    limits = [f"-max_total_time={seconds}", f"-timeout={_ONE_INPUT_S}", f"-rss_limit_mb={_MEMORY_MB}"]
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            *limits,
            f"-max_len={_LONGEST}",
            "-print_final_stats=1",
            f"-artifact_prefix={tempfile.gettempdir()}/",
        ],
        one,
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.corpus is not None:
        campaign(arguments.corpus, arguments.seconds)
        return 0
    with tempfile.TemporaryDirectory(prefix="vecsync-fuzz-") as name:
        corpus = Path(name)
        for number, seed in enumerate(seeds()):
            (corpus / str(number)).write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz.binlog", f"--seconds={arguments.seconds}", f"--corpus={corpus}"]
        return subprocess.run(command, check=False).returncode and 1


if __name__ == "__main__":
    sys.exit(main())
