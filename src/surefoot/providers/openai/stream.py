"""The OpenAI protocol's event streams: chunks to deltas, and at the end the whole answer as it would have come without a stream."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from surefoot.errors import ConnectionLost
from surefoot.providers._merge import merged
from surefoot.providers.http.answers import lenient
from surefoot.providers.http.answers.counts import larger
from surefoot.providers.http.answers.lenient import Halves
from surefoot.providers.http.reading import ReadingContext, check_not_empty, failed, is_error_instead, new_call_id, unreadable_event
from surefoot.providers.http.sse import is_end_mark
from surefoot.providers.openai.calls import CallPieces, CallSoFar, calls_of
from surefoot.providers.openai.parts import THOUGHTS, block_of, content_of, end_of, is_own_type, text_of, thoughts_of
from surefoot.providers.openai.responses import finish_of, usage_of
from surefoot.providers.openai.shapes import ANSWER, NO_RAW, AnswerChoice, ChatAnswer, Said, Unknown, decoded, is_plain, is_said, is_text
from surefoot.text import json_text
from surefoot.types import AnswerEnd, Delta, File, Image, ToolCallDelta

OF_A_PIECE = frozenset({"token_id", "token_ids", "channel"})  # said of a piece, not of the message (Together, vLLM, Groq)
NO_REASON = (
    "the stream ended with the mark [DONE] and without a finish reason: it may have been cut behind a proxy; if this server never gives a "
    'reason, say so with options=(("end_mark", True),)'
)
KEPT = 8  # events whose fields beside the choices go into `raw`: the first, those without a choice, the last


class OpenAIChatReader:
    """Reads the events of one streamed answer. Holds the last delta back until usage and the end mark are in."""

    __slots__ = (
        "_asked", "_calls", "_content", "_finish", "_halves", "_kept", "_model", "_others", "_pieces", "_refusal", "_said", "_texts",
        "_thinks", "_thoughts", "_usage", "done", "finished",
    )  # fmt: skip

    def __init__(self, asked: ReadingContext) -> None:
        self._asked = asked
        self._pieces = CallPieces(tool.name for tool in asked.request.tools)
        self._calls = self._pieces.calls
        self._content = False
        self._texts: list[str] = []
        self._thoughts: dict[str, list[str]] = {}
        self._said: dict[str, Any] = {}  # the message's other fields so far
        self._others: dict[str, Any] = {}  # the choice's
        self._kept: list[bytes] = []
        self._halves: Halves = {}
        self._thinks = False
        self._refusal = ""
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None
        self._model = ""
        self.finished = False
        self.done = False

    def read(self, data: bytes, out: list[Delta]) -> None:
        """One event: a chunk, an error object, or [DONE]."""
        unknown = None
        try:
            chunk = ANSWER.decode(data)
        except (ValueError, RecursionError):
            if is_end_mark(data):
                self.done = True
                return
            chunk, unknown = self._decoded(data)
        choices = chunk.choices
        if chunk.usage or chunk.x_groq is not NO_RAW or (choices and choices[0].usage):
            for usage in (chunk.usage, usage_in(chunk.x_groq), choices[0].usage if choices else None):
                self._usage = larger(self._usage, usage)
        if not choices:  # Azure's first chunk, the usage chunk, a ping
            if failed(chunk.error) or chunk.object == "error" or (choices is None and is_error_instead(data)):
                raise self._asked.emit(data)
            self._keep(data)
            return
        self._model = chunk.model or self._model
        if not self._kept or choices[0].finish_reason or chunk.citations:
            self._keep(data)
        for choice in choices:
            if not choice.index:  # further choices (n > 1) are not ours to tell apart
                self._choice(choice, unknown, data if chunk.error is not NO_RAW and failed(chunk.error) else None, out)

    def _decoded(self, data: bytes) -> tuple[ChatAnswer, Unknown | None]:
        """A chunk with a field that is not known, or one that only a lenient reading takes."""
        try:
            return decoded(data, self._halves)
        except (ValueError, RecursionError) as error:
            raise unreadable_event(error, data, self._asked) from error

    def _keep(self, data: bytes) -> None:
        """Remember what an event says beside its choice; of too many the last."""
        del self._kept[KEPT - 1 :]
        self._kept.append(data)

    def _choice(self, choice: AnswerChoice, unknown: Unknown | None, broken: bytes | None, out: list[Delta]) -> None:
        if broken is not None or (choice.error is not NO_RAW and failed(choice.error)) or choice.finish_reason == "error":
            raise self._asked.emit(broken or bytes(choice.error))
        said = choice.delta or choice.message
        if said is not None and unknown is None and said.content and is_text(said):  # nearly all pieces
            self._content = True
            if self._said:
                self._say(said.content)  # type: ignore[arg-type]  # is_text says so
            else:
                self._texts.append(said.content)  # type: ignore[arg-type]
            out.append(Delta(text=said.content))  # type: ignore[arg-type]
        elif said is not None:
            text = said.content if type(said.content) is str else text_of(said)
            reasoning = thoughts_of(said)
            calls = self._called(said, unknown) if said.tool_calls or said.function_call is not None else ()
            if said.refusal:
                self._refusal += said.refusal
            if reasoning or said.reasoning_content is not None or said.reasoning is not None:
                self._thought(said)
            if unknown is not None or not is_plain(said):
                self._more(said, unknown, out)
            elif text:
                self._say(text)
            if text or reasoning or calls:
                self._content = self._content or bool(text or calls)
                out.append(Delta(text=text, reasoning=reasoning, tool_calls=calls))
        if choice.logprobs is not NO_RAW and len(choice.logprobs) > len(b"null"):
            self._others["logprobs"] = merged(self._others.get("logprobs"), lenient.value_of(choice.logprobs))
        if choice.finish_reason:
            self._finish, self.finished = choice.finish_reason, True

    def _say(self, text: str) -> None:
        if "content" in self._said:  # a list, which goes on
            self._said["content"] = _blocks(self._said["content"], [{"type": "text", "text": text}])
        else:
            self._texts.append(text)

    def _thought(self, said: Said) -> None:
        for kind in THOUGHTS:
            if (piece := getattr(said, kind)) is not None:
                self._thoughts.setdefault(kind, []).append(piece)

    def _more(self, said: Said, unknown: Unknown | None, out: list[Delta]) -> None:
        """What a piece brings beside text and calls."""
        found: dict[str, Raw] = {name: value for name in ("audio", "images", "annotations") if is_said(value := getattr(said, name))}
        others = unknown.said.items() if unknown is not None else ()
        found |= {name: value for name, value in others if name not in OF_A_PIECE and is_said(value)}
        for name, value in found.items():
            self._add(name, lenient.value_of(value))
        if isinstance(said.content, list):
            blocks = [block_of(one) for one in said.content]
            before = [{"type": "text", "text": "".join(self._texts)}] if self._texts else []
            self._said["content"] = _blocks(self._said.get("content", before), blocks)
        elif text := text_of(said):
            self._say(text)
        if found:
            parts = tuple(part for part in content_of(said, None, self._asked.vendor) if isinstance(part, Image | File))
            self._content = self._content or bool(parts)
            if parts:
                out.append(Delta(parts=parts))
            elif not self._thinks:
                self._thinks = True
                out.append(Delta(marker="thinking"))

    def _add(self, name: str, value: Any) -> None:
        if name == "audio" and isinstance(value, dict) and value.get("data"):
            value = {**value, "data": [value["data"]]}  # pieces of base64 cannot be joined as text
        self._said[name] = merged(self._said.get(name), value, name)

    def _called(self, said: Said, unknown: Unknown | None) -> tuple[ToolCallDelta, ...]:
        """The pieces of tool calls that a chunk brings; what a server adds to them is told at the end."""
        found = []
        for at, call in enumerate(calls_of(said)):
            known, piece = self._pieces.add(call)
            if piece is not None:
                found.append(piece)
            if is_own_type(call):
                known.extra["type"] = call.type
            if unknown is not None and at < len(unknown.calls):
                for field, value in unknown.calls[at].items():
                    if is_said(value):
                        known.extra[field] = merged(known.extra.get(field), lenient.value_of(value), field)
        return tuple(found)

    def end(self, out: list[Delta]) -> None:
        """The last delta, with finish reason, usage and ids, if the finish was seen. Raises ConnectionLost where the end mark alone was.

        [DONE] says that nobody sends any more, not that the model had finished: proxies write it after an answer that broke off behind
        them, and half a text would pass for whole, a call of two for all. OpenAI's SDK and LangChain take it for an end, LiteLLM does not.
        """
        if self._finish is None and not (self.done and self._asked.mark_ends):
            if self.done:
                raise ConnectionLost(f"{self._asked.target}: {NO_REASON}", target=self._asked.target, request_id=self._asked.request_id)
            return
        finish = finish_of(self._finish, self._asked, refused=bool(self._refusal), calls=bool(self._calls))
        usage = usage_of(self._usage) if self._usage else None
        if not self._content:
            check_not_empty(finish, self._refusal, self._asked, usage=usage, model=self._model)
        pieces = tuple(self._rest(number, call) for number, call in enumerate(self._calls) if call.extra or not call.id)
        out.append(
            Delta(
                tool_calls=pieces,
                finish_reason=finish,
                usage=usage,
                model=self._model,
                request_id=self._asked.request_id,
                end=self._end(),
            )
        )

    def _rest(self, number: int, call: CallSoFar) -> ToolCallDelta:
        """What is known of a call at the end alone: the server's own fields, and an id where it gave none."""
        given, call.id = call.id, call.id or new_call_id()
        extra = json_text(call.extra) if call.extra else ""
        return ToolCallDelta(index=number, id="" if given else call.id, extra=extra, vendor=self._asked.vendor if extra else "")

    def _end(self) -> AnswerEnd:
        """All that was said, read as an answer that came at once would be; of the usual one the id alone."""
        whole: dict[str, Any] = {}
        for data in self._kept:
            found = lenient.value_of(Raw(data))
            event = found if isinstance(found, dict) else {}
            choices = event.pop("choices", None)
            whole |= {name: value for name, value in event.items() if value is not None}
            if isinstance(choices, list) and choices and isinstance(choices[0], dict):
                own = {name: value for name, value in choices[0].items() if value is not None and name not in {"delta", "message"}}
                self._others = {**own, **self._others}
        thoughts = {kind: text for kind, pieces in self._thoughts.items() if (text := "".join(pieces)) or self._calls}
        said: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts) or None, **thoughts, **self._said}
        if self._refusal:
            said["refusal"] = self._refusal
        if self._calls:
            said["tool_calls"] = [
                merged({"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments or "{}"}}, one.extra)
                for one in self._calls
            ]
        whole["object"] = "chat.completion"
        whole["choices"] = [{**self._others, "index": 0, "message": said, "finish_reason": self._finish}]
        if self._usage:
            whole["usage"] = self._usage
        raw_json = msgspec.json.encode(whole)
        if not (thoughts or self._said or self._others.get("logprobs") or "citations" in whole or "search_results" in whole):
            return AnswerEnd(raw_json=raw_json, response_id=str(whole.get("id") or ""))
        answer, unknown = decoded(raw_json)
        choice = answer.choices[0] if answer.choices else AnswerChoice()
        return end_of(answer, choice, choice.message or Said(), unknown, vendor=self._asked.vendor, raw_json=raw_json)


def usage_in(extra: Raw) -> dict[str, Any] | None:
    """The usage among a server's own fields; None where there is none."""
    found = lenient.value_of(extra)
    usage = found.get("usage") if isinstance(found, dict) else None
    return usage if isinstance(usage, dict) else None


def _blocks(before: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content list `before` with `new` after it: a text goes on with a text, thoughts with thoughts."""
    found = [*before]
    for block in new:
        last = found[-1] if found else {}
        if block.get("type") == last.get("type") and block.get("type") in {"text", "thinking"}:
            found[-1] = merged(last, block)
        else:
            found.append(block)
    return found
