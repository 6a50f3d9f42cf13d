"""A source that takes a connection and then says nothing."""

from __future__ import annotations

import socket
import time

import pytest

from connector.errors import Unreachable, VecsyncError
from connector.settings import SourceSettings
from connector.upstream.mysql import open_connection
from tests.servers.model import SqlDatabase


@pytest.mark.timeout(60)
def test_a_server_that_never_greets_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port, began = silent.getsockname()[1], time.monotonic()
        with pytest.raises(VecsyncError) as caught:
            open_connection(SourceSettings(url=f"mysql://nobody@127.0.0.1:{port}/app", connect_timeout_s=1))
    assert caught.value.retriable
    assert time.monotonic() - began < 30


def test_a_statement_may_take_longer_than_connecting(sql_database: SqlDatabase) -> None:
    server = sql_database.server
    settings = SourceSettings.model_validate(
        {"url": sql_database.url, "password": server.password, "connect_timeout_s": 1}
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = open_connection(settings)
            break
        except Unreachable:  # a busy machine takes longer than that to connect; it is not what is tried here
            assert time.monotonic() < deadline
    with connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT SLEEP(2.5)") == 1
