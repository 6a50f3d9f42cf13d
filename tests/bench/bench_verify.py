"""Comparing a replica with its source, beside what made it: seconds, CPU and the most memory of each command.

    python -m tests.bench.bench_verify [rows] [mariadb|mysql] [runs]

The log is the embedded one. Nothing changes meanwhile, and no connection is encrypted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.load import insert, prepare, yardstick
from tests.servers.local import LocalProvider
from tests.system.processes import COMMAND
from tests.system.site import Site, embedded_log, sql_source

_COMMANDS = (("capture", "run", "--until-current"), ("replica", "run", "--until-current"), ("verify",))


def measured(site: Site, *arguments: str) -> str:
    began = time.perf_counter()
    command = [*COMMAND, "--config", str(site.config), *arguments]
    with subprocess.Popen(
        command, env=site.env, cwd=site.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"vecsync {' '.join(arguments)} ended with {process.returncode}"
    seconds = time.perf_counter() - began
    name = " ".join(arguments[:2])
    return f"{name:15} {seconds:6.1f} s   {used.ru_utime + used.ru_stime:6.1f} s of CPU   {used.ru_maxrss >> 10:4} MB"


def main(rows: int = 80_000, kind: str = "mysql", runs: int = 3) -> None:
    print(yardstick())
    print(f"{kind}, {rows:,} rows of about 2.1 KB (384-d); start-up of each command included")
    with LocalProvider().sql(kind) as server, tempfile.TemporaryDirectory() as name:  # type: ignore[arg-type]
        database = prepare(server, "bench")
        insert(database, rows)
        for run in range(runs):
            directory = Path(name) / str(run)
            directory.mkdir()
            source = sql_source(database, plaintext=True)
            site = Site(directory, {**source, **embedded_log(directory, 8)}, server.password)
            for arguments in _COMMANDS:
                print(measured(site, *arguments))


if __name__ == "__main__":
    rows, kind, runs = (*sys.argv[1:], *("80000", "mysql", "3")[len(sys.argv) - 1 :])
    main(int(rows), kind, int(runs))
