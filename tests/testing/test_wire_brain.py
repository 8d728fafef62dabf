"""The mind behind the wires: arguments that satisfy their schemas, values out of the text, embeddings that mean something."""

from __future__ import annotations

import json
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.testing.wire import Ask, PlainAnswer, PlainMessage, PlainTool
from surefoot.testing.wire._model._brain import pieces, think
from surefoot.testing.wire._model._schema import Clues, fill
from surefoot.testing.wire._model._vectors import as_bytes, embed, embed_bytes

SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "number", "minimum": 3.5}}, "required": ["a", "b"]},
    {"type": "integer", "exclusiveMinimum": -1000, "exclusiveMaximum": 1000, "multipleOf": 7},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"enum": ["celsius", "fahrenheit"]},
    {"const": 4},
    {"anyOf": [{"type": "null"}, {"type": "string", "minLength": 300}]},
    {"type": ["string", "null"], "maxLength": 3},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
    {"type": "string", "pattern": "^(foo|bar)+\\.txt$"},
    {"type": "string", "pattern": "^[^a-z]+x?$"},
    {"type": "array", "items": {"type": "integer"}, "minItems": 5, "maxItems": 5, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    {
        "$ref": "#/$defs/Person",
        "$defs": {
            "Person": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "boss": {"anyOf": [{"$ref": "#/$defs/Person"}, {"type": "null"}]}},
                "required": ["name", "boss"],
                "additionalProperties": False,
            }
        },
    },
    {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/Node"}},
        "required": ["tree"],
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {"leaf": {"type": "boolean"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
                "required": ["leaf", "kids"],
            }
        },
    },
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
        ]
    },
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
    {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]},
            {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]},
        ]
    },
    {
        "type": "object",
        "properties": {
            "when": {"type": "string", "format": "date-time"},
            "id": {"type": "string", "format": "uuid"},
            "mail": {"type": "string", "format": "email"},
        },
        "required": ["when", "id", "mail"],
    },
]
TEXTS = ["", "Tell me a joke about cats.", "Book 3 seats and 4 meals for 'Ayşe' at 2026-05-01, in celsius, x=12.5", "你好 ABC-1234 foo.txt"]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s)[:40])
@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("text", TEXTS)
def test_filled_values_satisfy_their_schema(schema, optional, text):
    """Judged by the jsonschema library."""
    jsonschema.validate(fill(schema, Clues(text), optional=optional), schema, format_checker=jsonschema.FormatChecker())


def _bounded(kind):
    ends = st.tuples(st.integers(-50, 50), st.integers(0, 30))
    return ends.map(lambda e: {"type": kind, "minimum": e[0], "maximum": e[0] + e[1]})


def _sized():
    sizes = st.tuples(st.integers(0, 20), st.integers(0, 20))
    return sizes.map(lambda s: {"type": "string", "minLength": s[0], "maxLength": s[0] + s[1]})


LEAVES = st.one_of(
    _bounded("integer"),
    _bounded("number"),
    _sized(),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"enum": ["a", 2, None]}),
)
ANY_SCHEMA = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.integers(0, 3), st.integers(0, 3)).map(
            lambda t: {"type": "array", "items": t[0], "minItems": t[1], "maxItems": t[1] + t[2]}
        ),
        st.dictionaries(st.sampled_from("abcde"), inner, min_size=1).map(
            lambda p: {"type": "object", "properties": p, "required": sorted(p)[:2]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches}),
    ),
    max_leaves=8,
)


@given(schema=ANY_SCHEMA, text=st.text(max_size=60), optional=st.booleans())
def test_any_schema_is_satisfied_whatever_the_text(schema, text, optional):
    """Text from outside must never break an answer."""
    jsonschema.validate(fill(schema, Clues(text), optional=optional), schema)


def asked(text, *tools, **more):
    return think(Ask(turns=[PlainMessage(role="user", text=text)], tools=list(tools), **more))


def tool(name, required=None, description="", **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties) if required is None else required}
    return PlainTool(name=name, description=description, schema=schema)


INTEGER, STRING = {"type": "integer"}, {"type": "string"}
ADD = tool("add", a=INTEGER, b=INTEGER, description="Adds two numbers.")
WEATHER = tool("get_weather", location=STRING, description="The weather in a place.")


