"""TOML -> frozen settings -> models. Unknown keys, wrong units and missing keys fail at load, naming the line and the nearest known word.

[chat.default]
targets = ["openai:gpt-5-mini", ["openai:a", "openai:b"]]      an inner list shares the load as equals
cache = "sqlite:.surefoot/cache.db"
[chat.default.policy]
deadline_s = 60
[chat.default.semantic]                                         cached answers also for the same question in other words
embed = "local:multilingual-e5-small"
[embed.default]
targets = ["openai:text-embedding-3-small"]
[target."openai:gpt-5-mini"]
requests_per_minute = 500
"""

from __future__ import annotations

import difflib
import re
import tomllib
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

import msgspec

from surefoot._documented import Documented
from surefoot.credentials import at_hand
from surefoot.errors import Misconfigured
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.providers import registry
from surefoot.settings import Policy, Semantic, SpendLimit, Target

LOCAL_SERVERS = ((11434, "Ollama"), (8080, "llama.cpp"), (8000, "vLLM"), (1234, "LM Studio"))  # their customary ports
PROBE_S = 0.3  # a server on this machine answers in milliseconds or is not there
SECTIONS = ("chat", "embed", "target")
MODEL_KEYS = ("targets", "policy", "cache", "ledger")
CHAT_KEYS = (*MODEL_KEYS, "semantic")
TARGET_KEYS = tuple(name for name in Target.__struct_fields__ if name not in {"name", "client"})
POLICY_KEYS = Policy.__struct_fields__
UNITS = ("_s", "_ms", "_usd", "_tokens", "_per_minute", "_per_target", "_calls")


def load(path: str | Path) -> Models:
    """Read `path`. Raises Misconfigured for a file that cannot be read or says something nobody understands."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read: {error.strerror}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{file}: not TOML: {error}") from error
    return Models(_ConfigReader(file, text).settings(data))


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
    return Discovery(_local_server(), tuple(dict.fromkeys(hints)))


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


class Models:
    """The models a file describes, built when asked for, each once."""

    def __init__(self, settings: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        self._settings = settings
        self._built: dict[tuple[str, str], Any] = {}

    def chat(self, name: str = "default") -> ChatModel:
        """The chat model `[chat.NAME]`. Raises Misconfigured if the file has none of that name, or a key or extra is missing."""
        return self._model("chat", name, ChatModel)  # type: ignore[no-any-return]

    def embed(self, name: str = "default") -> EmbedModel:
        """The embedding model `[embed.NAME]`."""
        return self._model("embed", name, EmbedModel)  # type: ignore[no-any-return]

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of all `chat` or `embed` models."""
        return tuple(self._settings.get(kind, {}))

    def targets(self, kind: str) -> tuple[Target, ...]:
        """The targets of all `chat` or `embed` models, each once."""
        given = [one for settings in self._settings.get(kind, {}).values() for one in settings["targets"]]
        flat = [target for one in given for target in (one if isinstance(one, list | tuple) else [one])]
        return tuple(dict.fromkeys(target if isinstance(target, Target) else Target(target) for target in flat))

    def _model(self, kind: str, name: str, build: Any) -> Any:
        known = self._settings.get(kind, {})
        if name not in known:
            raise Misconfigured(f"no [{kind}.{name}] in the file; it has {', '.join(f'[{kind}.{one}]' for one in known) or 'none'}")
        if (kind, name) not in self._built:
            settings = dict(known[name])
            self._built[kind, name] = build(*settings.pop("targets"), **settings)
        return self._built[kind, name]


_TargetFields = msgspec.defstruct(  # Target without name and key: msgspec cannot convert into a union with Secret
    "_TargetFields",
    [(name, get_type_hints(Target)[name], None) for name in TARGET_KEYS if name != "api_key"],
)


