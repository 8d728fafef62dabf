"""Each key's own line, through everything that TOML allows."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot._toml_lines import TomlLines

TEXT = '''# a comment with = and [brackets]
top = 1 # trailing
[chat.default]
targets = [
    "a = 1",  # [not.a.table]
    ["b", 'c]'],
]
policy.deadline_s = 60
policy . attempts = 3
[[chat.default.policy.budgets]]
usd = 1
[[chat.default.policy.budgets]]
usd = 2
scope = """
[chat.fake]
usd = 9
"""
[target."openai:gpt-5.\\u006dini"]
headers = { x-team = "blue", "x y" = { deep = [1, { deeper = true }] } }
'quoted.key' = \'\'\'
x = 1\'\'\'
when = 1979-05-27T07:32:00Z
[chat.other.policy]
deadline_s = 1
'''
EXPECTED = {
    ("top",): 2,
    ("chat",): 3,
    ("chat", "default"): 3,
    ("chat", "default", "targets"): 4,
    ("chat", "default", "targets", 0): 5,
    ("chat", "default", "targets", 1): 6,
    ("chat", "default", "targets", 1, 1): 6,
    ("chat", "default", "policy"): 8,
    ("chat", "default", "policy", "deadline_s"): 8,
    ("chat", "default", "policy", "attempts"): 9,
    ("chat", "default", "policy", "budgets"): 10,
    ("chat", "default", "policy", "budgets", 0, "usd"): 11,
    ("chat", "default", "policy", "budgets", 1): 12,
    ("chat", "default", "policy", "budgets", 1, "usd"): 13,
    ("chat", "default", "policy", "budgets", 1, "scope"): 14,
    ("target", "openai:gpt-5.mini"): 18,
    ("target", "openai:gpt-5.mini", "headers", "x-team"): 19,
    ("target", "openai:gpt-5.mini", "headers", "x y", "deep", 1, "deeper"): 19,
    ("target", "openai:gpt-5.mini", "quoted.key"): 20,
    ("target", "openai:gpt-5.mini", "when"): 22,
    ("chat", "other"): 23,
    ("chat", "other", "policy", "deadline_s"): 24,
}


@pytest.mark.parametrize("path", list(EXPECTED), ids=str)
def test_a_key_has_its_own_line(path):
    """Also below headers, in arrays, in inline tables, behind strings that look like keys, with either line break."""
    assert TomlLines(TEXT).line(path) == EXPECTED[path]
    assert TomlLines(TEXT.replace("\n", "\r\n")).line(path) == EXPECTED[path]


def test_what_is_missing_is_looked_for_in_the_table_around_it():
    """The line of a table is where its missing key belongs."""
    lines = TomlLines(TEXT)
    assert lines.line(("chat", "other", "targets")) == 23
    assert lines.line(("embed", "default")) is None
    assert lines.line(()) is None
    assert lines.twice is None


@pytest.mark.parametrize(
    ("text", "path", "line", "first"),
    [
        ("[a]\nx = 1\ny = [\n1,\n2]\nx = [\n3\n]\n", ("a", "x"), 6, 2),
        ("[a]\nx = 1\n[b]\n[a]\n", ("a",), 4, 1),
        ("[a]\np.x = 1\np.x = 2\n", ("a", "p", "x"), 3, 2),
        ("[[a]]\nx = 1\n[[a]]\nx = 2\nx = 3\n", ("a", 1, "x"), 5, 4),
        ('[t."b c"]\n[t."b\\u0020c"]\n', ("t", "b c"), 2, 1),
        ("a = { x = 1, x = 2 }\n", ("a", "x"), 1, 1),
    ],
)
def test_what_stands_twice_is_found_where_it_stands_again(text, path, line, first):
    """tomllib names the end of the second value, which may be many lines below its key."""
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(text)
    assert TomlLines(text).twice == (path, line, first)


KEYS = st.text("abc._- \"'\\=[#", min_size=1, max_size=6)
VALUES: Any = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text('ab"\\\n=[]{}#,', max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return "[\n" + "".join(f"  {_written(one)}, # ] }}\n" for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_written(one)}" for key, one in value.items()) + "}"
    return str(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=3))
def test_every_path_that_tomllib_reads_has_a_line_that_holds_its_key(data):
    """Whatever the values look like."""
    text = "".join(
        f"[{_quoted(table)}]\n" + "".join(f"{_quoted(key)} = {_written(value)}\n" for key, value in pairs.items())
        for table, pairs in data.items()
    )
    assert tomllib.loads(text) == data
    lines, rows = TomlLines(text), text.splitlines()
    for table, pairs in data.items():
        for key in pairs:
            line = lines.line((table, key))
            assert line is not None
            assert rows[line - 1].startswith(f"{_quoted(key)} = ")
    assert lines.twice is None


@given(st.text("ab\"'=[]{}#,.\n\\ ", max_size=30))
def test_text_that_is_no_toml_does_no_harm(text):
    """It is asked for the line of a mistake."""
    TomlLines(text).line(("a",))
