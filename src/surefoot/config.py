"""TOML -> frozen settings -> models. Unknown keys, wrong units and missing keys fail at load, naming the line and the nearest known word.

[chat.default]
targets = ["openai:gpt-5-mini", ["openai:a", "openai:b"]]      an inner list shares the load as equals
cache = "sqlite:.surefoot/cache.db"
[chat.default.policy]
deadline_s = 60
[chat.default.options]                                          what every call says, unless it says otherwise
temperature = 0
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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, get_type_hints

import msgspec

from surefoot._toml_lines import KeyPath, TomlLines
from surefoot.errors import Misconfigured
from surefoot.models.chat import ChatModel, ChatOptions, checked
from surefoot.models.embed import EmbedModel
from surefoot.secret import Secret, locals_cleared
from surefoot.settings import Policy, Semantic, SpendLimit, Target
from surefoot.storage.sql import is_postgres_url
from surefoot.telemetry.log import Log

SECTIONS = ("chat", "embed", "target")
SERVICE = "serve"  # the gateway's own table, which the gateway checks
MODEL_KEYS = ("targets", "policy", "cache", "ledger", "log")
CHAT_KEYS = (*MODEL_KEYS, "semantic", "options")
TARGET_KEYS = tuple(name for name in Target.__struct_fields__ if name not in {"name", "client"})
POLICY_KEYS = Policy.__struct_fields__
SAID = ("cache", "ledger", "shared", "budget_store")  # what a model that cannot be built may complain of, beside its targets
# What a shell would replace. Without braces only as a whole value or a segment of a path: within a password a "$" is a "$".
VARIABLE = re.compile(r"\$\{(\w+)\}|(?:^|(?<=[:/]))\$([A-Z_][A-Z0-9_]+)(?=$|/)")
UNITS = ("_s", "_ms", "_usd", "_tokens", "_per_minute", "_per_target", "_calls")


def load(path: str | Path) -> Models:
    """Read `path` and build its models; nothing is connected yet.

    Raises Misconfigured, with the line, for a file that cannot be read, that says something nobody understands, or whose models cannot be
    built: a key that is not there, an unknown provider or cache, a package that is not installed.
    """
    models = read(path)
    models.build()
    return models


def read(path: str | Path) -> Models:
    """`load`, but each model is built when it is asked for, so that one without a key keeps nobody from the others."""
    with locals_cleared():  # the file may hold keys
        return _read(Path(path))


def _read(file: Path) -> Models:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        wrong = f"{file}, line {line}: not UTF-8, which TOML is written in"
    else:
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            wrong = f"{file}: not TOML: {error}"
        except RecursionError:
            wrong = f"{file}: not TOML that can be read: arrays or tables within one another, a thousand deep"
        else:
            reader = _ConfigReader(file, TomlLines(text))
            reader.refuse_variables(data, ())
            serve = data.pop(SERVICE, {})
            if not isinstance(serve, dict):
                raise Misconfigured(f"{file}: [serve] must be a table")
            return Models(reader.settings(data), reader.place, serve=serve)
        twice = TomlLines(text).twice
        if twice is not None:
            path, line, first = twice
            wrong = f"{file}, line {line}: {'.'.join(map(str, path))} stands there twice, first on line {first}"
    raise Misconfigured(wrong)  # outside, since the parser's error holds the text


class Models:
    """The models a file describes, built when asked for, each once."""

    def __init__(
        self,
        settings: Mapping[str, Mapping[str, Mapping[str, Any]]],
        place: Callable[[tuple[str, str], str], str] | None = None,
        *,
        serve: Mapping[str, Any] | None = None,
    ) -> None:
        self.serve: Mapping[str, Any] = serve or {}
        """What the table `[serve]` says, for the gateway; empty: nothing."""
        self._settings = settings
        self._place = place or (lambda path, _: f"[{path[0]}.{path[1]}]")
        self._built: dict[tuple[str, str], Any] = {}

    def chat(self, name: str = "default") -> ChatModel:
        """The chat model `[chat.NAME]`. Raises Misconfigured if the file has none of that name, or a key or extra is missing."""
        return self._model("chat", name, ChatModel)  # type: ignore[no-any-return]

    def embed(self, name: str = "default") -> EmbedModel:
        """The embedding model `[embed.NAME]`."""
        return self._model("embed", name, EmbedModel)  # type: ignore[no-any-return]

    def build(self) -> None:
        """Build all models. Raises Misconfigured, with the line, for the first that cannot be."""
        for kind, known in self._settings.items():
            for name in known:
                self.chat(name) if kind == "chat" else self.embed(name)

    def with_lane(self, lane: Literal["sdk", "direct"]) -> Models:
        """The same, to be built anew: targets that leave their lane open (`lane = "auto"`) take `lane`."""

        def one(given: Any) -> Any:
            if isinstance(given, list | tuple):
                return tuple(map(one, given))
            target = Target(given) if isinstance(given, str) else given
            is_open = isinstance(target, Target) and target.lane == "auto" and target.client is None and target.provider != "local"
            return msgspec.structs.replace(target, lane=lane) if is_open else given

        settings = {
            kind: {name: {**said, "targets": [one(target) for target in said["targets"]]} for name, said in known.items()}
            for kind, known in self._settings.items()
        }
        return Models(settings, self._place, serve=self.serve)

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of all `chat` or `embed` models."""
        return tuple(self._settings.get(kind, {}))

    def has_ledger(self, kind: str, name: str) -> bool:
        """Whether the model names a ledger of its own."""
        return self._settings[kind][name].get("ledger") is not None

    def has_cache(self, kind: str, name: str) -> bool:
        """Whether the model keeps its answers."""
        return self._settings[kind][name].get("cache") is not None

    def targets(self, kind: str, name: str | None = None) -> tuple[Target, ...]:
        """The targets of all `chat` or `embed` models, or of the one of that name, each once."""
        models = self._settings.get(kind, {})
        given = [one for known, settings in models.items() if name in {None, known} for one in settings["targets"]]
        flat = [target for one in given for target in (one if isinstance(one, list | tuple) else [one])]
        return tuple(dict.fromkeys(target if isinstance(target, Target) else Target(target) for target in flat))

    def _model(self, kind: str, name: str, build: Any) -> Any:
        known = self._settings.get(kind, {})
        if name not in known:
            raise Misconfigured(f"no [{kind}.{name}] in the file; it has {', '.join(f'[{kind}.{one}]' for one in known) or 'none'}")
        if (kind, name) not in self._built:
            settings = dict(known[name])
            is_logged = settings.pop("log", False)
            try:
                self._built[kind, name] = build(*settings.pop("targets"), **settings)
            except Misconfigured as error:
                raise Misconfigured(f"{self._place((kind, name), str(error))}: {error}") from error.__cause__
            if is_logged:
                Log().watch(self._built[kind, name])
        return self._built[kind, name]


