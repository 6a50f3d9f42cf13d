"""`vecsync capture position`: what is recorded, moving it, and leaving out one transaction that cannot be followed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.servers.model import SqlDatabase
from tests.system.schema import create_tables
from tests.system.site import SiteHere as Site
from tests.system.site import embedded_log, sql_source


@pytest.fixture
def site(sql_database: SqlDatabase, tmp_path: Path) -> Site:
    create_tables(sql_database)
    sql_database.execute("INSERT INTO vec_dataset (dataset_id) VALUES ('d')")
    site = Site(tmp_path, {**sql_source(sql_database), **embedded_log(tmp_path)}, sql_database.server.password)
    assert "nothing is recorded" in site.refused("capture", "position", "show", code=7)
    put(sql_database, "a")
    site.capture()
    return site


def put(database: SqlDatabase, *ids: str) -> None:
    database.execute(
        *(f"INSERT INTO shadow_vec_docs (dataset_id, id, content) VALUES ('d', '{id}', 'text')" for id in ids)
    )


def shown(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.run("capture", "position", "show", "--json").stdout)
    return found


def test_one_transaction_is_left_out(site: Site, sql_database: SqlDatabase) -> None:
    sql_database.execute(
        "SET SESSION binlog_row_image = 'MINIMAL'", "UPDATE shadow_vec_docs SET content = 'unreadable' WHERE id = 'a'"
    )
    put(sql_database, "b")
    named = re.search(r"\(transaction ([^)\s]+)\s*\)", " ".join(site.refused("capture", "run", code=7).split()))
    assert named is not None
    gtid = named[1]
    before = shown(site)
    skip = ("capture", "position", "skip")
    two = f"{gtid},1-1-1" if sql_database.server.kind == "mariadb" else f"{gtid}:9"
    assert "not the GTID of one" in site.refused(*skip, two, "--yes", code=2)
    site.run(*skip, gtid, "--dry-run")
    site.run(*skip, gtid, code=1)  # nobody answers
    assert shown(site) == before
    said = json.loads(site.run(*skip, gtid, "--yes", "--json").stdout)
    assert said["position"]["skipped"] == [gtid]
    assert "left out already" in site.refused(*skip, gtid, "--yes", code=2)
    site.capture()
    assert site.ids() == ["a", "b"]
    put(sql_database, "c")
    site.capture()
    assert site.ids() == ["a", "b", "c"]
    shows = site.run("capture", "position", "show").stdout
    assert gtid in "".join(shows.split())
    assert "dealt with" in site.refused(*skip, gtid, "--yes", code=2)


def test_back_and_forth(site: Site, sql_database: SqlDatabase) -> None:
    sql_database.execute("FLUSH BINARY LOGS")  # a GTID is looked for from the beginning of its file: others wrote there
    site.capture()
    begin = shown(site)
    put(sql_database, "b", "c")
    site.capture()
    after = shown(site)
    move = ("capture", "position", "set")
    site.run(*move, f"{begin['file']}:{begin['position']}", "--dry-run")
    assert shown(site) == after
    site.run(*move, f"{begin['file']}:{begin['position']}", "--yes")
    assert shown(site)["gtid_set"] == begin["gtid_set"]
    site.capture()
    assert site.ids() == ["a", "b", "c", "b", "c"], "published again, above what stood"
    site.run(*move, begin["gtid_set"], "--yes")
    site.capture()
    assert site.ids() == ["a", "b", "c", "b", "c", "b", "c"]
    assert shown(site)["epoch"] == begin["epoch"] + 2
    put(sql_database, "d")
    head = json.loads(site.run("capture", "status", "--json").stdout)["head"]
    put(sql_database, "e")
    site.run(*move, f"{head['file']}:{head['position']}", "--yes")
    site.capture()
    assert site.ids()[-2:] == ["c", "e"]
    site.apply()


def test_places_that_the_source_does_not_have(site: Site) -> None:
    at = shown(site)
    move = ("capture", "position", "set")
    file, position = at["file"], at["position"]
    name, number = file.split(".")
    put_after = f"{name}.{int(number) + 7:06}"
    for wrong in (f"{put_after}:4", f"{file}:{position + 10**9}", f"{file}:{position - 3}", "what"):
        site.refused(*move, wrong, "--yes", code=2)
    ahead = re.sub(r"\d+$", lambda last: str(int(last[0]) + 1000), at["gtid_set"])
    assert "lacks" in site.refused(*move, ahead, "--yes", code=7)
    assert shown(site) == at