class _ConfigReader:
    """Checks a file's words against what is known, with the line to look at."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._lines = text.splitlines()

    def settings(self, data: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
        """Every model's settings, ready to build."""
        self._known(data, SECTIONS, "section")
        targets = {name: self._target(name, values) for name, values in data.get("target", {}).items()}
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for kind in ("chat", "embed"):
            for name, values in data.get(kind, {}).items():
                where = f"[{kind}.{name}]"
                if not isinstance(values, dict):
                    self._fail(f"{kind}.{name}", f"{where} must be a table with targets = [...]; for the usual one write [{kind}.default]")
                self._known(values, CHAT_KEYS if kind == "chat" else MODEL_KEYS, f"key in {where}")
                if not values.get("targets"):
                    self._fail(f"{kind}.{name}", f'{where} needs targets = ["provider:model", ...]')
                found.setdefault(kind, {})[name] = {
                    "targets": [self._targets(one, targets) for one in values["targets"]],
                    "policy": self._policy(values.get("policy", {}), where),
                    "cache": values.get("cache"),
                    "ledger": values.get("ledger"),
                }
                if "semantic" in values:
                    found[kind][name]["semantic"] = self._semantic(values["semantic"], where, targets)
        if not found:
            raise Misconfigured(f"{self._file}: describes no model; begin with [chat.default] and targets = [...]")
        self._unused(targets, found)
        return found

    def _targets(self, given: Any, targets: Mapping[str, Target]) -> Any:
        if isinstance(given, list):
            return [self._targets(one, targets) for one in given]
        if not isinstance(given, str):
            self._fail(str(given), f"a target is text such as 'openai:gpt-5-mini', not {given!r}")
        return targets.get(given) or Target(given)

    def _target(self, name: str, values: Mapping[str, Any]) -> Target:
        where = f'[target."{name}"]'
        self._known(values, TARGET_KEYS, f"key in {where}")
        fields = dict(values)
        for pairs in ("headers", "options"):
            if isinstance(fields.get(pairs), dict):
                fields[pairs] = list(fields[pairs].items())
        key = fields.pop("api_key", None)
        if not (key is None or isinstance(key, str)):
            self._fail("api_key", f'{where}: api_key is text, or a reference such as "env:OPENAI_API_KEY"')
        try:
            checked = msgspec.convert(fields, _TargetFields)
            return Target(name, api_key=key, **{one: getattr(checked, one) for one in fields})
        except msgspec.ValidationError as error:
            self._fail(_field(error), f"{where}: {error}")

    def _policy(self, values: Mapping[str, Any], where: str) -> Policy:
        self._known(values, POLICY_KEYS, f"key in {where[:-1]}.policy]")
        budgets = values.get("budgets")
        for budget in budgets if isinstance(budgets, list) else ():
            if isinstance(budget, dict):
                self._known(budget, SpendLimit.__struct_fields__, f"key in [{where[:-1]}.policy.budgets]]")
        fields = {name: None if value is False and name.endswith("_s") else value for name, value in values.items()}
        try:
            return msgspec.convert(fields, Policy)
        except msgspec.ValidationError as error:
            self._fail(_field(error), f"{where[:-1]}.policy]: {error}")
        except Misconfigured as error:
            field = re.search(r"(\w+) = ", str(error))
            self._fail(field[1] if field else "", f"{where[:-1]}.policy]: {error}")

    def _semantic(self, values: Any, where: str, targets: Mapping[str, Target]) -> Semantic:
        inside = f"{where[:-1]}.semantic]"
        if not isinstance(values, dict):
            self._fail("semantic", f'{inside} must be a table, for example with embed = "local:multilingual-e5-small"')
        self._known(values, Semantic.__struct_fields__, f"key in {inside}")
        try:
            said = msgspec.convert(values, Semantic)
        except msgspec.ValidationError as error:
            self._fail(_field(error) or "semantic", f"{inside}: {error}")
        return msgspec.structs.replace(said, embed=self._targets(said.embed, targets))

    def _known(self, values: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
        for name in values:
            if name in known:
                continue
            stem = re.sub(r"_(s|ms|sec|seconds|minutes|usd|dollars)$", "", name)
            units = [one for one in known if one != name and one.startswith(stem) and one.endswith(UNITS)]
            near = units or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            self._fail(name, f"unknown {what}: {name!r}{hint}")

    def _unused(self, targets: Mapping[str, Target], found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        used: set[str] = set()
        for models in found.values():
            for settings in models.values():
                for one in [*settings["targets"], *([settings["semantic"].embed] if "semantic" in settings else [])]:
                    used |= {each.name for each in (one if isinstance(one, list) else [one])}
        for name in targets:
            if name not in used:
                near = difflib.get_close_matches(name, used, n=1)
                self._fail(name, f'[target."{name}"] is used by no model' + (f"; did you mean {near[0]!r}?" if near else ""))

    def _fail(self, word: str, message: str) -> NoReturn:
        pattern = re.compile(rf"(?<![\w.-]){re.escape(word)}(?![\w-])") if word else None
        line = next((n for n, text in enumerate(self._lines, 1) if pattern and pattern.search(text.split("#")[0])), None)
        raise Misconfigured(f"{self._file}{f', line {line}' if line else ''}: {message}")


def _field(error: msgspec.ValidationError) -> str:
    match = re.search(r"at `\$.*?(\w+)(?:\[[^\]]*\])*`", str(error))  # the last word of the path: `$.budgets[0].period`
    return match[1] if match else ""


DEFAULT_CONFIG = Path("surefoot.toml")
