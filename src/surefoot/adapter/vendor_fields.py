"""Fields of the vendors' own requests, by the names that their classes in the frameworks give them: where each stands in `extra`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from surefoot.errors import Misconfigured, SurefootError
from surefoot.facts import provider_of, vendor_of, vendors_words

INSTEAD = {  # of a vendor's word that means nothing to another vendor
    "thinking": "reasoning_effort",
    "thinking_budget": "reasoning_effort",
    "include_thoughts": "reasoning_effort",
    "reasoning": "reasoning_effort",
    "top_k": "top_p",
    "betas": "headers",
    "modalities": "extra",
    "verbosity": "max_tokens",
}


def as_it_is(value: Any) -> Any:
    """`value`."""
    return value


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """`other` laid over `one`, object by object."""
    both = dict(one)
    for name, value in other.items():
        inner = both.get(name)
        both[name] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


REASONING = ("reasoning", "reasoning_options")


def unfolded(words: Mapping[str, Any]) -> Mapping[str, Any]:
    """`words` with OpenAI's `reasoning={"effort": ..., "summary": ...}` as the effort, and the rest for the API that has it.

    LlamaIndex's class calls it `reasoning_options`.
    """
    said = next((name for name in REASONING if isinstance(words.get(name), Mapping)), None)
    if said is None:
        return words
    reasoning = words[said]
    found = {name: value for name, value in words.items() if name != said}
    if "effort" in reasoning:
        found.setdefault("reasoning_effort", reasoning["effort"])
    if rest := {name: value for name, value in reasoning.items() if name != "effort"}:
        found["reasoning"] = rest
        found.setdefault("use_responses_api", True)
    return found


def placed(
    word: str, value: Any, *, model: str, is_elsewhere: bool, owner: str = "", error: type[SurefootError] = Misconfigured
) -> dict[str, Any]:
    """`extra` for a vendor's own field that is called `word`: its value where the body of the model's provider has it.

    Raises `error` where that provider has no such field; a server of one's own is sent what nobody knows as it is.
    """
    house, _, name = model.partition(":")
    provider = vendor_of(house, name)
    known = provider_of(provider)
    place = "extra_query" if word == "default_query" else known.words.get(word, "") if known is not None else ""
    if not place:
        if known is not None and known.words and not is_elsewhere and word in vendors_words():  # not of a server that takes more
            instead = INSTEAD.get(word)
            hint = f"say {instead}" if instead else "leave it out"
            said = f"{owner}: " if owner else ""
            raise error(f"{said}{word!r} is no field of {provider}'s; {hint}, or extra={{...}} to send it all the same")
        place = word
    value = SPELLINGS.get((provider, word), SPELLINGS.get(("", word), as_it_is))(value)
    for step in reversed(place.split(".")):
        value = {step: value}
    return value  # type: ignore[no-any-return]


def _safety(value: Any) -> Any:
    """Google's list, out of LangChain's mapping from category to threshold; members of enums by their names."""
    if not isinstance(value, Mapping):
        return value
    return [{"category": getattr(one, "name", one), "threshold": getattr(level, "name", level)} for one, level in value.items()]


def _plain(value: Any) -> Any:
    """A model of a vendor's SDK as the mapping it stands for."""
    return value.model_dump(exclude_none=True, mode="json") if hasattr(value, "model_dump") else value


def _camel(value: Any) -> Any:
    """Keys as Google's JSON spells them; but not the names in a schema, which are the user's."""
    if not isinstance(value, Mapping):
        return [_camel(one) for one in value] if isinstance(value, list) else value
    found: dict[str, Any] = {}
    for name, one in value.items():
        first, *rest = name.split("_")
        key = first + "".join(map(str.capitalize, rest))
        named = key == "properties" and isinstance(one, Mapping)
        found[key] = one if key in AS_GIVEN else {own: _camel(inner) for own, inner in one.items()} if named else _camel(one)
    return found


AS_GIVEN = frozenset({"responseJsonSchema", "parametersJsonSchema", "args", "enum"})  # of Google's: JSON of the user's own
SPELLINGS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("", "betas"): lambda names: names if isinstance(names, str) else ",".join(names),
    ("google", "safety_settings"): _safety,
    ("google", "generation_config"): lambda config: _camel(_plain(config)),
    ("google", "thinking_config"): lambda config: _camel(_plain(config)),
    ("google", "built_in_tool"): lambda tool: [_camel(_plain(tool))],
    ("openai", "built_in_tools"): lambda tools: [_plain(tool) for tool in tools],
    ("anthropic", "tools"): lambda tools: [_plain(tool) for tool in tools],
    ("google", "modalities"): lambda names: [str(getattr(name, "name", name)).upper() for name in names],
    ("google", "response_modalities"): lambda names: [str(getattr(name, "name", name)).upper() for name in names],
}
