"""Names of tables in `source.tables`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connector.model import TableName
from connector.settings import Settings, SourceSettings
from connector.upstream.tables import Patterns, called, followed_tables, named, with_tables

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


def test_patterns() -> None:
    source = of("docs_*", "tenant_*.shadow_vec_docs", "`a.*`.`b*`", "c.d*e*")
    patterns = Patterns(source)
    assert followed_tables(source) == [TableName("a.*", "b*")]
    matched = [("app", "docs_"), ("app", "docs_a.b"), ("tenant_", "shadow_vec_docs"), ("c", "de"), ("c", "dxexx")]
    others = [("other", "docs_a"), ("app", "docs"), ("tenant_a", "shadow_vec_docs2"), ("a.*", "b*"), ("c", "dx")]
    assert [name for name in matched + others if patterns.match(TableName(*name))] == matched
    assert not Patterns(of("docs"))


def test_what_no_pattern_ever_matches() -> None:
    patterns = Patterns(of("*.*", "*"))
    for name in ("app", "vec_dataset"), ("x", "vec_shadow_log"), ("mysql", "user"), ("app", "vec_dataset_scn"):
        assert not patterns.match(TableName(*name))
    assert patterns.match(TableName("x", "y"))


def test_tables_that_were_found_are_entries_beside_their_pattern() -> None:
    settings = Settings(source=of("docs", "docs_*", "t*.docs"))
    found = with_tables(settings, [TableName("t1", "docs"), TableName("app", "docs"), TableName("app", "docs_a")])
    assert found.source.tables == ["docs", "docs_*", "t*.docs", "docs_a", "t1.docs"]
    assert with_tables(found, [TableName("t1", "docs")]) is found


def test_patterns_need_a_binlog() -> None:
    with pytest.raises(ValidationError, match="needs the binlog"):
        of("docs_*", reader="shadow_log")
    with pytest.raises(ValidationError, match="needs a binlog"):
        SourceSettings.model_validate({"kind": "sqlite", "url": "sqlite:///a.db", "tables": ["docs_*"]})


def test_a_shadow_log_is_of_one_database() -> None:
    with pytest.raises(ValidationError, match="bare names"):
        of("billing.docs", reader="shadow_log")
    lite = SourceSettings.model_validate({"kind": "sqlite", "url": "sqlite:///a.db", "tables": ["a.b"]})
    assert followed_tables(lite) == [TableName("main", "a.b")]
