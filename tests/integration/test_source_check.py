"""`vecsync source check` about servers that are set wrongly: what is printed is on docs/reference/source-check.md,
and running it mends them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.fix_provider import server_needed
from tests.servers.model import SqlKind, SqlServer
from tests.system.wrong_sources import PAGE, SCENES, Scene, look_at, page, section, sections, server_of

_EACH = [pytest.param(scene, kind, id=f"{scene.name}-{kind}") for scene in SCENES for kind in scene.kinds]


@pytest.fixture(scope="module")
def common() -> Iterator[dict[SqlKind, SqlServer]]:
    """Servers that the scenes set wrongly, and right again; each started when first needed."""
    with ExitStack() as ending:

        class Started(dict[SqlKind, SqlServer]):
            def __missing__(self, kind: SqlKind) -> SqlServer:
                with server_needed():
                    self[kind] = ending.enter_context(server_of(kind))
                return self[kind]

        yield Started()


@pytest.mark.parametrize(("scene", "kind"), _EACH)
def test_what_is_printed_is_on_the_page_and_mends(
    scene: Scene, kind: SqlKind, common: dict[SqlKind, SqlServer], tmp_path: Path
) -> None:
    with ExitStack() as ending:
        if scene.options is None:
            server = common[kind]
        else:
            with server_needed():
                server = ending.enter_context(server_of(kind, scene))
        found = look_at(scene, server, tmp_path / "site")
    assert found.left == scene.by_hand
    shown = dict(sections(PAGE.read_text(encoding="utf-8")))
    stale = "stale: run python -m tests.system.wrong_sources"
    assert section(scene, kind, found) in shown.get(scene.name, ""), stale


def test_the_page_has_nothing_else() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [heading for heading, _ in sections(text)] == [scene.name for scene in SCENES]
    head = page({})
    assert text.startswith(head[: head.index("## ")])
