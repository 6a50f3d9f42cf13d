"""How the C library's allocator deals with rows of many megabytes."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD in glibc's malloc.h
_LARGE_BYTES = 2**20


def give_back_large_blocks() -> None:
    """Blocks of a megabyte and more go back to the system as soon as they are freed. By itself glibc stops doing that
    when the first one was freed (mallopt(3), "dynamic mmap threshold"), and the holes between rows of 16 MB took some
    40 MB more. Other C libraries are left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
