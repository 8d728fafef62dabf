"""A chat model that needs nobody's help: a vendor's key in the environment or the .env file, or a model server on this machine."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from surefoot._documented import Documented
from surefoot.credentials import at_hand
from surefoot.errors import Misconfigured
from surefoot.providers import registry
from surefoot.settings import Target

LOCAL_SERVERS = ((11434, "Ollama"), (8080, "llama.cpp"), (8000, "vLLM"), (1234, "LM Studio"))  # their customary ports
PROBE_S = 0.3  # a server on this machine answers in milliseconds or is not there


class Found(msgspec.Struct, Documented, frozen=True):
    """A chat target that is at hand, and how it was found."""

    target: Target
    """The target, ready to be used."""
    why: str
    """How it was found, as a phrase to show."""


class Discovery(msgspec.Struct, Documented, frozen=True):
    """What `look_around` found; `hints` say for each key that cannot be used what to do about it."""

    found: Found | None
    """The first target at hand; None if there is none."""
    hints: tuple[str, ...] = ()
    """For each key that cannot be used, what to do about it."""


def discover() -> Found | None:
    """A chat target that needs nobody's help: a vendor's key, or an OpenAI-protocol server on this machine; None if neither."""
    return look_around().found


def look_around() -> Discovery:
    """`discover`, with what is in the way. Keys are looked for in the environment and the .env file, local servers after them."""
    hints: list[str] = []
    for name, entry in registry.default_chats().items():
        try:
            key = at_hand(entry.key_variables)
        except Misconfigured as error:  # a .env file, and nothing that reads it
            hints.append(str(error))
            continue
        if key is None:
            continue
        variable, place = key
        try:
            registry.provider(name.partition(":")[0])
        except Misconfigured as error:
            hints.append(f"{variable} stands in {place}, but {error}")
            continue
        return Discovery(Found(Target(name), f"{variable} stands in {place}"), tuple(hints))
    found = _local_server()
    return Discovery(found, tuple(dict.fromkeys(hints if found is not None else [*hints, *_nameless()])))


def _nameless() -> Iterator[str]:
    """What to say of keys whose houses have no model that everybody would want."""
    for name, entry in registry.PROVIDERS.items():
        if entry.default_chat or entry.keyless != "elsewhere":
            continue
        key = None
        with suppress(Misconfigured):  # a .env file that nothing reads, which has been said already
            key = at_hand(entry.key_variables)
        if key is not None:
            yield f"{key[0]} stands in {key[1]}: say which model you want, as {name}:MODEL"


def _local_server() -> Found | None:
    """The first model of an OpenAI-protocol server on this machine."""
    for port, server in LOCAL_SERVERS:
        url = f"http://127.0.0.1:{port}/v1"
        try:
            asked = urllib.request.Request(f"{url}/models", headers={"authorization": "Bearer local"})  # noqa: S310 - loopback
            with urllib.request.urlopen(asked, timeout=PROBE_S) as answer:  # noqa: S310 - loopback
                models = [one["id"] for one in msgspec.json.decode(answer.read())["data"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if models:
            return Found(Target(f"openai:{models[0]}", base_url=url), f"{server}'s port {port} answered")
    return None
