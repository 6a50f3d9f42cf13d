"""The recorded position, for the commands that print and move it."""

from __future__ import annotations

from connector.errors import DataRefused
from connector.model import PublishedPosition, SourcePosition
from connector.publish import recorded_position, set_position, skip_transaction
from connector.registry import open_broker
from connector.settings import Settings
from connector.source.connect import open_source


def show_position(settings: Settings) -> PublishedPosition:
    """Raises DataRefused when there is none."""
    found = recorded_position(open_broker(settings), settings.topics.prefix)
    if found is None:
        raise DataRefused(
            f"nothing is recorded for prefix {settings.topics.prefix!r}", hint="Run `vecsync capture run` first."
        )
    return found


def move_position(settings: Settings, where: str, *, dry_run: bool) -> tuple[SourcePosition, SourcePosition]:
    """As `set_position`."""
    source = open_source(settings)
    try:
        return set_position(source, open_broker(settings), settings, where, dry_run=dry_run)
    finally:
        source.close()


def leave_out(settings: Settings, gtid: str, *, dry_run: bool) -> SourcePosition:
    """As `skip_transaction`."""
    source = open_source(settings)
    try:
        return skip_transaction(source, open_broker(settings), settings, gtid, dry_run=dry_run)
    finally:
        source.close()
