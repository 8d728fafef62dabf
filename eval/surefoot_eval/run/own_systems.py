"""Anybody's system under examination: a Python function, a service over HTTP, or a file of answers given before.

What any of them gives of a question is text, or a table of which only `answer` is needed:

    {"answer": "45 seconds [1]", "refused": false, "passages": [{"document": "en/breaker.md", "text": "..."}],
     "citations": [{"document": "en/breaker.md", "start": 2187, "end": 2329}], "input_tokens": 900, "output_tokens": 12, "cost_usd": 0.0004}

A passage without `start` and `end` is looked for in the documents by its text. Without `refused` the wording decides; without `citations`
the marks `[1]` in the answer do.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from surefoot import Message, Target
from surefoot.credentials import key_source
from surefoot.errors import Misconfigured
from surefoot_eval.data.dataset import Dataset, LabelledQuestion
from surefoot_eval.data.formats import TextSpan
from surefoot_eval.data.records import Cost, Record, Shown
from surefoot_eval.data.suite import System
from surefoot_eval.metric_names import load_module
from surefoot_rag.answers.prompting import citations, is_refusal
from surefoot_rag.answers.thinking import without_thinking
from surefoot_rag.records import Answer, Passage

__all__ = ["OwnSystem", "Predictions", "function", "mark_of_own", "reached"]

Ask = Callable[[LabelledQuestion, Sequence[Message]], Any]
SAID = 300  # characters of an error's message that a record keeps
OPENAI = "choices.0.message.content"


class _ToldAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a system may say of a question."""

    answer: str = ""
    refused: bool | None = None
    passages: tuple[Mapping[str, Any] | str, ...] = ()
    citations: tuple[Mapping[str, Any], ...] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    seconds: float | None = None
    error: str = ""


class OwnSystem:
    """Asks a system of anybody's, one question at a time, from several threads; what it raises is that question's error."""

    def __init__(self, system: System, material: Dataset, *, near: Path) -> None:
        self.name = system.name
        self.material = material
        self._ask = _opened(system, material, near)

    def ask(self, asked: LabelledQuestion, seed: int, *, tries: int = 1, earlier: Sequence[Message] = ()) -> Record:
        """Ask one question, `earlier` being the conversation's turns before it; a failure is a record too."""
        started = time.perf_counter()
        said: dict[str, Any] = {}
        try:
            given = self._ask(asked, earlier)
            seconds = time.perf_counter() - started
            said = {"pipeline_s": seconds, **self._record(given, seconds)}
        except Misconfigured:
            raise
        except Exception as error:  # noqa: BLE001 - it is foreign code; what it raises is told in the report
            said = {"error": f"{type(error).__name__}: {error}"[:SAID], "pipeline_s": time.perf_counter() - started}
        return Record(system=self.name, question=asked.query.id, seed=seed, tries=tries, **said)

    def _record(self, given: Any, seconds: float) -> dict[str, Any]:
        if isinstance(given, Answer):
            cited = [{"document": one.document_id, "start": one.start, "end": one.end} for one in given.citations]
            found = [{"id": one.id, "document": one.document_id, "start": one.start, "end": one.end} for one in given.passages]
            given = {"answer": given.text, "refused": given.refused, "citations": cited, "passages": found, "cost_usd": given.cost_usd,
                     "input_tokens": given.input_tokens, "output_tokens": given.output_tokens}  # fmt: skip
        try:
            one = msgspec.convert({"answer": given} if isinstance(given, str) else given, _ToldAnswer)
        except msgspec.ValidationError as error:
            raise TypeError(f"it gave {type(given).__name__}, wanted text or a table with answer: {error}") from error
        if one.error:
            return {"error": one.error[:SAID]}
        text = without_thinking(one.answer)
        passages = [self._passage(at, each) for at, each in enumerate(one.passages, 1)]
        refused = is_refusal(text) if one.refused is None else one.refused
        cost = Cost(
            calls=1,
            seconds=seconds if one.seconds is None else one.seconds,
            input_tokens=one.input_tokens,
            output_tokens=one.output_tokens,
            usd=one.cost_usd,
            attempts=1,
            replayed=one.seconds is not None,
        )
        return {
            "answer": text,
            "refused": refused,
            "passages": tuple(passages),
            "cost": cost,
            "citations": () if refused else self._cited(one, text, passages),
        }

    def _cited(self, given: _ToldAnswer, text: str, passages: Sequence[Shown]) -> tuple[TextSpan, ...]:
        if given.citations is not None:
            return tuple(TextSpan(str(one["document"]), int(one["start"]), int(one["end"])) for one in given.citations)
        shown = [
            Passage(id=one.id, document_id=one.document, title="", text=self.material.shown(one), start=one.start, end=one.end, source="")
            for one in passages
        ]
        cited = [one for one in citations(text, shown) if one.document_id]
        return tuple(dict.fromkeys(TextSpan(one.document_id, one.start, one.end) for one in cited))

    def _passage(self, at: int, given: Mapping[str, Any] | str) -> Shown:
        told: Mapping[str, Any] = {"text": given} if isinstance(given, str) else given
        text, document = str(told.get("text", "")), str(told.get("document", ""))
        key = str(told.get("id", f"passage {at}"))
        if "start" in told and "end" in told and document in self.material.text:
            return Shown(id=key, document=document, start=int(told["start"]), end=int(told["end"]))
        among = [document] if document in self.material.text else list(self.material.text)
        for name in among:
            place = self.material.text[name].find(text.strip()) if text.strip() else -1
            if place >= 0:
                return Shown(id=key, document=name, start=place, end=place + len(text.strip()))
        return Shown(id=key, document=document, start=0, end=0, text=text)