@pytest.mark.parametrize(
    ("text", "tools", "expected"),
    [
        ("What is the value of magic(3)? Use the tool.", [tool("magic", input=INTEGER)], [{"input": 3}]),
        ("What is the value of magic()? Use the tool.", [tool("magic")], [{}]),
        ("What is the weather in San Francisco, CA?", [WEATHER], [{"location": "San Francisco, CA"}]),
        ("Weather in Paris and in London?", [WEATHER], [{"location": "Paris"}, {"location": "London"}]),
        ("add(1, 2) and add(b=3, a=4)", [ADD], [{"a": 1, "b": 2}, {"a": 4, "b": 3}]),
        ("Please add a=5 to b=6", [ADD], [{"a": 5, "b": 6}]),
        ("what is two plus three, use the add tool", [ADD], [{"a": 2, "b": 3}]),
        ("set the unit to celsius", [tool("set_unit", unit={"enum": ["kelvin", "celsius"]})], [{"unit": "celsius"}]),
        ("Set limit: 3 for search 'cats'", [tool("search", ["query"], query=STRING, limit=INTEGER)], [{"query": "cats", "limit": 3}]),
        ("search 'cats'", [tool("search", ["query"], query=STRING, limit=INTEGER)], [{"query": "cats"}]),
        ("Hello!", [ADD, WEATHER], []),
    ],
)
def test_obvious_values_reach_the_tools(text, tools, expected):
    """Numbers, names, quotes, spelled-out calls; nothing when nothing suggests a tool."""
    assert [json.loads(call.arguments) for call in asked(text, *tools).calls] == expected


def test_forced_choice_moves_on_to_a_tool_not_used_yet():
    """An agent whose last tool delivers the structured answer comes to its end."""
    final = tool("Answer", text=STRING)
    turns = [PlainMessage(role="user", text="weather in Rome?")]
    first = think(Ask(turns=turns, tools=[WEATHER, final], choice="any"))
    assert [c.name for c in first.calls] == ["get_weather"]
    turns += [PlainMessage(role="assistant", calls=("get_weather",)), PlainMessage(role="tool", text="sunny", tool="get_weather")]
    second = think(Ask(turns=turns, tools=[WEATHER, final], choice="any"))
    assert [c.name for c in second.calls] == ["Answer"]
    assert "sunny" in think(Ask(turns=turns, tools=[WEATHER, final])).text


def test_a_schema_written_into_the_prompt_is_filled():
    """Programs for models without structured output put it there."""
    schema = {"properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"]}
    said = asked(
        f"Ada is 36. Here's a JSON schema to follow:\n{json.dumps(schema)}\nOutput a valid JSON object but do not repeat the schema."
    )
    jsonschema.validate(json.loads(said.text), schema)


@given(st.text(max_size=200))
def test_pieces_join_to_the_text(text):
    """The stream's deltas lose nothing."""
    assert "".join(pieces(text)) == text


@given(st.text(max_size=80), st.integers(0, 12))
def test_output_tokens_never_exceed_what_was_allowed(text, allowed):
    """And the finish reason tells when they would have."""
    said = think(Ask(turns=[PlainMessage(role="user", text=text)], max_tokens=allowed))
    assert said.counts.output <= allowed
    assert said.finish == "length"


def test_arguments_cut_by_the_limit_are_broken_json():
    """As with a real model: the call is there, its arguments are not whole."""
    said = asked("add(1, 2)", ADD, max_tokens=5)
    assert said.finish == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(said.calls[0].arguments)


def test_the_same_question_gets_the_same_answer():
    """Nothing depends on time, order or luck."""
    assert asked("hello", ADD) == asked("hello", ADD)
    assert isinstance(asked("hello"), PlainAnswer)


@given(st.text(max_size=100), st.sampled_from([1, 8, 768]))
def test_vectors_are_of_unit_length_in_both_forms(text, dim):
    """Any text, also an empty one."""
    vector = embed(text, dim)
    assert math.isclose(sum(x * x for x in vector), 1.0)
    assert embed_bytes(text, dim) == as_bytes(vector)


def test_cosine_means_something():
    """Shared words bring texts near; another model's space is another space."""

    def near(one, two, salt=""):
        return sum(x * y for x, y in zip(embed(one, 1536), embed(two, 1536, salt=salt), strict=True))

    question = "how long is the cooldown after a failure"
    assert (
        near(question, "the cooldown after a failure is long")
        > near(question, "a failure of the budget")
        > near(question, "cats purr softly")
    )
    assert abs(near(question, question, salt="other")) < 0.2
