"""Which commands were meant by words that are none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_MOST = 3
_ALIKE = 0.85  # of whole command lines, which are long: less, and all commands of a noun are alike


def nearest(said: Sequence[str], known: Iterable[tuple[str, ...]]) -> list[str]:
    """said: the words of a command line, whose first ones may be a command's. known: every command's words, those of
    groups too. The commands, nearest first; none where a command is known, or nothing is like it."""
    paths = list(known)
    depth = 0
    while depth < len(said) and tuple(said[: depth + 1]) in paths:
        depth += 1
    group, unknown = tuple(said[:depth]), tuple(said[depth : depth + 2])
    if not unknown or not any(len(path) > depth and path[:depth] == group for path in paths):
        return []
    # What stands elsewhere in the tree: by two words if they are there, by the first otherwise. Then what looks alike.
    elsewhere = [path for path in paths if path[-2:] == unknown] or [path for path in paths if path[-1] == unknown[0]]
    written = {" ".join(path): path for path in paths}
    lines = [" ".join((*group, *unknown[:words])) for words in range(len(unknown), 0, -1)]
    by_line = [written[text] for line in lines for text in get_close_matches(line, written, _MOST, _ALIKE)]
    words = get_close_matches(unknown[0], {path[-1] for path in paths}, _MOST, 0.75)
    paths.sort(key=lambda path: path[:-1] != group)  # beside it first
    by_word = [path for word in words for path in paths if path[-1] == word]
    return [" ".join(path) for path in dict.fromkeys(elsewhere or by_line or by_word)][:_MOST]