class Predictions:
    """A file of answers given before, lines of JSON with `id` or `question` and what a system may say."""

    def __init__(self, file: Path, material: Dataset) -> None:
        by_text = {one.query.text: one.query.id for one in material.questions}
        self.known: dict[str, Mapping[str, Any]] = {}
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as exc:
            raise Misconfigured(f"{file}: cannot be read ({exc.strerror})") from exc
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                key = str(row.pop("id")) if "id" in row else by_text[row["question"]]
                row.pop("question", None)
                msgspec.convert(row, _ToldAnswer)
            except (ValueError, KeyError, AttributeError, TypeError, msgspec.ValidationError) as exc:
                raise Misconfigured(f"{file}, line {number}: want an object with id or question of the suite, and answer ({exc})") from exc
            unknown = sorted(row.keys() - set(_ToldAnswer.__struct_fields__))
            if key not in material.asked or unknown or key in self.known:
                why = (
                    f"no question {key!r} in the suite"
                    if key not in material.asked
                    else f"unknown {unknown}"
                    if unknown
                    else f"{key!r} stands twice"
                )
                raise Misconfigured(f"{file}, line {number}: {why}")
            self.known[key] = row

    def __call__(self, asked: LabelledQuestion, earlier: Sequence[Message] = ()) -> Mapping[str, Any]:
        """What the file says, whatever was said before; a question that is not in it is an error of that question."""
        del earlier
        if asked.query.id not in self.known:
            raise LookupError("no prediction")
        return self.known[asked.query.id]


def function(named: str, *, near: Path) -> Callable[..., Any]:
    """The function behind "module:function"; modules beside the suite are found, too. Raises Misconfigured naming what is not there."""
    module, colon, name = named.partition(":")
    if not (module and colon and name):
        raise Misconfigured(f'{named!r}: want "module:function"')
    found = getattr(load_module(module, near=near), name, None)
    if not callable(found):
        raise Misconfigured(f"{named!r}: {module} has no function {name}")
    made: Callable[..., Any] = found
    return made


def mark_of_own(system: System, *, near: Path) -> str:
    """Digest of what is asked, and of the file of answers where there is one."""
    digest = hashlib.sha256(msgspec.json.encode(system, order="sorted"))
    if system.predictions and (near / system.predictions).is_file():
        digest.update((near / system.predictions).read_bytes())
    return digest.hexdigest()


