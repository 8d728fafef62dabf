"""/v1/files and /v1/batches by OpenAI's own SDK: shapes, isolation, budgets."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from surefoot import runtime
from surefoot.gateway.batches.uploads import form_of
from surefoot.gateway.errors import HttpError
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.records import Allowance
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.testing.wire import OpenAISim
from tests.gateway.conftest import FAST, Served, served

NANO = 1_000_000_000


class Bench:
    """A gateway with keys of its own."""

    def __init__(self, gateway: Served, keys: SqlKeys, sim: OpenAISim) -> None:
        self.gateway, self.keys, self.sim = gateway, keys, sim

    def client(self, **allowance: Any) -> openai.OpenAI:
        """OpenAI's SDK with a new key."""
        _, secret = runtime.run(self.keys.create(allowance=Allowance(**allowance)))
        return openai.OpenAI(base_url=f"{self.gateway.url}/v1", api_key=secret, max_retries=0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with OpenAISim(answer="Fine.") as sim:
        keys = SqlKeys(Secret(f"sqlite:{tmp_path / 'keys.db'}"))
        prices = {"input_usd_per_mtok": 1000.0, "output_usd_per_mtok": 1000.0}
        chat = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k" * 20, options=(("api", "chat"),), **prices)
        embed = Target("openai:text-embedding-3-small", base_url=f"{sim.url}/v1", api_key="k" * 20)
        models = {"chat": {"default": {"targets": [chat], "policy": FAST}}, "embed": {"embedder": {"targets": [embed]}}}
        with served(models, keys, batches=f"sqlite:{tmp_path / 'batches.db'}", state="x") as gateway:
            yield Bench(gateway, keys, sim)


def line(n: int, url: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
    asked = {"model": "default", "messages": [{"role": "user", "content": f"Question {n}?"}], "max_tokens": 8, **body}
    return {"custom_id": f"row {n}", "method": "POST", "url": url, "body": asked}


def uploaded(client: openai.OpenAI, lines: list[dict[str, Any]]) -> str:
    content = "\n".join(json.dumps(one) for one in lines).encode()
    return client.files.create(file=("ask.jsonl", io.BytesIO(content)), purpose="batch").id


def begun(client: openai.OpenAI, lines: list[dict[str, Any]], endpoint: Any = "/v1/chat/completions") -> Any:
    return client.batches.create(input_file_id=uploaded(client, lines), endpoint=endpoint, completion_window="24h", metadata={"a": "b"})


def ended(client: openai.OpenAI, batch_id: str) -> Any:
    until = time.monotonic() + 60
    while (found := client.batches.retrieve(batch_id)).status not in {"completed", "cancelled"}:
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def lines_of(client: openai.OpenAI, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(one) for one in client.files.content(file_id).text.splitlines()]


def test_a_batch_goes_from_a_file_to_answers(bench: Bench):
    """Upload, create, poll, read: as at OpenAI, in the order of the lines; what failed is in a file of its own."""
    client = bench.client()
    lines = [line(n) for n in range(25)]
    lines[3]["body"]["messages"] = "no list"
    batch = begun(client, lines)
    assert (batch.object, batch.metadata, batch.request_counts.total) == ("batch", {"a": "b"}, 25)
    done = ended(client, batch.id)
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 24, 1)
    answers = lines_of(client, done.output_file_id)
    assert [one["custom_id"] for one in answers] == [f"row {n}" for n in range(25) if n != 3]
    assert {one["response"]["body"]["choices"][0]["message"]["content"] for one in answers} == {"Fine."}
    (failed,) = lines_of(client, done.error_file_id)
    assert (failed["custom_id"], failed["response"]["status_code"]) == ("row 3", 400)
    assert "messages must be a list" in failed["response"]["body"]["error"]["message"]
    output = client.files.retrieve(done.output_file_id)
    assert output.bytes == len(client.files.content(output.id).content)
    assert bench.sim.request_count == 24
    assert [one.id for one in client.batches.list()] == [batch.id]
    given = [one.id for one in client.files.list(limit=1)]
    assert client.files.content(given[0]).text.count("\n") == 24
    assert client.files.delete(given[0]).deleted
    assert list(client.files.list()) == []


def test_vectors_come_in_batches_too(bench: Bench):
    """The other endpoint."""
    client = bench.client()
    batch = begun(client, [{**line(1, "/v1/embeddings"), "body": {"model": "embedder", "input": "one", "dimensions": 8}}], "/v1/embeddings")
    (answer,) = lines_of(client, ended(client, batch.id).output_file_id)
    assert len(answer["response"]["body"]["data"][0]["embedding"]) == 8


def test_a_key_sees_its_own_files_and_batches_alone(bench: Bench):
    """Another key is told that there is nothing, whatever it asks for."""
    mine, other = bench.client(), bench.client()
    batch = begun(mine, [line(1)])
    done = ended(mine, batch.id)
    for file_id in (batch.input_file_id, done.output_file_id):
        for ask in (other.files.retrieve, other.files.content, other.files.delete):
            with pytest.raises(openai.NotFoundError):
                ask(file_id)
    for asked in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            asked(batch.id)
    with pytest.raises(openai.NotFoundError):
        other.batches.create(input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h")
    assert (list(other.files.list()), list(other.batches.list())) == ([], [])


def test_a_batch_spends_no_more_than_its_key_may(bench: Bench):
    """Each item is a call within the key's budget; those beyond it are refused one by one. At 0 nothing begins."""
    client = bench.client(budget_nano=NANO // 4)
    done = ended(client, begun(client, [line(n) for n in range(40)]).id)
    assert done.request_counts.completed + done.request_counts.failed == 40
    assert 0 < done.request_counts.completed < 40
    assert {one["response"]["body"]["error"]["code"] for one in lines_of(client, done.error_file_id)} == {"budget_exceeded"}
    spent = sum(one["response"]["body"]["usage"]["total_tokens"] for one in lines_of(client, done.output_file_id)) / 1000
    assert spent <= 0.25
    before = bench.sim.request_count
    none = bench.client(budget_nano=0)
    with pytest.raises(openai.RateLimitError, match="budget"):
        begun(none, [line(1)])
    assert bench.sim.request_count == before


def test_a_key_that_is_revoked_asks_nothing_more(bench: Bench):
    """Also in a batch that was accepted before."""
    record, secret = runtime.run(bench.keys.create())
    client = openai.OpenAI(base_url=f"{bench.gateway.url}/v1", api_key=secret, max_retries=0)
    file_id = uploaded(client, [line(n) for n in range(3)])
    bench.sim.latency_s = 0.5
    batch = client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    assert batch.status == "in_progress"
    runtime.run(bench.keys.revoke(record.id))
    with pytest.raises(openai.AuthenticationError):
        client.batches.retrieve(batch.id)


BAD: list[tuple[list[dict[str, Any]], str]] = [
    ([], "missing or empty"),
    ([line(1), line(1)], "line 2 .*custom_id"),
    ([line(1), {**line(2), "url": "/v1/embeddings"}], "line 2 .*url /v1/chat"),
    ([line(1, model="gpt-9")], "no chat model 'gpt-9'"),
    ([line(1, stream=True)], "no stream"),
]


@pytest.mark.parametrize(("lines", "why"), BAD)
def test_a_file_that_cannot_be_asked_is_refused_before_anything_is(bench: Bench, lines: list[dict[str, Any]], why: str):
    """Naming the line; and nothing is sent."""
    client = bench.client()
    with pytest.raises(openai.APIStatusError, match=why):
        begun(client, lines)
    assert bench.sim.request_count == 0


FORMS = [
    b"", b"--b", b"--b\r\n\r\nx\r\n--b--", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx',
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name="a"\r\n\r\ny\r\n--b--',
]  # fmt: skip


@pytest.mark.parametrize("body", FORMS)
def test_a_form_that_is_none_is_refused(body: bytes):
    """Cut, nameless, or with a name twice."""
    with pytest.raises(HttpError):
        form_of("multipart/form-data; boundary=b", body)


def test_bytes_of_a_file_stay_as_they_are(bench: Bench):
    """Whatever is in them: line ends, zeros, something like a boundary."""
    content = b"\x00\r\n\n\r--x\r\n\xff--" + bytes(range(256))
    client = bench.client()
    made = client.files.create(file=("ş.jsonl", content), purpose="batch")
    assert client.files.content(made.id).content == content
    assert made.filename == "ş.jsonl"
    with httpx.Client(base_url=bench.gateway.url, headers={"authorization": f"Bearer {client.api_key}"}) as plain:
        assert plain.get(f"/v1/files/{made.id}'%20OR%201=1").status_code == 404
        assert plain.get("/v1/files?limit=x").status_code == 400
        assert plain.post("/v1/files", files={"file": ("a", b"x")}, data={"purpose": "fine-tune"}).status_code == 400
