"""The `Provider` whose servers are processes of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from tests.servers.local_kafka import local_kafka
from tests.servers.local_sql import local_sql_server
from tests.servers.model import KafkaServer, Options, SqlKind, SqlServer


class LocalProvider:
    """Fast, and needs no container engine: what the suites run on. java_options: of the nodes of Kafka."""

    def __init__(self, java_options: Sequence[str] = ()) -> None:
        self._java_options = java_options

    def sql(self, kind: SqlKind, options: Options | None = None) -> AbstractContextManager[SqlServer]:
        return local_sql_server(kind, options)

    def kafka(self, nodes: int = 1, options: Options | None = None) -> AbstractContextManager[KafkaServer]:
        return local_kafka(nodes, options, java_options=self._java_options)
