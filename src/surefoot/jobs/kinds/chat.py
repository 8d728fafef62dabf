"""The kind `chat`: every item is a question, every result a ChatReply."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from surefoot.errors import BadRequest
from surefoot.jobs.kinds import ItemResult, Put
from surefoot.jobs.kinds._asking import DEADLINE_S, each
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import OpenChunk
from surefoot.models.requests import chat_request, scope
from surefoot.text import plain
from surefoot.types import ChatReply, ChatRequest, Message

QUESTION_WORDS = ("prompt", "question", "input", "text")  # under which an item that is a mapping may hold its question
NOTE_WORDS = ("id", "metadata")  # of an item, for whoever reads the answers; not sent

_encode = msgspec.json.Encoder(enc_hook=plain).encode
_reply = msgspec.json.Decoder(ChatReply)


class ChatKind:
    """Items are what `ChatModel.invoke` takes, or a mapping: {"prompt": "..."} or {"messages": [...]}, with options of that call beside it.

    The job's options are those of `invoke`, and `system`, standing instructions before every question.
    """

    asks = "chat"

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options as the fields of a request."""
        said = dict(options)
        system = said.pop("system", None)
        if system is not None and not isinstance(system, str):
            raise BadRequest(f"system is text, not {type(system).__name__}")
        request = chat_request("question", said)
        fields: dict[str, Any] = msgspec.to_builtins(request)
        del fields["messages"]
        return fields | ({"system": system} if system else {})

    def item(self, given: Any) -> Any:
        """Text stays text; all else becomes {"request": fields}, and what it says of itself."""
        if isinstance(given, str):
            chat_request(given, {})
            return str(given)
        if isinstance(given, Mapping):
            return _mapped(given)
        return {"request": msgspec.to_builtins(chat_request(given, {}))}

    def open(self, chunk: OpenChunk, models: ModelSource, limited: Any) -> ChatRunner:
        """The runner over the job's model."""
        return ChatRunner(chunk, limited(models.model("chat", chunk.spec.model)))

    def value(self, body: bytes) -> ChatReply:
        """The reply."""
        return _reply.decode(body)

    columns = ("id", "question", "text", "tool_calls", "finish_reason", "model", "target", "input_tokens", "output_tokens", "cost_usd")

    def asked(self, item: Any) -> dict[str, Any]:
        """What an item asked, for a file of answers."""
        if isinstance(item, str):
            return {"question": item}
        last = item["request"]["messages"][-1].get("content", "")
        question = last if isinstance(last, str) else " ".join(part.get("text", "") for part in last).strip()
        return {word: item[word] for word in NOTE_WORDS if word in item} | {"question": question}

    def row(self, value: ChatReply) -> dict[str, Any]:
        """A reply, for a file of answers."""
        found: dict[str, Any] = {"text": value.text, "finish_reason": value.finish_reason, "model": value.model, "target": value.target}
        if value.tool_calls:
            found["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in value.tool_calls]
        usage = value.usage
        return found | {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cost_usd": value.cost_usd}


def _mapped(given: Mapping[str, Any]) -> Any:
    said = dict(given)
    notes = {word: said.pop(word) for word in NOTE_WORDS if word in said}
    prompts = [said.pop(word) for word in ("messages", *QUESTION_WORDS) if word in said]
    if len(prompts) != 1:
        raise BadRequest(
            f"an item says its question once, as 'messages' or 'prompt': this one has {', '.join(map(str, given)) or 'nothing'}"
        )
    system = said.pop("system", None)
    prompt = prompts[0]
    if system is not None:
        rest = [Message.user(prompt)] if isinstance(prompt, str) else [prompt] if isinstance(prompt, Mapping) else list(prompt)
        prompt = [Message.system(system), *rest]
    if not said and isinstance(prompt, str) and system is None and not notes:
        return str(prompt)
    return {"request": msgspec.to_builtins(chat_request(prompt, said)), **notes}


class ChatRunner:
    """Asks a chunk's questions all at once; how many go out is the model's own limits' business."""

    def __init__(self, chunk: OpenChunk, model: Any) -> None:
        options = dict(chunk.spec.options)
        system = options.pop("system", None)
        self._fields = options
        self._system = (Message.system(system),) if system else ()
        self._plain: ChatRequest = msgspec.convert({**options, "messages": [{"role": "user", "content": "question"}]}, ChatRequest)
        self._model = model

    async def run(self, chunk: OpenChunk, put: Put) -> str:
        """Ask every item."""
        spec = chunk.spec
        said = {
            "tenant": chunk.tenant or None,
            "tags": {"job": chunk.job, **spec.tags},
            "priority": "batch" if chunk.priority else "interactive",
        }
        with scope(**said, deadline_s=spec.deadline_s or DEADLINE_S):  # type: ignore[arg-type]
            return await each({n: partial(self._ask, n, item) for n, item in chunk.items}, put)

    async def _ask(self, n: int, item: Any) -> ItemResult:
        # The job's deadline stands in place of the policy's, which is meant for somebody who waits.
        reply = await self._model.ainvoke(self._request(item), deadline_s=None)
        return ItemResult(n, ok=True, body=_encode(reply), cost_usd=reply.cost_usd or 0.0)

    def _request(self, item: Any) -> ChatRequest:
        if isinstance(item, str):
            return replace(self._plain, messages=(*self._system, Message.user(item)))
        own = item["request"]
        request = msgspec.convert({**self._fields, **own}, ChatRequest)
        if self._system and request.messages[0].role != "system":
            request = replace(request, messages=(*self._system, *request.messages))
        return request
