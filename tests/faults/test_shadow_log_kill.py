"""A publisher of a SQLite source killed again and again while the source is written: the topics end up exact."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import yaml

from connector.broker.connect import open_broker
from connector.model import CommitOrder, DatasetKey, DocChange, DocKey, Floor, Key, Lane, Op
from connector.publish.log_state import read_to_end
from connector.publish.setup import followed_topics
from connector.settings import Settings, load
from connector.upstream import UpstreamRow, connect
from connector.upstream.install import install
from connector.wire import decode_value

_KILLS = 8


def test_killed_publishers_lose_and_repeat_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    config = tmp_path / "vecsync.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "source": {"kind": "sqlite", "url": f"sqlite:///{tmp_path}/up.db", "poll_interval_s": 0.005},
                "broker": {"kind": "embedded", "path": str(tmp_path / "events.db")},
                "topics": {"prefix": "demo", "partitions": 2},
                # Positions are recorded at the end only: whatever a killed publisher sent stands beyond its position.
                "publish": {"position_interval_s": 1000},
            }
        )
    )
    settings = load(config)
    install(settings.source)
    upstream = connect(settings.source)
    datasets = [f"d{i}" for i in range(6)]
    for dataset in datasets:
        upstream.ensure_dataset(dataset)
    capture(config, "--until-current")
    killed = 0
    while killed < _KILLS:
        publisher = subprocess.Popen([*command(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end, turns = time.monotonic() + 1.2 + rng.random() * 0.5, 0
        try:
            while time.monotonic() < end or turns < 60:
                work(rng, upstream, datasets)
                turns += 1
            assert publisher.poll() is None, publisher.communicate()[1].decode()
        finally:
            publisher.kill()
            publisher.communicate()
        killed += 1
    capture(config, "--until-current")
    expected = {
        (d, row.id): stored.content
        for d in upstream.datasets()
        for row in upstream.listing(d)
        if (stored := upstream.get(d, row.id))
    }
    known = set(upstream.datasets())
    upstream.close()
    check_topic(settings, expected, known)


def command(config: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from connector.cli import main; main()",
        "--config",
        str(config),
        "capture",
        "run",
        *options,
    ]


def capture(config: Path, *options: str) -> None:
    done = subprocess.run(command(config, *options), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def work(rng: random.Random, upstream: object, datasets: list[str]) -> None:
    from connector.upstream.sqlite import SqliteUpstream

    assert isinstance(upstream, SqliteUpstream)
    dataset = rng.choice(datasets)
    upstream.ensure_dataset(dataset)
    kind = rng.random()
    ids = [str(rng.randrange(30)) for _ in range(rng.randrange(1, 6))]
    if kind < 0.75:
        upstream.upsert(dataset, [UpstreamRow(id, f"{rng.random()}", None, b"\0" * 16, "m") for id in ids])
    elif kind < 0.97:
        upstream.delete(dataset, ids)
    else:
        upstream.delete_dataset(dataset)


def check_topic(settings: Settings, expected: dict[tuple[str, str], str | None], known: set[str]) -> None:
    (topics,) = followed_topics(settings).values()
    records = read_to_end(open_broker(settings), {Lane(topics.data, p): 0 for p in range(settings.topics.partitions)})
    last: dict[tuple[int, Key], CommitOrder] = {}
    greatest: dict[int, CommitOrder] = {}
    docs: dict[tuple[str, str], tuple[CommitOrder, str | None, bool]] = {}
    alive: dict[str, bool] = {}
    streamed = 0
    for record in records:
        assert record.value is not None
        change = decode_value(record.value).change
        if change.order.ordinal:
            streamed += 1
            assert change.order > greatest.get(record.partition, CommitOrder(0, 0, 0, 0)), "out of order, or twice"
            greatest[record.partition] = change.order
        assert change.order >= last.get((record.partition, change.key), change.order)
        last[record.partition, change.key] = change.order
        if isinstance(change, DocChange):
            assert isinstance(change.key, DocKey)
            content = change.after.content if change.after else None
            docs[change.key.dataset_id, change.key.id] = (change.order, content, change.op is not Op.DELETE)
        elif isinstance(change, Floor):
            for key, (order, _, _) in list(docs.items()):
                if change.key.dataset_id in (None, key[0]) and order < change.order:
                    del docs[key]
        else:
            assert isinstance(change.key, DatasetKey)
            alive[change.key.dataset_id] = change.op is not Op.DELETE
    assert streamed > 500
    assert {key: content for key, (_, content, there) in docs.items() if there} == expected
    assert {dataset for dataset, there in alive.items() if there} == known
