"""Capture: the binlog decoded, encoded, and published to acknowledged Kafka, and a snapshot of the same rows; beside
them produce() alone, and the script that one would write with mysql-replication and fastavro.

    python -m tests.bench.bench_capture [rows] [mariadb|mysql]

Everything runs on one machine, servers included, and no connection is encrypted. The broker is warmed up first; each
way is run three times in turn. Time runs from the opening of the log: topics are made and the lease is had before that.
"""

from __future__ import annotations

import io
import resource
import statistics
import sys
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import fastavro
from confluent_kafka import Producer

from connector.broker.connect import open_broker
from connector.model import Lane, PackedRows
from connector.publish import Publisher, create_topics
from connector.settings import Settings
from connector.source.binlog.connection import dump_from_position
from connector.source.binlog_source import BinlogSource
from connector.topics import table_topics
from connector.upstream.mysql import open_connection
from connector.wire import DocEncoder
from tests.bench.load import BROKER_JAVA, WARM_UP, insert, prepare, yardstick
from tests.servers.local import LocalProvider
from tests.servers.model import KafkaServer, SqlDatabase

RUNS = 3


def settings(database: SqlDatabase, kafka: KafkaServer, prefix: str, snapshot: str = "no_data") -> Settings:
    return Settings.model_validate(
        {
            "source": {
                "kind": "mysql",
                "url": database.url,
                "password": database.server.password,
                "snapshot": snapshot,
                "plaintext": True,
            },
            "broker": {"kind": "kafka", "bootstrap_servers": kafka.bootstrap_servers},
            "topics": {"prefix": prefix, "min_compaction_lag_s": 86400},
        }
    )


class Bench:
    def __init__(self, database: SqlDatabase, kafka: KafkaServer, rows: int) -> None:
        self.database, self.kafka, self.rows = database, kafka, rows
        source = BinlogSource(settings(database, kafka, "bench"))
        self.start = source.start(1)
        source.close()
        self.runs = 0
        self.starting = 0.0  # seconds that the last run took to make its topics and get its lease

    def drain(self) -> int:
        """The same bytes off a connection of the same kind, and nothing done with them."""
        config, begin = settings(self.database, self.kafka, "bench"), self.start
        source = BinlogSource(config)
        end = source.head().position.to_bytes(4, "little")
        source.close()
        connection = open_connection(config.source)
        stream = dump_from_position(connection, server_id=4712, file=begin.file, position=begin.position, heartbeat_s=5)
        while (event := stream.read_event(1.0)) is not None and event[13:17] != end:  # where it ends in its file
            pass
        stream.close()
        return self.rows

    def decode_and_encode(self) -> int:
        source = BinlogSource(settings(self.database, self.kafka, "bench"))
        stream, head, encode, n = source.stream(self.start), source.head(), DocEncoder(), 0
        while not stream.reached(head):
            transaction = stream.next(0.1)
            if transaction is None:
                continue
            for change in transaction.changes:
                assert isinstance(change, PackedRows)
                envelope = encode.envelope(change, transaction.id, 1)
                for ordinal, row in enumerate(change.rows, change.order.ordinal):
                    n += 1
                    envelope.value(row, ordinal, n, False)
        stream.close()
        source.close()
        return n

    def publish(self) -> int:
        self.runs += 1
        config = settings(self.database, self.kafka, f"bench{self.runs}")
        source = _From(config, self.start)
        begin = time.perf_counter()
        records = Publisher(source, open_broker(config), config, Event()).run(until_current=True).records
        self.starting = source.began - begin
        return records

    def publish_snapshot(self) -> int:
        """The rows of the table, and nothing of the binlog."""
        self.runs += 1
        config = settings(self.database, self.kafka, f"snapshot{self.runs}", "initial")
        source = BinlogSource(config)
        start = source.start(1)
        source.close()
        source = _From(config, start)
        begin = time.perf_counter()
        records = Publisher(source, open_broker(config), config, Event()).run(until_current=True).records
        self.starting = source.began - begin
        return records

    def produce_alone(self) -> int:
        """Values of the same size, ready in memory, by the same producer settings."""
        self.runs += 1
        config = settings(self.database, self.kafka, f"alone{self.runs}")
        broker = open_broker(config)
        admin = broker.admin()
        create_topics(admin, config)
        admin.close()
        topic = table_topics(config.topics.prefix, self.database.name, "shadow_vec_docs").data
        values = VALUES
        producer = broker.producer(lambda _lane, _offset: None)
        lanes = [Lane(topic, p) for p in range(config.topics.partitions)]
        for n in range(self.rows):
            producer.send(lanes[n % 8], b"0%d" % n, values[n % len(values)])
        producer.flush(120)
        producer.close()
        return self.rows

    def script(self) -> int:
        """mysql-replication, fastavro, produce(): what a careful afternoon gives."""
        from pymysqlreplication import BinLogStreamReader
        from pymysqlreplication.row_event import WriteRowsEvent

        self.runs += 1
        config = settings(self.database, self.kafka, f"script{self.runs}")
        broker = open_broker(config)
        admin = broker.admin()
        create_topics(admin, config)
        admin.close()
        topic = table_topics(config.topics.prefix, self.database.name, "shadow_vec_docs").data
        schema = fastavro.parse_schema(
            {"type": "record", "name": "Row", "fields": [{"name": n, "type": t} for n, t in COLUMNS.items()]}
        )
        server = self.database.server
        connection = {"host": server.host, "port": server.port, "user": server.user, "passwd": server.password}
        connection["ssl_disabled"] = True
        producer = Producer(
            {
                "bootstrap.servers": self.kafka.bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 20,
                "queue.buffering.max.messages": 200_000,
            }
        )
        reader = BinLogStreamReader(
            connection_settings=connection,
            server_id=4711,
            log_file=self.start.file,
            log_pos=self.start.position,
            resume_stream=True,
            only_events=[WriteRowsEvent],
            only_schemas=[self.database.name],
            is_mariadb=False,
            enable_logging=False,
        )
        done = 0
        for event in reader:
            for row in event.rows:
                values = row["values"]
                out = io.BytesIO()
                fastavro.schemaless_writer(out, schema, {name: values[name] for name in COLUMNS})
                while True:
                    try:
                        producer.produce(topic, out.getvalue(), values["id"])
                        break
                    except BufferError:
                        producer.poll(0.01)
                done += 1
            producer.poll(0)
            if done >= self.rows:
                break
        reader.close()
        producer.flush(120)
        return done


