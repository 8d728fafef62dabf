"""The leak proof: whatever goes wrong, no piece of a key stands in anything that is written, shown or kept.

All loggers speak at DEBUG, tracebacks show their locals, and the answers themselves repeat the key. Looked for in every form a log might
hold it in: plain, any twelve characters of it, reversed, in base64, URL-encoded.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
import pickle  # noqa: TID251 - to see what would be in one
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, EmbedModel, Policy, Target, load
from surefoot.adapter import Settings
from surefoot.credentials import by_reference
from surefoot.errors import SurefootError
from surefoot.settings import Semantic
from surefoot.telemetry.otel import OpenTelemetry
from surefoot.testing.wire import OK, AnthropicSim, GeminiSim, OpenAISim, WireFault, faults_for

KEY = "sk-CANARY/7f3aQ9c+Zk2wX8vB=pL5nR1tY6mD0"
VENDORS = {
    "openai": (OpenAISim, "openai:gpt-4.1", "/v1", ("chat", "stream", "embed")),
    "anthropic": (AnthropicSim, "anthropic:claude-haiku-4-5", "", ("chat", "stream")),
    "google": (GeminiSim, "google:gemini-3-flash", "", ("chat", "stream", "embed")),
}
IMPATIENT = Policy(attempts=2, backoff_base_s=0.001, backoff_ceiling_s=0.002, first_token_s=0.15, idle_s=0.15, deadline_s=1, breaker=False)


def forms(key: str) -> list[str]:
    """What to look for."""
    windows = [key[i : i + 12] for i in range(len(key) - 11)]
    coded = [base64.b64encode(b"x" * shift + key.encode()).decode()[4:-8] for shift in range(3)]
    return [*windows, *(window[::-1] for window in windows), *coded, quote(key, safe="")]


FORMS = forms(KEY)


def found(text: str) -> list[str]:
    """The forms of the key that stand in `text`."""
    return [form for form in FORMS if form in text]


def test_the_search_itself_finds_what_it_should():
    """A test that cannot fail proves nothing."""
    for leak in (
        f"Bearer {KEY}",
        KEY[:14],
        KEY[5:30][::-1],
        base64.b64encode(f"user:{KEY}".encode()).decode(),
        f"?key={quote(KEY, safe='')}",
    ):
        assert found(f"before {leak} after")


@contextlib.contextmanager
def everything_said() -> Iterator[io.StringIO]:
    """All that any logger says at DEBUG, with the record's own fields and its exceptions."""
    heard = io.StringIO()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.write(self.format(record) + "\n" + repr(record.__dict__) + "\n")

    ear = Ear(logging.DEBUG)
    root = logging.getLogger()
    loggers = [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    before = [(one, one.level) for one in loggers]
    for one in loggers:
        one.setLevel(logging.DEBUG)
    root.addHandler(ear)
    try:
        yield heard
    finally:
        root.removeHandler(ear)
        for one, level in before:
            one.setLevel(level)


def shown(error: BaseException) -> str:
    """An error in every way it may be printed: with its causes, suppressed ones too, and the locals of every frame."""
    texts = [repr(error), str(error), "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())]
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        texts.append(pickle.dumps(error).decode("latin-1"))
    texts.append(repr(getattr(error, "__dict__", {})))
    inner = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    return "\n".join(texts + [shown(one) for one in inner if one is not None])


def echoes() -> list[WireFault]:
    """Servers that repeat the key they were sent: in an error, in a page, in a header, in a stream."""
    told = msgspec.json.encode({"error": {"message": f"Incorrect API key provided: {KEY}", "code": f"bad {KEY}", "type": KEY}})
    return [
        WireFault(name="echo_401", status=401, body=told),
        WireFault(name="echo_500", status=500, body=told),
        WireFault(name="echo_page", status=502, body=f"<html>Authorization: Bearer {KEY}</html>".encode(), content_type="text/html"),
        WireFault(name="echo_200", body=told),
        WireFault(name="echo_junk", body=f"{KEY} is no JSON".encode()),
        WireFault(name="echo_event", body=b"data: " + told + b"\n\n", content_type="text/event-stream"),
        WireFault(name="echo_truncated", body=told[:-2]),
        WireFault(name="echo_raw", raw=f"HTTP/9.9 Bearer {KEY}\r\n\r\n".encode()),
        WireFault(name="echo_header", status=400, headers=(("x-echo", KEY), ("www-authenticate", f"Bearer {KEY}")), body=told),
        WireFault(name="echo_moved", status=307, headers=(("location", f"http://127.0.0.1:9/{quote(KEY, safe='')}"),), body=b""),
    ]


async def ask(chat: ChatModel, embed: EmbedModel | None, surface: str) -> str:
    """One call; everything that can be printed of how it ended."""
    try:
        if surface == "embed":
            assert embed is not None
            return repr(await embed.areply(["a", "b"]))
        if surface == "chat":
            return repr(await chat.ainvoke("hello"))
        stream = chat.astream("hello")
        try:
            return repr([delta async for delta in stream])
        finally:
            await stream.aclose()
    except Exception as error:
        return shown(error)


@pytest.mark.heavy
@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize("vendor", list(VENDORS))
async def test_no_piece_of_a_key_is_ever_written_shown_or_kept(vendor, lane, tmp_path):
    """The whole catalogue of faults, and servers that repeat the key; logs, errors, events, spans, cache, descriptions."""
    sim_type, name, path, surfaces = VENDORS[vendor]
    spans = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    seen: list[str] = []
    calls = 0
    with sim_type() as sim, everything_said() as heard:
        rows = [(surface, row) for surface in surfaces for row in (*faults_for(vendor, surface), *echoes(), OK)]
        for number, (surface, row) in enumerate(rows):
            # A target of its own for each row: limits and pauses learned from one refusal would hold back the next.
            target = Target(f"{name}-{number}", base_url=sim.url + path, api_key=KEY, lane=lane)
            chat = ChatModel(target, policy=IMPATIENT, cache=f"sqlite:{tmp_path}/cache.db")
            embed = EmbedModel(target, policy=IMPATIENT) if surface == "embed" else None
            chat.subscribe(lambda event: seen.append(repr(event)), inline=True)
            OpenTelemetry(tracer_provider=tracers).watch(chat)
            sim.reset()
            sim.script(row)
            seen.append(await ask(chat, embed, surface))
            calls += len(sim.requests)
            for model in (chat, embed):
                if model is not None:
                    await model.aclose()
        used = sim.keys
        seen += [repr(chat), str(chat), chat.describe(), repr(target), str(target), repr(vars(chat))]
        with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
            seen.append(pickle.dumps(target).decode("latin-1"))
    assert used[KEY] == 1  # the key was really sent
    assert calls > 60
    kept = [file.read_bytes().decode("latin-1") for file in Path(tmp_path).rglob("*") if file.is_file()]
    assert kept
    traced = [span.to_json() for span in spans.get_finished_spans()]
    assert len(traced) > 40
    assert lane == "direct" or len(heard.getvalue()) > 10_000
    for where, texts in {"logs": [heard.getvalue()], "shown": seen, "cache": kept, "spans": traced}.items():
        for text in texts:
            leaks = found(text)
            spot = text.find(leaks[0]) if leaks else 0
            assert not leaks, f"{where}: ...{text[max(0, spot - 300) : spot + 60]!r}"


DIRECT: dict[str, Any] = {"base_url": "http://127.0.0.1:9/v1", "lane": "direct"}
WRONG: dict[str, Callable[[], object]] = {
    "a number": lambda: Target("openai:m", api_key=KEY, concurrency=0),
    "a name": lambda: Target("gpt", api_key=KEY),
    "an address": lambda: Target("openai:m", base_url=f"https://user:{quote(KEY, safe='')}@host:port/v1"),
    "no address": lambda: Target("openai:m", base_url=f"host/v1?key={KEY}"),
    "a query": lambda: Target("openai:m", base_url=f"https://host/v1?key={KEY}"),
    "a header's value": lambda: Target("openai:m", headers=(("x-gateway", f"{KEY}\r\n"), ("x-team", "blue"))),
    "a header that is no text": lambda: Target("openai:m", headers=(("x-gateway", KEY), ("x-count", 1))),  # type: ignore[arg-type]
    "a provider": lambda: ChatModel(Target("opnai:m", api_key=KEY, headers=(("x-gateway", KEY),))),
    "an option": lambda: asked(Target("openai:m", options=(("api_versio", "v1"), ("proxy", f"http://u:{KEY}@proxy:1")), **DIRECT)),
    "a proxy": lambda: asked(Target("openai:m", options=(("proxy", f"socks5://u:{KEY}@proxy:1"),), **DIRECT)),
    "a certificate": lambda: asked(Target("openai:m", options=(("cert", ("/absent.pem", "/absent.key", KEY)),), **DIRECT)),
    "a token": lambda: asked(Target("openai:m", api_key=lambda: f"{KEY}\n", **DIRECT)),
    "a key": lambda: asked(Target("openai:m", api_key=f"{KEY}\n", **DIRECT)),
    "an adapter's field": lambda: ChatSurefoot(model="openai:m", api_key=KEY, temprature=0),
    "an adapter's number": lambda: ChatSurefoot(model="openai:m", api_key=KEY, concurrency=0),
    "an adapter's type": lambda: ChatSurefoot(model="openai:m", api_key=KEY, temperature="hot"),
    "an adapter's fallback": lambda: ChatSurefoot(model="openai:m", fallbacks=[{"name": "openai:n", "api_key": KEY, "bse_url": "x"}]),
    "embeddings": lambda: SurefootEmbeddings(model="openai:m", api_key=KEY, dimension=3),
    "LlamaIndex": lambda: Surefoot(model="openai:m", api_key=KEY, temprature=0),
    "LlamaIndex' number": lambda: Surefoot(model="openai:m", api_key=KEY, concurrency=0),
    "LlamaIndex' embeddings": lambda: SurefootEmbedding(model_name="openai:m", api_key=KEY, dimension=3),
    "a budget store": lambda: ChatModel("local:extractive", policy=Policy(budget_store=f"redis://:{KEY}@host/0?prefx=a")),
    "a cache": lambda: ChatModel("local:extractive", cache=f"redis://:{KEY}@host/0?prefx=a"),
    "no cache": lambda: ChatModel("local:extractive", cache=f"postgres://u:{KEY}@host/0"),
}


BROKEN = {
    "a key's type": "api_key = [{key}]",
    "a typing error": "api_kee = {key}",
    "a number": "api_key = {key}\nconcurrency = 0",
    "a header": 'api_key = {key}\nheaders = {{ "x-gateway" = {key}, x-count = 3 }}',
    "no TOML": "api_key = {key}\nconcurrency =",
    "twice": "api_key = {key}\nconcurrency = 1\nconcurrency = 2",
    "no UTF-8": "api_key = {key}\n# \xe9",
    "an option": 'api_key = {key}\nlane = "direct"\noptions = {{ api_versio = "1", proxy = "http://u:{bare}@h:1" }}',
    "a target": 'api_key = {key}\n[chat.other]\ntargets = ["openai"]',
    "a policy": 'api_key = {key}\n[chat.other]\ntargets = ["openai:m"]\ncache = "redis://:{bare}@h"\n'
    'policy = {{ budget_store = "redis://:{bare}@h/0?x=1" }}',
}  # fmt: skip


@pytest.mark.parametrize("broken", list(BROKEN))
def test_no_piece_of_a_key_stands_in_the_error_of_a_wrong_file(broken, tmp_path):
    """A settings file may hold keys; every way to read it wrongly, up to the first call."""
    path = tmp_path / "surefoot.toml"
    text = BROKEN[broken].format(key=f'"{KEY}"', bare=quote(KEY, safe=""))
    path.write_bytes(f'[chat.default]\ntargets = ["openai:m"]\n[target."openai:m"]\n{text}\n'.encode("latin-1"))
    del text

    def use() -> None:
        models = load(path)
        for name in models.names("chat"):
            models.chat(name).describe()

    with everything_said() as heard, pytest.raises(SurefootError) as caught:
        use()
    said = shown(caught.value)
    leaks = found(said + heard.getvalue())
    spot = said.find(leaks[0]) if leaks else 0
    assert not leaks, said[max(0, spot - 600) : spot + 60]


def asked(target: Target) -> object:
    """What a call meets."""
    return ChatModel(target, policy=IMPATIENT).invoke("hi")


@pytest.mark.parametrize("wrong", list(WRONG))
def test_no_piece_of_a_key_stands_in_the_error_of_a_wrong_setting(wrong):
    """Crash reports print the locals of each frame, and most crashes are those of the first start."""
    with everything_said() as heard, pytest.raises((SurefootError, ValueError)) as caught:
        WRONG[wrong]()
    text = shown(caught.value)
    leaks = found(text + heard.getvalue())
    spot = text.find(leaks[0]) if leaks else 0
    assert not leaks, text[max(0, spot - 600) : spot + 60]


def test_no_piece_of_a_key_stands_in_the_repr_of_what_was_said():
    """Logs and crash reports print records; only names of headers, and addresses without their logins."""
    target = Target(
        "openai:m", base_url=f"https://user:{quote(KEY, safe='')}@host/v1", api_key=KEY, headers=(("api-key", KEY), ("x-team", "blue")),
        options=(("proxy", f"http://u:{quote(KEY, safe='')}@proxy:1"), ("cert", ("a.pem", "a.key", KEY)), ("client_secret", KEY)),
    )  # fmt: skip
    given = Target("openai:m", api_key=partial(str, KEY))
    owned = Target("openai:m", client=openai.AsyncOpenAI(api_key=KEY, default_headers={"x": KEY}))
    policy = Policy(budget_store=f"redis://:{quote(KEY, safe='')}@host/0?password={KEY}")
    semantic = Semantic(embed=Target("openai:m", api_key=KEY, headers=(("x", KEY),)), threshold=0.9)
    settings = Settings(model="openai:m", base_url=f"https://u:{KEY}@host/v1", fallbacks=(target,), cache=f"redis://:{KEY}@host")
    for record in (target, given, owned, policy, semantic, settings):
        text = f"{record!r} {record} {record:} {record.__rich_repr__()}"
        assert not found(text), text
    assert repr(target).startswith(
        "Target(name='openai:m', base_url='https://****@host/v1', api_key=Secret(****), headers=(('api-key', '****'),"
    )
    assert repr(policy) == "Policy(budget_store='redis://****@host/0?password=****')"
    assert repr(Target("openai:m", api_key="env:NAME", concurrency=3)) == "Target(name='openai:m', api_key='env:NAME', concurrency=3)"


async def test_no_piece_of_a_key_leaks_while_it_is_fetched_from_aws(monkeypatch):
    """botocore writes whole answers to its log at DEBUG."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, text in {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "other", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, text)
        boto3.client("secretsmanager").create_secret(Name="canary", SecretString=msgspec.json.encode({"openai": KEY}).decode())
        with everything_said() as heard:
            assert (await by_reference("aws:canary#openai").get()).reveal() == KEY
            for reference in ("aws:canary#other", "aws:absent"):
                try:
                    await by_reference(reference).get()
                except Exception as error:
                    heard.write(shown(error))
    finally:
        server.stop()
    assert "botocore" in heard.getvalue()
    assert not found(heard.getvalue())


async def test_a_key_in_use_stands_in_no_task_and_no_frame():
    """A debugger, a profiler or a crash report sees tasks and frames in the middle of a call."""
    with OpenAISim(latency_s=0.2) as sim:
        chat = ChatModel(Target("openai:m", base_url=sim.url + "/v1", api_key=KEY))
        asking = asyncio.ensure_future(chat.ainvoke("hello"))
        await asyncio.sleep(0.1)
        said = io.StringIO()
        asking.print_stack(file=said)
        assert not found(said.getvalue() + repr(asking))
        await asking
        await chat.aclose()
