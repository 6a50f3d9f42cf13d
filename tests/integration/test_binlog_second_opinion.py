"""The same live binlog by our reader and by mysql-replication: the same rows, change for change."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from connector.model import DocChange, Op
from connector.source.binlog_source import BinlogSource
from tests.servers.model import SqlDatabase
from tests.system.packed import unpacked
from tests.system.schema import create_tables
from tests.system.settings import settings, source_section
from tests.system.workload import Session, Tally, create_datasets

COLUMNS = ("dataset_id", "id", "content", "meta", "embedding", "embedding_model", "scn", "archived")
Row = tuple[Any, ...]


def plain(values: dict[str, Any]) -> Row:
    """It takes bytes that happen to be UTF-8 for text, in binary columns too."""
    embedding = values["embedding"]
    values = {**values, "embedding": embedding.encode() if isinstance(embedding, str) else embedding}
    return tuple(values[name] for name in COLUMNS)


def theirs(database: SqlDatabase, file: str, position: int) -> list[Row]:
    server = database.server
    reader = BinLogStreamReader(
        connection_settings={
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
        },
        server_id=4712,
        log_file=file,
        log_pos=position,
        resume_stream=True,
        only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent],
        only_schemas=[database.name],
        only_tables=["shadow_vec_docs"],
        enable_logging=False,
    )
    found: list[Row] = []
    try:
        for event in reader:
            for row in event.rows:
                if isinstance(event, UpdateRowsEvent):
                    old, new = row["before_values"], row["after_values"]
                    if (old["dataset_id"], old["id"]) != (new["dataset_id"], new["id"]):
                        found += [("d", old["dataset_id"], old["id"]), ("c", *plain(new))]
                    else:
                        found.append(("u", *plain(new)))
                elif isinstance(event, WriteRowsEvent):
                    found.append(("c", *plain(row["values"])))
                else:
                    found.append(("d", row["values"]["dataset_id"], row["values"]["id"]))
    finally:
        reader.close()
    return found


def ours(source: BinlogSource, start: Any) -> list[Row]:
    stream, head, found = source.stream(start), source.head(), list[Row]()
    try:
        while not stream.reached(head):
            transaction = stream.next(0.2)
            for change in unpacked(transaction.changes) if transaction is not None else ():
                if not isinstance(change, DocChange):
                    continue
                if change.op is Op.DELETE:
                    found.append(("d", change.key.dataset_id, change.key.id))
                    continue
                row = change.after
                assert row is not None
                values = (row.content, row.meta, row.embedding, row.embedding_model, row.scn, int(row.archived))
                found.append((change.op.value, change.key.dataset_id, change.key.id, *values))
    finally:
        stream.close()
    return found


# mysql-replication calls PyMySQL by names that are going out of use.
@pytest.mark.filterwarnings("ignore:'(db|passwd)' is deprecated:DeprecationWarning")
def test_change_for_change(sql_database: SqlDatabase) -> None:
    create_tables(sql_database)
    create_datasets(sql_database.server, sql_database.name)
    source = BinlogSource(settings(source=source_section(sql_database)))
    start = source.start(1)
    tally = Tally()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    Session(sql_database.server, sql_database.name, seed, tally).run(lambda: tally.total > 1500)
    mine = ours(source, start)
    source.close()
    assert len(mine) > 1000
    assert mine == theirs(sql_database, start.file, start.position)
