"""Arguments that are not quite the protocol's mean what they mean; what is broken stays broken."""

from __future__ import annotations

import json

import pytest

from surefoot.core._tool_calls import CUT_OFF, checked_tool_call

CITY = '{"city": "A"}'
MEANT = [
    ("", {}), (" ", {}), ("null", {}), (" null\n", {}), ("[]", {}), ('""', {}), ('"null"', {}), ("{}", {}), ('"{}"', {}),
    (json.dumps(CITY), {"city": "A"}), (json.dumps(json.dumps(CITY)), {"city": "A"}),
    (CITY + CITY, {"city": "A"}), ("{}" + CITY, {"city": "A"}), (CITY + "\n{}", {"city": "A"}),
    ('{"city": "A\nB"}', {"city": "A\nB"}), ('{"city": "\\ud83d"}', {"city": "\ufffd"}),
    (CITY, {"city": "A"}), (f" {CITY}\n", {"city": "A"}),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "meant"), MEANT)
def test_what_arguments_mean_is_found(arguments, meant):
    """Null is no arguments, text in text the object in it, an object said twice itself."""
    call = checked_tool_call(id="a", name="f", arguments=arguments)
    assert (call.parsed(), call.error) == (meant, "")


BROKEN = [
    '{"city": "A', '{"city": "A"}}', '{"city": "A"} and more', CITY + '{"city": "B"}', "42", "[1]", "true", '"A"', '{"n": NaN}',
    "{'city': 'A'}", '{"city": }', "[" * 5000, json.dumps('{"city": '),
]  # fmt: skip


@pytest.mark.parametrize("arguments", BROKEN)
def test_what_is_broken_is_never_guessed(arguments):
    """Run with arguments that nobody meant, a tool does harm."""
    call = checked_tool_call(id="a", name="f", arguments=arguments)
    assert call.error
    assert call.arguments == arguments


@pytest.mark.parametrize("arguments", [CITY, "null", CITY + CITY])
def test_a_call_of_a_cut_answer_is_not_run_whatever_its_arguments(arguments):
    """More of it may have been on its way."""
    assert checked_tool_call(id="a", name="f", arguments=arguments, is_cut=True).error == CUT_OFF
