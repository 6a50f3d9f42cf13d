"""The configured source."""

from __future__ import annotations

from connector.settings import Settings
from connector.source import Source


def open_source(settings: Settings) -> Source:
    """Nothing is connected before it is used. Raises ConfigurationError."""
    if settings.source.kind == "sqlite":
        from connector.source.shadow_log import SqliteSource

        return SqliteSource(settings)
    if settings.source.reader == "shadow_log":
        from connector.source.log_source import LogSource

        return LogSource(settings)
    from connector.source.binlog_source import BinlogSource

    return BinlogSource(settings)
