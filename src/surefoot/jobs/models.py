"""From the names that a job says to models: those a worker was given, those of its settings file, or targets by their own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from surefoot.config import DEFAULT_CONFIG, Models, load
from surefoot.errors import Misconfigured
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.providers import registry
from surefoot.settings import Policy, Target

Given: TypeAlias = "Mapping[str, Any] | Models | ChatModel | EmbedModel | ModelSource | None"

CLASSES: dict[str, type[ChatModel | EmbedModel]] = {"chat": ChatModel, "embed": EmbedModel}


def model_names(said: str | Sequence[str]) -> tuple[str, ...]:
    """What `submit(model=...)` may be, as names. Raises Misconfigured for anything that could not be written down."""
    names = (said,) if isinstance(said, str) else tuple(said) if isinstance(said, Sequence) else ()
    if not names or not all(type(name) is str and name.strip() for name in names):
        raise Misconfigured(
            'model is a name, since a job outlives this process: "default" for [chat.default] of the settings file, "openai:gpt-5-mini" '
            "for a target, or a list of targets in order of preference; "
            f"a {type(said).__name__} goes into jobs.open(url, models={{'default': ...}})"
        )
    return names


class ModelSource:
    """Finds models by name: in `given` (a mapping of names, what `surefoot.load` gave, or one model called "default"), then in the file.

    `config` is the settings file; None: surefoot.toml, where there is one. Models it builds itself are closed with it.
    """

    def __init__(self, given: Given, config: str | Path | None) -> None:
        if isinstance(given, ChatModel | EmbedModel):
            given = {"default": given}
        self._given: Any = given
        self._config = config
        self._file: Models | None = None
        self._built: dict[tuple[str, tuple[str, ...]], Any] = {}

    def check(self, kind: str, names: tuple[str, ...]) -> None:
        """Raise Misconfigured for a name that is nowhere, as far as this process can tell: who only submits may know no model at all."""
        if len(names) > 1 or (":" in names[0] and self._in_given(kind, names[0]) is None):
            for name in names:
                registry.check_kind(Target(name), kind)
        elif self._given is not None or self._settings() is not None:
            self._named(kind, names[0], build=False)

    def model(self, kind: str, names: tuple[str, ...]) -> Any:
        """The chat model (`kind` "chat") or embedding model ("embed") of that name, or of those targets. Raises Misconfigured."""
        if len(names) == 1:
            found = self._named(kind, names[0], build=True) if ":" not in names[0] else self._in_given(kind, names[0])
            if found is not None:
                return found
        if (kind, names) not in self._built:
            self._built[kind, names] = CLASSES[kind](*names, policy=Policy())
        return self._built[kind, names]

    def _in_given(self, kind: str, name: str) -> Any:
        if not isinstance(self._given, Mapping):
            return None
        found = self._given.get(name)
        if found is not None and not isinstance(found, CLASSES[kind]):
            raise Misconfigured(
                f"the model {name!r} is a {type(found).__name__}, and {'a ChatModel' if kind == 'chat' else 'an EmbedModel'} is needed"
            )
        return found

    def _named(self, kind: str, name: str, *, build: bool) -> Any:
        found = self._in_given(kind, name)
        if found is not None:
            return found
        known = list(self._given) if isinstance(self._given, Mapping) else []
        for models in (self._given, self._settings()):
            if isinstance(models, Models):
                if name in models.names(kind):
                    return models.chat(name) if build and kind == "chat" else models.embed(name) if build else True
                known += models.names(kind)
        where = (
            f"known are {', '.join(known)}"
            if known
            else f"describe it in {self._config or DEFAULT_CONFIG}, or give it to jobs.open(url, models=...)"
        )
        raise Misconfigured(f"there is no {kind} model {name!r} here: {where}")

    def _settings(self) -> Models | None:
        if self._file is None:
            path = Path(self._config) if self._config is not None else DEFAULT_CONFIG
            if self._config is not None or path.exists():
                self._file = load(path)
        return self._file

    async def aclose(self) -> None:
        """Close the models built here; those of the file and those given stay open, as others may use them."""
        built, self._built = self._built, {}
        for model in built.values():
            await model.aclose()
