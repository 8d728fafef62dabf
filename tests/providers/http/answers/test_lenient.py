"""A second reading of what a strict one refused: nothing is lost to a field that nobody needs, and nothing that was cut looks whole."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.providers.http.answers import lenient
from surefoot.providers.http.answers.lenient import documents, read


class Inner(msgspec.Struct):
    name: str | None = None
    count: int | None = None
    share: float | None = None
    sure: bool | None = None
    rest: msgspec.Raw = msgspec.Raw()


class Outer(msgspec.Struct):
    items: list[Inner] | None = None
    inner: Inner | None = None
    text: str | list[Any] | None = None
    told: dict[str, Any] | None = None
    vector: bytes | list[float] | None = None


class Strict(msgspec.Struct):
    name: str
    vector: bytes | list[float]


def of(**fields: Any) -> Outer:
    return read(json.dumps(fields).encode(), Outer)


FITS = [
    ({"items": {}}, "items", []),
    ({"items": {"0": {"name": "a"}, "1": {"name": "b"}}}, "items", [Inner("a"), Inner("b")]),
    ({"items": {"name": "a"}}, "items", [Inner("a")]),
    ({"items": [None, {"name": "a"}, 7]}, "items", [Inner("a")]),
    ({"items": [7]}, "items", None),
    ({"items": "a"}, "items", None),
    ({"inner": []}, "inner", None),
    ({"inner": [{"name": "a"}]}, "inner", Inner("a")),
    ({"inner": {"name": 7, "count": "12", "share": "0.5", "sure": "True"}}, "inner", Inner("7", 12, 0.5, True)),
    ({"inner": {"name": {"text": "a"}, "count": 3.0, "share": 2, "sure": 0}}, "inner", Inner("a", 3, 2.0, False)),
    ({"inner": {"name": {}, "count": "many", "share": True, "sure": "perhaps"}}, "inner", Inner()),
    ({"inner": {"count": 1.5, "share": "NaN"}}, "inner", Inner()),
    ({"inner": {"count": 2**70, "name": [{"content": "a"}, "b", 1]}}, "inner", Inner("ab1")),
    ({"text": 42}, "text", "42"),
    ({"text": True}, "text", None),
    ({"text": {"type": "text", "text": "a"}}, "text", "a"),
    ({"text": {"type": "image"}}, "text", [{"type": "image"}]),
    ({"told": []}, "told", {}),
    ({"told": "none"}, "told", None),
    ({"vector": ["1.5", 2]}, "vector", [1.5, 2.0]),
    ({"vector": "AACAPw"}, "vector", b"\x00\x00\x80?"),
    ({"vector": "AAD_-_8"}, "vector", b"\x00\x00\xff\xfb\xff"),
    ({"vector": "AACAP"}, "vector", None),
    ({"vector": [1.0, None]}, "vector", None),
]


@pytest.mark.parametrize(("fields", "name", "value"), FITS, ids=range(len(FITS)))
def test_a_field_of_another_type_is_read_or_left_out(fields, name, value):
    """PHP's empty object is a list, counts come as text, text as a number: none of it is worth an answer."""
    assert getattr(of(**fields), name) == value


def test_what_is_required_must_fit():
    """Left out, a vector would be another text's."""
    with pytest.raises(ValueError):
        read(b'{"name": "a", "vector": [null]}', Strict)
    assert read(b'{"name": 1, "vector": ["1"]}', Strict) == Strict("1", [1.0])


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'\xef\xbb\xbf {"inner": {"name": "a"}}', "a"),
        (b'{"inner": {"name": "caf\xe9"}}', "caf\ufffd"),
        ('{"inner": {"name": "é"}}'.encode("utf-16"), "é"),
        (b'{"inner": {"name": "a\nb\tc"}}', "a\nb\tc"),
        (b'{"inner": {"name": "\\ud83d"}, "x": NaN}', "\ufffd"),
        (b'{"inner": {"name": "\\ud83d\\ude00"}, "x": -Infinity}', "\U0001f600"),
        (b'{"inner": {"name": "\xed\xa0\xbd\xed\xb8\x80"}}', "\U0001f600"),
        (b'{"x": ' + b"9" * 9000 + b', "inner": {"name": "a", "count": "1"}}', "a"),
    ],
)  # fmt: skip
def test_text_that_is_not_quite_json_is_read(body, name):
    """A byte order mark, another coding, a stray byte, half an emoji, a line break, NaN, a number without end."""
    assert read(body, Outer).inner.name == name


def test_json_inside_stays_as_it_was_meant():
    """Arguments and errors are read later, and by others."""
    found = read(b'{"inner": {"count": "1", "rest": {"big": 123456789012345678901234567890, "bad": NaN, "half": "\\ud83d"}}}', Outer)
    assert json.loads(lenient.raw_text(found.inner.rest)) == {"big": 123456789012345678901234567890, "bad": None, "half": "\ufffd"}


def test_the_halves_of_an_emoji_meet():
    """Servers cut their tokens where they like, and write each half as an escape."""
    halves: lenient.Halves = {}
    pieces = [b'{"inner": {"name": "a\\ud83d"}}', b'{"inner": {"name": "\\ude00b\\ud83d"}}', b'{"inner": {"name": "c\\ud83d"}}']
    assert [read(one, Outer, halves).inner.name for one in pieces] == ["a", "\U0001f600b", "\ufffdc"]
    for number in range(1000):  # a hostile stream of them is not kept
        read(json.dumps({"told": {str(number): "\ud83d"}}).encode(), Outer, halves)
    assert len(halves) <= lenient.MAX_HALVES


WHOLE = json.dumps({"items": [{"name": 'a}"b', "count": "7"}], "text": "é", "told": {"x": [1.5, None]}}).encode()  # fmt: skip


@pytest.mark.parametrize("cut", range(len(WHOLE)))
def test_cut_json_is_never_read(cut):
    """Half an answer that passes for a whole one is worse than none."""
    with pytest.raises(ValueError):
        read(WHOLE[:cut], Outer)
    assert documents(b'{"a": 1}\n' + WHOLE[:cut]) == [b'{"a": 1}']


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0123456789deftrunals- ', max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data):
    """It stands before a foreign server."""
    for reading in (lambda: read(data, Outer), lambda: documents(data)):
        try:
            reading()
        except (ValueError, RecursionError):
            continue


def test_documents_beyond_the_bound_are_refused(monkeypatch):
    """As Python objects they take many times their bytes."""
    with pytest.raises(ValueError, match="more than"):
        read(b"[" + b"[]," * lenient.MAX_NODES + b"[]]", Outer)
    with pytest.raises((ValueError, RecursionError)):
        read(b'{"told": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Outer)