_TargetFields = msgspec.defstruct(  # Target without name and key: msgspec cannot convert into a union with Secret
    "_TargetFields",
    [(name, get_type_hints(Target)[name], None) for name in TARGET_KEYS if name != "api_key"],
)


class _ConfigReader:
    """Checks a file's words against what is known, with the line to look at."""

    def __init__(self, file: Path, lines: TomlLines) -> None:
        self._file = file
        self._lines = lines
        self._listed: dict[tuple[str, str], list[Any]] = {}  # of each model: its targets as they stand

    def settings(self, data: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
        """Every model's settings, ready to build."""
        self._known(data, SECTIONS, "section", ())
        tables = {section: self._table(data.get(section, {}), (section,)) for section in SECTIONS}
        targets = {name: self._target(name, values) for name, values in tables["target"].items()}
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for kind in ("chat", "embed"):
            for name, values in tables[kind].items():
                found.setdefault(kind, {})[name] = self._model(values, (kind, name), targets)
        if not found:
            raise Misconfigured(f"{self._file}: describes no model; begin with [chat.default] and targets = [...]")
        self._unused(targets, found)
        return found

    def place(self, model: tuple[str, str], message: str) -> str:
        """What a message about a model that cannot be built begins with: the file, the line of what it names, the model's table."""
        kind, name = model
        listed = list(_texts(self._listed[model], (*model, "targets")))
        named = [(path, text) for path, text in listed if text in message or f"{text.partition(':')[0]!r}" in message]
        inside = [("target", text, "api_key") for _, text in named if "key" in message] + [path for path, _ in named]
        inside += [(*model, *table, word) for table in ((), ("policy",)) for word in SAID if re.search(rf"\b{word}\b", message)]
        line = next((line for path in inside if (line := self._lines.own_line(path))), self._lines.line(model))
        return f"{self._file}{f', line {line}' if line else ''}: [{kind}.{name}]"

    def refuse_variables(self, value: Any, path: KeyPath) -> None:
        """Raise Misconfigured for text that a shell would replace: here it stands as it is, and a key would be sent as its name."""
        if isinstance(value, str) and "options" not in path:
            found = VARIABLE.search(value)
            if found is not None:
                name = found[1] or found[2]
                wanted = f'write "env:{name}"' if path[-1] == "api_key" else "write the value itself"
                self._fail(path, f"{path[-1]}: {found[0]} is not replaced by the variable's value here; {wanted}")
        rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, one in rows:
            self.refuse_variables(one, (*path, key))

    def _model(self, values: Any, path: tuple[str, str], targets: Mapping[str, Target]) -> dict[str, Any]:
        """The settings of one model."""
        kind, name = path
        where = f"[{kind}.{name}]"
        if not isinstance(values, dict):
            self._fail(path, f"{where} must be a table with targets = [...]; for the usual one write [{kind}.default]")
        self._known(values, CHAT_KEYS if kind == "chat" else MODEL_KEYS, f"key in {where}", path)
        if not (values.get("targets") and isinstance(values["targets"], list)):
            self._fail((*path, "targets"), f'{where} needs targets = ["provider:model", ...]')
        if not isinstance(values.get("log", False), bool):
            self._fail((*path, "log"), f"{where}: log is true or false, not {values['log']!r}")
        for word in ("cache", "ledger"):
            if not isinstance(values.get(word, ""), str):
                self._fail((*path, word), f"{where}: {word} is text, not {values[word]!r}")
        self._listed[path] = values["targets"]
        found = {
            "targets": [self._targets(one, targets, (*path, "targets", n)) for n, one in enumerate(values["targets"])],
            "policy": self._policy(self._table(values.get("policy", {}), (*path, "policy")), where, (*path, "policy")),
            "cache": Secret(values["cache"]) if "cache" in values else None,  # it may hold a password
            "ledger": Secret(values["ledger"]) if is_postgres_url(values.get("ledger")) else values.get("ledger"),
            "log": values.get("log", False),
        }
        if "options" in values:
            found |= self._options(self._table(values["options"], (*path, "options")), where, (*path, "options"))
        if "semantic" in values:
            found["semantic"] = self._semantic(values["semantic"], where, targets, (*path, "semantic"))
        return found

    def _options(self, values: Mapping[str, Any], where: str, path: KeyPath) -> dict[str, Any]:
        """What a chat model says of every call."""
        self._known(values, tuple(ChatOptions.__annotations__), f"key in {where[:-1]}.options]", path)
        for name, value in values.items():
            try:
                checked({name: value})
            except Misconfigured as error:
                self._fail((*path, name), f"{where[:-1]}.options]: {error}")
        return dict(values)

    def _table(self, values: Any, path: KeyPath) -> dict[str, Any]:
        if not isinstance(values, dict):
            self._fail(path, f"{'.'.join(map(str, path))} must be a table")
        return values

    def _targets(self, given: Any, targets: Mapping[str, Target], path: KeyPath) -> Any:
        if isinstance(given, list):
            return [self._targets(one, targets, (*path, n)) for n, one in enumerate(given)]
        if not isinstance(given, str):
            self._fail(path, f"a target is text such as 'openai:gpt-5-mini', not {given!r}")
        try:
            return targets.get(given) or Target(given)
        except Misconfigured as error:
            self._fail(path, str(error))

    def _target(self, name: str, values: Any) -> Target:
        path, where = ("target", name), f'[target."{name}"]'
        self._known(self._table(values, path), TARGET_KEYS, f"key in {where}", path)
        fields = dict(values)
        for pairs in ("headers", "options"):
            if isinstance(fields.get(pairs), dict):
                fields[pairs] = list(fields[pairs].items())
        key = fields.pop("api_key", None)
        if not (key is None or isinstance(key, str)):
            self._fail((*path, "api_key"), f'{where}: api_key is text, or a reference such as "env:OPENAI_API_KEY"')
        try:
            checked = msgspec.convert(fields, _TargetFields)
            return Target(name, api_key=key, **{one: getattr(checked, one) for one in fields})
        except (msgspec.ValidationError, Misconfigured) as error:
            self._fail((*path, *_inside(error, TARGET_KEYS)), f"{where}: {error}")

    def _policy(self, values: Mapping[str, Any], where: str, path: KeyPath) -> Policy:
        self._known(values, POLICY_KEYS, f"key in {where[:-1]}.policy]", path)
        budgets = values.get("budgets")
        limits: list[SpendLimit] = []
        for number, budget in enumerate(budgets if isinstance(budgets, list) else ()):
            limits.append(self._limit(budget, f"[{where[:-1]}.policy.budgets]]", (*path, "budgets", number)))
        fields = {name: None if value is False and name.endswith("_s") else value for name, value in values.items() if name != "budgets"}
        if "budgets" in values and not isinstance(budgets, list):
            self._fail((*path, "budgets"), f"budgets are tables: [{where[:-1]}.policy.budgets]]")
        try:
            return msgspec.structs.replace(msgspec.convert(fields, Policy), budgets=tuple(limits))
        except (msgspec.ValidationError, Misconfigured) as error:
            self._fail((*path, *_inside(error, POLICY_KEYS)), f"{where[:-1]}.policy]: {error}")

    def _limit(self, values: Any, where: str, path: KeyPath) -> SpendLimit:
        self._known(self._table(values, path), SpendLimit.__struct_fields__, f"key in {where}", path)
        try:
            return msgspec.convert(values, SpendLimit)
        except (msgspec.ValidationError, Misconfigured) as error:
            self._fail((*path, *_inside(error, SpendLimit.__struct_fields__)), f"{where}: {error}")

    def _semantic(self, values: Any, where: str, targets: Mapping[str, Target], path: KeyPath) -> Semantic:
        inside = f"{where[:-1]}.semantic]"
        if not isinstance(values, dict):
            self._fail(path, f'{inside} must be a table, for example with embed = "local:multilingual-e5-small"')
        self._known(values, Semantic.__struct_fields__, f"key in {inside}", path)
        try:
            said = msgspec.convert(values, Semantic)
        except (msgspec.ValidationError, Misconfigured) as error:
            self._fail((*path, *_inside(error, Semantic.__struct_fields__)), f"{inside}: {error}")
        return msgspec.structs.replace(said, embed=self._targets(said.embed, targets, (*path, "embed")))

    def _known(self, values: Mapping[str, Any], known: tuple[str, ...], what: str, path: KeyPath) -> None:
        for name in values:
            if name in known:
                continue
            stem = re.sub(r"_(s|ms|sec|seconds|minutes|usd|dollars)$", "", name)
            units = [one for one in known if one != name and one.startswith(stem) and one.endswith(UNITS)]
            near = units or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            self._fail((*path, name), f"unknown {what}: {name!r}{hint}")

    def _unused(self, targets: Mapping[str, Target], found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        used: set[str] = set()
        for models in found.values():
            for settings in models.values():
                for one in [*settings["targets"], *([settings["semantic"].embed] if "semantic" in settings else [])]:
                    used |= {each.name for each in (one if isinstance(one, list) else [one])}
        for name in targets:
            if name not in used:
                near = difflib.get_close_matches(name, used, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self._fail(("target", name), f'[target."{name}"] is used by no model{hint}')

    def _where(self, path: KeyPath) -> str:
        line = self._lines.line(path)
        return f"{self._file}{f', line {line}' if line else ''}"

    def _fail(self, path: KeyPath, message: str) -> NoReturn:
        raise Misconfigured(f"{self._where(path)}: {message}") from None


def _texts(given: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """The texts of nested lists, each with where it stands."""
    if isinstance(given, list):
        for n, one in enumerate(given):
            yield from _texts(one, (*path, n))
    elif isinstance(given, str):
        yield path, given


def _inside(error: Exception, known: tuple[str, ...]) -> tuple[str | int, ...]:
    """Where in a table `error` is: msgspec's path (`$.budgets[0].period`), or the first of the `known` words that our own message names."""
    if not isinstance(error, msgspec.ValidationError):
        return next(((word,) for word in re.findall(r"\w+", str(error).partition(": ")[2]) if word in known), ())
    path = re.search(r"at `\$(.*)`", str(error))
    parts = re.findall(r"\.(\w+)|\[(\d+)\]", path[1]) if path else []
    return tuple(word or int(number) for word, number in parts)


DEFAULT_CONFIG = Path("surefoot.toml")