def _opened(system: System, material: Dataset, near: Path) -> Ask:
    if system.predictions:
        return Predictions(near / system.predictions, material)
    if system.url:
        return _service(system, has_turns=material.has_turns)
    made = function(system.system, near=near)
    if "documents" in inspect.signature(made).parameters:
        try:
            made = made(documents=list(material.documents))
        except ImportError as exc:
            raise Misconfigured(f"{system.name}: {system.system} needs what is not installed here: {exc}") from exc
        if not callable(made):
            raise Misconfigured(f"{system.name}: {system.system} takes documents, so it must return a function of a question")
    if "history" in inspect.signature(made).parameters:
        return lambda asked, earlier: made(asked.query.text, history=_messages(earlier))
    if material.has_turns:
        wanted = 'a function of (question, history), a list of {"role": "user" or "assistant", "content": ...}'
        raise Misconfigured(f"{system.name}: the questions are conversations, so {system.system} must be {wanted}")
    return lambda asked, _: made(asked.query.text)


def _messages(earlier: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": one.role, "content": one.text} for one in earlier]


def _service(system: System, *, has_turns: bool) -> Ask:
    """POST a question as JSON; the answer is at a path of the reply, OpenAI's unless told otherwise."""
    path, shape = system.answer_path or OPENAI, system.body or {"model": system.model, "messages": "{messages}"}
    if has_turns and not any(slot in json.dumps(shape) for slot in ('"{history}"', '"{messages}"')):
        raise Misconfigured(f'{system.name}: the questions are conversations; body needs "{{history}}" (the turns before, as messages) '
                            'or "{messages}" (those and the question)')  # fmt: skip
    url = system.url if system.body else f"{system.url.rstrip('/')}/chat/completions"
    source = key_source(Target("openai:eval", api_key=system.api_key, base_url=system.url), ()) if system.api_key else None

    opener = urllib.request.build_opener(_NoRedirect())

    def ask(asked: LabelledQuestion, earlier: Sequence[Message]) -> Any:
        body = json.dumps(_filled(shape, asked.query.text, _messages(earlier))).encode()
        headers = {"Content-Type": "application/json", **system.headers}
        if source is not None:
            headers["Authorization"] = f"Bearer {_revealed(source)}"
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - the suite names it
        try:
            with opener.open(request, timeout=system.timeout_s) as reply:
                told = json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{error.code}: {error.read(200).decode(errors='replace')}") from error
        given: dict[str, Any] = {"answer": str(reached(told, path))}
        if system.passages_path:
            given["passages"] = reached(told, system.passages_path)
        usage = told.get("usage") if isinstance(told, dict) else None
        if isinstance(usage, dict):
            given |= {"input_tokens": usage.get("prompt_tokens") or 0, "output_tokens": usage.get("completion_tokens") or 0}
        return given

    return ask


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error of the question: the key would go along to wherever it points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _revealed(source: Any) -> str:
    from surefoot.runtime import run

    key = run(source.get())
    return key.reveal() if key else ""


def reached(told: Any, path: str) -> Any:
    """What stands at a dotted path of JSON: "choices.0.message.content". Raises LookupError naming the step that is missing."""
    for step in path.split("."):
        try:
            told = told[int(step)] if isinstance(told, list) else told[step]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise LookupError(f"the reply has no {step!r} of {path!r}: {json.dumps(told)[:120]}") from error
    return told


def _filled(shape: Any, question: str, history: list[dict[str, str]]) -> Any:
    """`shape` with the question where "{question}" stands, and messages in the place of "{history}" and "{messages}"."""
    if isinstance(shape, str):
        lists = {"{history}": history, "{messages}": [*history, {"role": "user", "content": question}]}
        return lists.get(shape) or ([] if shape in lists else shape.replace("{question}", question))
    if isinstance(shape, Mapping):
        return {key: _filled(value, question, history) for key, value in shape.items()}
    return [_filled(one, question, history) for one in shape] if isinstance(shape, list | tuple) else shape
