"""The commands as a person types them, on a real database and a real Kafka: from files to a search, while both services
run, and then everything one would ask when something seems wrong."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.servers.model import KafkaServer, SqlDatabase
from tests.system.site import Site, kafka_log, sql_source

TEXTS = {
    "animals.md": "# Cats\n\nCats purr when they are content.\n\n# Dogs\n\nDogs bark at the postman.\n",
    "space.txt": "The moon goes round the earth once a month.\n",
}


def _json(site: Site, *arguments: str) -> Any:
    return json.loads(site.run(*arguments, "--json").stdout)


def test_from_files_to_a_search_while_the_services_run(
    sql_database: SqlDatabase, kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    site = Site(
        tmp_path,
        {**sql_source(sql_database), **kafka_log(kafka_server, topic_prefix)},
        secret=sql_database.server.password,
    )
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in TEXTS.items():
        (texts / name).write_text(text)

    assert "DELIMITER $$" in site.run("source", "install", "--dry-run").stdout
    assert "set up" in site.run("source", "install").stdout
    assert site.run("source", "install").stdout == "Nothing was missing.\n"
    findings = _json(site, "source", "check")["findings"]
    assert not [finding for finding in findings if finding["severity"] == "error"]
    assert "created" in site.run("topics", "create").stdout
    assert "created" not in site.run("topics", "create").stdout

    began = datetime.now(UTC)
    with site.service("capture", "run") as capture, site.service("replica", "run") as replica:
        assert _json(site, "ingest", "texts", "-d", "notes")["new"] == 3
        capture.check()
        replica.check()
        scn = _json(site, "docs", "show", "-d", "notes", "--id", "space.txt#0")["scn"]
        site.run("replica", "wait", "--dataset", "notes", "--scn", str(scn), "--timeout", "60")
        assert site.search("cats", "-d", "notes", "--mode", "text") == ["animals.md#0"]
        found = _json(site, "replica", "search", "moon and earth", "-d", "notes", "-k", "1")["hits"][0]
        assert (found["id"], found["text_rank"], found["vector_rank"]) == ("space.txt#0", 1, 1)

        site.run("docs", "archive", "-d", "notes", "--id", "animals.md#0")
        scn = _json(site, "docs", "show", "-d", "notes", "--id", "animals.md#0")["scn"]
        site.run("replica", "wait", "--dataset", "notes", "--scn", str(scn), "--timeout", "60")
        assert site.search("cats", "-d", "notes", "--mode", "text") == []
        assert site.search("cats", "-d", "notes", "--mode", "text", "--include-archived") == ["animals.md#0"]
        status = _json(site, "replica", "status")
        assert (status["ready"], status["alive"], status["error"]) == (True, True, None)
        held = site.refused("replica", "run", "--until-current", code=7)
        assert "has a writer already" in held
        site.refused("replica", "replay", code=7)
        capture.stop()
        replica.stop()
    site.run("replica", "wait", "--current", "--timeout", "30")

    position = _json(site, "capture", "status")
    assert (position["caught_up"], position["closed"], position["problem"]) == (True, True, None)
    assert position["position"]["file"]
    since = began.isoformat()
    shown = site.run("topics", "tail", "-d", "notes", "--from", since, "--until-current", "--json").stdout.splitlines()
    archived = [e["value"]["after"]["archived"] for e in map(json.loads, shown) if e["key"].get("id") == "animals.md#0"]
    assert archived == [False, True]
    listed = {topic["name"]: topic for topic in _json(site, "topics", "list")}
    assert listed[f"{topic_prefix}.{sql_database.name}.shadow_vec_docs"]["partitions"] == 3

    before = _json(site, "replica", "status")["generation"]
    assert "taken the place" in site.run("replica", "replay").stdout
    after = _json(site, "replica", "status")
    assert (after["generation"], after["database"]) == (before + 1, sql_database.name)
    assert f"\ndatabase    {sql_database.name} " in site.run("replica", "status").stdout
    rows = site.run("replica", "sql", "SELECT id, archived FROM shadow_vec_docs ORDER BY id", "--json").stdout
    assert [json.loads(row) for row in rows.splitlines()] == [
        {"id": "animals.md#0", "archived": 1},
        {"id": "animals.md#1", "archived": 0},
        {"id": "space.txt#0", "archived": 0},
    ]


def test_what_does_not_answer_is_named_in_time(tmp_path: Path) -> None:
    nobody = "127.0.0.1:1"
    site = Site(
        tmp_path,
        {
            "source": {"kind": "mysql", "url": f"mysql://vecsync@{nobody}/app", "connect_timeout_s": 2},
            "broker": {"kind": "kafka", "bootstrap_servers": nobody},
            "log": {"level": "error"},
        },
    )
    began = time.monotonic()
    for arguments in (["source", "check"], ["capture", "run"], ["docs", "show", "-d", "x", "--id", "1"]):
        assert nobody in site.refused(*arguments, code=6)
    site.refused("topics", "list", code=6)
    assert time.monotonic() - began < 90
