"""Vectors of servers that differ: their order, their form, and what one refusal teaches for all requests after it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from surefoot import EmbedModel, Policy, Target
from surefoot.errors import BadRequest, Exhausted, MalformedReply, Misconfigured, Overloaded
from surefoot.providers.http.answers.vectors import is_float64, limit_of_texts, places_of, refuses_form
from surefoot.providers.http.faults import fault
from tests.providers.http.servers import serving

KEY = "sk-test-0000000000"
PATIENT = Policy(attempts=2, backoff_base_s=0.001, breaker=False)


@pytest.mark.parametrize(
    ("indices", "places"),
    [
        ([None, None], [0, 1]), ([0, 0, 0], [0, 1, 2]), ([2, 0, 1], [2, 0, 1]), ([None, 1], [0, 1]), ([1, 2, 3], [0, 1, 2]),
        ([3, 1, 2], [2, 0, 1]), ([0, 1, 1], None), ([0, 2], None), ([5], None), ([0], [0]), ([-1, 0], None),
    ],
)  # fmt: skip
def test_a_vectors_place_is_its_index_where_indices_say_anything(indices, places):
    """All 0, left out, counted from 1: the order is right. Doubled or missing, nobody knows whose vector is whose."""
    assert places_of(indices) == places


def test_numbers_of_64_bits_are_told_from_those_of_32():
    """Read as 32 bits they are twice as many numbers, one half of them noise."""
    rng = np.random.default_rng(0)
    for size in (3, 8, 384, 1536):
        for scale in (1.0, 0.05):
            row = rng.normal(size=size) * scale
            assert is_float64(row.astype("<f8").tobytes(), None)
            assert not is_float64(row.astype("<f4").tobytes(), None)
            assert is_float64(row.astype("<f8").tobytes(), size)
            assert not is_float64(row.astype("<f4").tobytes(), size)
    assert is_float64(np.array([1.0, 0.5, 0.25]).tobytes(), None)
    for plain in ([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], [1.0, 0.0], [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 1.0]):
        assert not is_float64(np.array(plain, dtype="<f4").tobytes(), None)
    sparse = np.zeros(256, dtype="<f4")
    sparse[[0, 3, 9]] = [np.nan, 0.5, 0.7]
    assert not is_float64(sparse.tobytes(), None)


LIMITS = [
    ("<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be larger than 10.: input.contents", 10),
    ("batch size 133 > maximum allowed batch size 32", 32),
    ("Invalid 'input': array too long. Expected an array with maximum length 48, but got an array with length 133 instead.", 48),
    ("BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch", 100),
    ("invalid request: total number of texts must be at most 96 - received 133", 96),
    ("Too many inputs in batch: the limit is 64", 64),
    ("The batch size should be between 1 and 25", 25),
    ("This model's maximum context length is 100 tokens, your inputs have 133", None),
    ("Invalid schema", None),
    ("The batch is too large", None),
    ("at most 200 requests can be in one batch", None),
]


@pytest.mark.parametrize(("message", "limit"), LIMITS)
def test_a_servers_limit_of_texts_is_read_out_of_its_refusal(message, limit):
    """Of 133 texts in one request; a limit that is not below that was not the reason."""
    refused = fault("openai:text-embedding-3", 400, {}, json.dumps({"error": {"message": message, "code": "x100"}}).encode())
    assert limit_of_texts(refused, 133) == limit
    assert limit_of_texts(refused, 1) is None


def test_a_refusal_of_the_form_is_known_by_its_words():
    """Some servers refuse the field, some fail over it."""
    for status, kind in ((400, BadRequest), (422, BadRequest), (500, Overloaded)):
        refused = fault("t", status, {}, b'{"error": {"message": "The \'encoding_format\' parameter only supports \'float\'."}}')
        assert isinstance(refused, kind)
        assert refuses_form(refused)
    assert not refuses_form(fault("t", 400, {}, b'{"error": {"message": "no"}}'))


class VectorServer:
    """A server of embeddings on loopback: `answer(body)` gives status and body for each request."""

    def __init__(self, answer: Callable[[dict[str, Any]], tuple[int, Any]]) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, body: bytes) -> bytes:
        asked = json.loads(body)
        self.bodies.append(asked)
        status, told = self.answer(asked)
        sent = json.dumps(told).encode()
        return f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n".encode() + sent


def told(vectors: list[Any], **fields: Any) -> tuple[int, Any]:
    return 200, {"data": [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)], **fields}


def refused(message: str) -> tuple[int, Any]:
    return 400, {"error": {"message": message, "type": "invalid_request_error", "code": None}}


def numbers_only(body: dict[str, Any]) -> tuple[int, Any]:
    if body["encoding_format"] == "base64":
        return refused("The 'encoding_format' parameter only supports 'float'.")
    return told([[1.0, float(at)] for at, _ in enumerate(body["input"])])


def embedding(url: str, lane: str = "sdk", policy: Policy = PATIENT, **fields: Any) -> EmbedModel:
    return EmbedModel(Target("openai:m", base_url=url, api_key=KEY, lane=lane, **fields), policy=policy)


@pytest.mark.parametrize("lane", ["sdk", "direct"])
async def test_a_refusal_of_base64_is_asked_once_and_remembered(lane):
    """By all models of the process that ask that target."""
    server = VectorServer(numbers_only)
    async with serving(server) as at:
        first = embedding(at.url, lane)
        assert (await first.aembed(["a", "b", "c"])).shape == (3, 2)
        again = embedding(at.url, lane)
        await again.aembed(["d"])
        await first.aembed(["e"])
        await first.aclose()
        await again.aclose()
    assert [one["encoding_format"] for one in server.bodies] == ["base64", "float", "float", "float"]


async def test_the_form_is_an_option_of_the_target_and_a_word_of_the_call():
    """Who knows the server says it beforehand; through both frameworks as well."""
    from langchain_surefoot import SurefootEmbeddings
    from llama_index.embeddings.surefoot import SurefootEmbedding

    server = VectorServer(numbers_only)
    async with serving(server) as at:
        words = {"base_url": at.url, "api_key": KEY}
        said = embedding(at.url, options=(("encoding_format", "float"),))
        await said.aembed(["a"])
        await said.aclose()
        await SurefootEmbeddings(model="openai:m", extra={"encoding_format": "float"}, **words).aembed_documents(["a"])
        await SurefootEmbeddings(model="openai:n", options={"encoding_format": "float"}, **words).aembed_documents(["a"])
        await SurefootEmbedding(model_name="openai:o", extra={"encoding_format": "float"}, **words).aget_text_embedding("a")
        await SurefootEmbedding(model_name="openai:p", options={"encoding_format": "float"}, **words).aget_text_embedding("a")
    assert [one["encoding_format"] for one in server.bodies] == ["float"] * 5
    wrong = embedding("http://127.0.0.1:9", options=(("encoding_format", "base32"),))
    with pytest.raises(Misconfigured, match="encoding_format"):
        await wrong.aembed(["a"])


async def test_numbers_of_64_bits_are_asked_for_as_text():
    """And refused, with what to do, where the server goes on sending them; never taken for twice as many numbers."""
    wide = b64encode(np.array([1.0, 0.5, 0.25]).tobytes()).decode()
    mends = VectorServer(lambda body: told([wide if body["encoding_format"] == "base64" else [1.0, 0.5, 0.25]]))
    async with serving(mends) as at:
        embed = embedding(at.url)
        assert (await embed.aembed(["a"])).shape == (1, 3)
        await embed.aclose()
    for dimensions in (None, 3):
        stays = VectorServer(lambda _: told([wide]))
        async with serving(stays) as at:
            embed = embedding(at.url, dimensions=dimensions)
            with pytest.raises(Exhausted, match="64 bits"):
                await embed.aembed(["a"])
            await embed.aclose()
        assert len(stays.bodies) == 2


async def test_a_servers_own_limit_of_texts_is_learned_once():
    """From its first refusal; halving again and again cost three times as many requests, each time."""

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        if len(body["input"]) > 10:
            return refused("batch size is invalid, it should not be larger than 10.: input.contents")
        return told([[1.0, float(text)] for text in body["input"]])

    server = VectorServer(answer)
    async with serving(server) as at:
        embed = embedding(at.url)
        texts = [str(number) for number in range(35)]
        rows = await embed.aembed(texts, unit_length=False)
        assert rows[:, 1].tolist() == [float(text) for text in texts]
        assert len(server.bodies) == 1 + 4
        other = embedding(at.url)
        await other.aembed([str(number) for number in range(100, 130)])
        assert len(server.bodies) == 1 + 4 + 3
        await embed.aclose()
        await other.aclose()


async def test_geminis_limit_of_texts_is_learned_once_too():
    """A gateway's may be lower than the API's."""

    def answer(body: Any) -> Any:
        texts = body["requests"]
        if len(texts) > 10:
            said = "* BatchEmbedContentsRequest.requests: at most 10 requests can be in one batch"
            return 400, {"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}
        return 200, {"embeddings": [{"values": [1.0, float(len(texts))]} for _ in texts]}

    server = VectorServer(answer)
    async with serving(server) as at:
        embed = EmbedModel(Target("google:own-embedder", base_url=at.url, api_key="k"), policy=Policy(attempts=1, breaker=False))
        for asked in (4, 4 + 3):
            assert (await embed.aembed([f"{asked} {number}" for number in range(30)])).shape == (30, 2)
            assert len(server.bodies) <= asked + 3
        before = len(server.bodies)
        await embed.aembed([f"again {number}" for number in range(30)])
        assert len(server.bodies) == before + 3
        await embed.aclose()


@pytest.mark.parametrize(
    "message", ["This model does not support specifying dimensions.", "'dimensions': Extra inputs are not permitted", "is not matryoshka"]
)
async def test_a_refusal_of_dimensions_says_what_to_do(message):
    """The wish is the caller's, so the remedy is, too; asked again text by text it would be refused as often."""
    server = VectorServer(lambda body: refused(message) if "dimensions" in body else told([[1.0, 2.0]] * len(body["input"])))
    async with serving(server) as at:
        embed = embedding(at.url, dimensions=256)
        with pytest.raises(BadRequest, match="leave it out"):
            await embed.aembed(["a", "b", "c", "d"])
        await embed.aclose()
    assert len(server.bodies) == 1


async def test_a_server_that_ignores_dimensions_is_asked_once():
    """It sends vectors of its own length each time."""
    server = VectorServer(lambda body: told([[1.0, 2.0, 3.0]] * len(body["input"])))
    async with serving(server) as at:
        embed = embedding(at.url, dimensions=2)
        with pytest.raises(MalformedReply, match="vectors of 3 numbers came back, 2 were expected"):
            await embed.aembed(["a", "b"])
        await embed.aclose()
    assert len(server.bodies) == 1


async def test_vectors_of_other_servers_are_read():
    """Base64 without padding or in the letters of addresses, indices as text or all 0, numbers as text."""
    padded = b64encode(np.arange(1, 6, dtype="<f4").tobytes()).decode()
    plain = [1.0, 2.0, 3.0, 4.0, 5.0]
    forms: list[Any] = [padded.rstrip("="), padded.replace("+", "-").replace("/", "_"), plain, [str(one) for one in plain]]
    for form in forms:
        server = VectorServer(lambda _, form=form: (200, {"data": [{"index": "0", "embedding": form}], "usage": []}))
        async with serving(server) as at:
            embed = embedding(at.url)
            assert (await embed.aembed(["a"], unit_length=False)).tolist() == [plain]
            await embed.aclose()
