"""Every kind of event on live servers by three readers: docs/conformance.md, row by row."""

from __future__ import annotations

import pytest

from tests.conformance.binlogs.matrix import PAGE, SCENES, Scene, run, shortcomings
from tests.servers.fix_sql import StartSqlServer
from tests.servers.model import SqlKind

_EACH = [(kind, scene) for scene in SCENES for kind in scene.kinds]


# mysql-replication calls PyMySQL, and PyMySQL Python, by names that are going out of use.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:pymysqlreplication")
@pytest.mark.filterwarnings("ignore:'(db|passwd)' is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("kind", "scene"), [pytest.param(*each, id=f"{each[0]}-{each[1].name}") for each in _EACH])
def test_other_readers_have_the_same_rows(
    kind: SqlKind, scene: Scene, request: pytest.FixtureRequest, start_sql_server: StartSqlServer
) -> None:
    if scene.options is None:
        server = request.getfixturevalue(f"{kind}_server")
    else:
        server = start_sql_server(kind, scene.options)
    assert shortcomings(run(scene, server)) == []


def test_the_page_names_every_scene() -> None:
    """When one is missing: `python -m tests.conformance.binlogs.matrix`."""
    page = PAGE.read_text()
    assert [scene.name for scene in SCENES if f"| {scene.name} |" not in page] == []
