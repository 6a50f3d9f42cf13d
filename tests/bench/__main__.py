"""Every benchmark in turn, each in a process of its own: `make bench`, or `python -m tests.bench [rows]`.

It takes about fifteen minutes on two cores. Stop other work first: figures of a busy machine say nothing.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil

BENCHES = ["bench_capture", "bench_apply", "bench_end_to_end", "bench_memory", "bench_verify"]


def main() -> None:
    memory = psutil.virtual_memory().total / 2**30
    print(f"{platform.platform()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}")
    failed = []
    for name in BENCHES:
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *sys.argv[1:]], check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        sys.exit(f"did not come to an end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
