"""The mark of a position: above every change that a stream yielded up to it, below every later one. Pure."""

from __future__ import annotations

from connector.model import CommitOrder, SourcePosition
from connector.source.binlog_stream import file_number
from connector.source.shadow_log_entries import mark_after


def mark_of(at: SourcePosition) -> CommitOrder:
    if at.file:
        return CommitOrder(at.epoch, file_number(at.file), at.position, 0)
    if at.of_shadow_log:  # between two looks
        return CommitOrder(at.epoch, at.dataset_log_seq, at.position + 1, 0)
    return mark_after(at.epoch, at.dataset_log_seq)