COLUMNS: dict[str, Any] = {
    "dataset_id": "string",
    "id": "string",
    "content": ["null", "string"],
    "meta": ["null", "string"],
    "embedding": ["null", "bytes"],
    "embedding_model": ["null", "string"],
    "scn": "long",
    "archived": "int",
}
VALUES: list[bytes] = []


class _From(BinlogSource):
    """The same source, read from where the rows begin."""

    def __init__(self, config: Settings, start: Any) -> None:
        super().__init__(config)
        self._begin = start

    def start(self, epoch: int) -> Any:
        return self._begin

    def stream(self, after: Any) -> Any:
        self.began = time.perf_counter()
        return super().stream(after)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    kind = sys.argv[2] if len(sys.argv) > 2 else "mysql"
    import os

    VALUES.extend(os.urandom(2100) for _ in range(2000))
    provider = LocalProvider(BROKER_JAVA)
    with provider.sql(kind) as server, provider.kafka() as kafka:  # type: ignore[arg-type]
        database = prepare(server, "bench")
        bench = Bench(database, kafka, rows)
        insert(database, rows)
        print(f"{kind}, {rows:,} rows of about 2.1 KB (384-d), 500 rows a transaction, {RUNS} runs each; warming up")
        for _ in range(WARM_UP):
            bench.produce_alone()
            bench.publish()
        ways: dict[str, Callable[[], int]] = {
            "raw drain of the binlog": bench.drain,
            "decode and encode only": bench.decode_and_encode,
            "capture to acknowledged Kafka": bench.publish,
            "snapshot to acknowledged Kafka": bench.publish_snapshot,
            "produce() alone": bench.produce_alone,
            "mysql-replication + fastavro + produce()": bench.script,
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        started = 0.0
        for _ in range(RUNS):
            for name, way in ways.items():
                wall, used = time.perf_counter(), time.process_time()
                bench.starting = 0.0
                done = way()
                rates[name].append(done / (time.perf_counter() - wall - bench.starting))
                started = bench.starting or started
                cpu[name].append((time.process_time() - used) / done * 1e6)
        print(yardstick())
        print(f"{'':44}{'rows/s':>10}{'CPU us/row':>12}")
        for name in ways:
            print(f"{name:44}{statistics.median(rates[name]):>10,.0f}{statistics.median(cpu[name]):>12.1f}")
        print(f"before that, the last run of capture took {started:.1f} s to make its topics and get the lease")
        ours = statistics.median(rates["capture to acknowledged Kafka"])
        print(f"capture is {ours / statistics.median(rates['produce() alone']):.2f} of produce() alone, ", end="")
        print(f"{ours / statistics.median(rates['mysql-replication + fastavro + produce()']):.1f} times the script")
        print(f"most memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
