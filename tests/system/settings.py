"""Settings for tests: nothing from the environment but what a test says."""

from __future__ import annotations

from typing import Any

from connector.settings import Settings
from tests.servers.model import SqlDatabase


def source_section(database: SqlDatabase, **overrides: Any) -> dict[str, Any]:
    return {
        "kind": "mysql",
        "url": database.url,
        "password": database.server.password,
        "heartbeat_s": 1,
        "snapshot": "no_data",
        **overrides,
    }


def settings(**sections: Any) -> Settings:
    return Settings(**sections)
