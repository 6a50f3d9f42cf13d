"""Python's search for reference cycles, put off while a batch is worked out.

A batch is tens of thousands of small tuples that live until it is committed and are in no cycle. Made one after another
they set off a search every few hundred of them, which takes a quarter of the time of decoding and finds nothing. What
is freed by counting references is freed as ever.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def put_off() -> Iterator[None]:
    """Until the end of the block. For work that is bounded; it counts for the whole process."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
