"""Plain text is never an error; FTS5's syntax is accepted exactly where FTS5 accepts it, and errors say where."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.errors import QuerySyntax, UsageError
from connector.search.words import MOST_WORDS, any_of, check_fts5, plain_words

COLUMNS = ("id", "content")


def table() -> apsw.Connection:
    db = apsw.Connection(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5(id, content, tokenize='porter unicode61')")
    db.execute("INSERT INTO t VALUES ('a.md#0', 'How to remove a file, e.g. with os.path and C++')")
    return db


TABLE = table()


def asked(query: str) -> list[tuple[object, ...]]:
    return TABLE.execute("SELECT rowid FROM t WHERE t MATCH ?", (query,)).fetchall()


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\"'()*+-:^{}\0 AND OR NOT NEAR removing file"))))
@example('what\'s "this"? (and that) NEAR/2 col:x -y * ^')
@example("\ud800 x".encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
@example("हिन्दी e\u0301 ½ ² Ⅷ")
def test_any_plain_text_is_a_query(text: str) -> None:
    words = plain_words(text.encode("utf-8", "replace").decode())
    if words:
        asked(any_of(words))
    assert bool(words) == any(c.isalnum() for c in text.encode("utf-8", "replace").decode())


@pytest.mark.parametrize("text", ["How do I REMOVE files?", "os.path", "file;", "C++ removal AND nothing", '"remove'])
def test_any_of_the_words_will_do(text: str) -> None:
    assert asked(any_of(plain_words(text))) == [(1,)]


def test_only_punctuation_is_no_query() -> None:
    assert plain_words("?!... -- \0 _ ()") == []


def test_words_are_asked_once_and_a_page_of_them_is_cut() -> None:
    assert plain_words("The the THE cat") == ["the", "cat"]
    assert len(plain_words(" ".join(f"w{i}" for i in range(5000)))) == MOST_WORDS


PIECES = [
    *("one", "two", '"a b"', '"x""y"', "AND", "OR", "NOT", "NEAR", "NEAR(", "(", ")", "{", "}", ":", ",", "+", "*"),
    *("^", "content", "id", '"content"', "nocolumn", "3", "é", "and", "\x1a", "content :", "id:", "{id content} :"),
    *("-", "- content :"),
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map(" ".join))
@example("content : ( one ) two")
@example("content : ( one ) AND two")
@example("one content : ( two )")
@example("NEAR( one two , 3 )")
@example('"NEAR" ( one )')
@example("^ one + two *")
@example("content : id : one")
@example("* one")
def test_fts5_syntax_is_accepted_where_fts5_accepts_it(query: str) -> None:
    try:
        asked(query)
        asked(f"({query})")  # what begins with * is a command, but only when it stands alone
        accepted = True
    except apsw.SQLError:
        accepted = False
    if accepted:
        check_fts5(query, COLUMNS)
    else:
        with pytest.raises(QuerySyntax):
            check_fts5(query, COLUMNS)


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map(" ".join))
def test_what_is_accepted_can_stand_in_parentheses(query: str) -> None:
    try:
        check_fts5(query, COLUMNS)
    except QuerySyntax:
        return
    asked(f"{{id content}} : ({query})")
    asked(f"content : (nothing) AND {{id content}} : ({query})")


@pytest.mark.parametrize(
    ("query", "position", "message"),
    [
        ("", 0, "empty"),
        ("   ", 0, "empty"),
        ('one "two', 4, "quotation mark that is not closed"),
        ("(one OR two", 0, "parenthesis that is not closed"),
        ("one AND", 7, "a word is missing before the end"),
        ("AND one", 0, "a word is missing before 'AND'"),
        ("é OR OR two", 5, "a word is missing before 'OR'"),
        ("one)", 3, "')' is not expected here"),
        ("what?", 4, "'?' has no meaning outside of quotation marks"),
        ("title: one", 0, "no column 'title'; there is id, content"),
        ("NEAR(one two, x)", 14, "x is not a distance"),
        ("one-two", 4, "no column 'two'"),
        ("(" * 60 + "one" + ")" * 60, 50, "more than 50 parentheses"),
    ],
)
def test_errors_say_where(query: str, position: int, message: str) -> None:
    with pytest.raises(QuerySyntax, match=message.replace("?", r"\?").replace(")", r"\)")) as caught:
        check_fts5(query, COLUMNS)
    assert caught.value.position == position
    assert f"at character {position + 1}:" in str(caught.value)
    assert caught.value.hint
    assert isinstance(caught.value, UsageError)
