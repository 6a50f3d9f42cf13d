"""Names of tables in `source.tables`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connector.model import TableName
from connector.settings import SourceSettings
from connector.upstream.tables import called, followed_tables, named

NAMES = st.text(st.sampled_from("ab.`*_é "), min_size=1, max_size=6)


def of(*tables: str, **more: str) -> SourceSettings:
    return SourceSettings.model_validate({"url": "mysql://u@h/app", "tables": [*tables], **more})


def test_entries() -> None:
    found = followed_tables(of("docs", "billing.docs", "app.docs", "`a.b`", "`my.db`.`odd``name`"))
    assert found == [
        TableName("app", "docs"),
        TableName("billing", "docs"),
        TableName("app", "a.b"),
        TableName("my.db", "odd`name"),
    ]


@given(NAMES, NAMES, NAMES)
def test_every_table_has_a_name_of_its_own(db: str, table: str, home: str) -> None:
    for name in TableName(db, table), TableName(home, table):
        assert named(called(name, home), home) == name
        assert followed_tables(of(called(name, "app"))) == [name]


@pytest.mark.parametrize("entry", ["", ".", "a.", ".a", "a.b.c", "`a", "a`b", "``", "`a`b"])
def test_what_names_no_table(entry: str) -> None:
    with pytest.raises(ValidationError, match=r"neither `table` nor `database\.table`"):
        of(entry)


def test_a_shadow_log_is_of_one_database() -> None:
    with pytest.raises(ValidationError, match="bare names"):
        of("billing.docs", reader="shadow_log")
    lite = SourceSettings.model_validate({"kind": "sqlite", "url": "sqlite:///a.db", "tables": ["a.b"]})
    assert followed_tables(lite) == [TableName("main", "a.b")]
