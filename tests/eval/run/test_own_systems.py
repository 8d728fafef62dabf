"""The harness measures anybody's system: functions, starters of both frameworks, services over HTTP, answers given before."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from surefoot.errors import Misconfigured
from surefoot.testing.wire import OpenAISim
from surefoot_eval import run_suite as running
from surefoot_eval.__main__ import main
from surefoot_eval.metric_names import METRICS, OWN
from surefoot_eval.run.own_systems import reached
from surefoot_eval.run.results import read
from tests.eval.small import write

METRIC_LIST = 'metrics = ["right", "refusal", "covered", "citation_precision", "groundedness", "R@3", "RR@3"]'
HEAD = f'name = "any"\nkind = "rag"\n{METRIC_LIST}\n[data]\npath = "questions"\n'
BODY = 'body = { input = { q = "{question}" } }'
STARTERS = '''
"""The retrieval of each framework's own starter page, and the offline reader's stand-in: the best passage's first sentence."""
import re
from surefoot_eval.metric_names import metric


def _told(found):
    best = found[0]["text"] if found else ""
    return {"answer": best.split(". ")[0] + ". [1]" if best else "I do not know.", "passages": found}


def _words(text):
    return [word[:5] for word in re.findall(r"\\w+", text.lower())]


def _hashed(text):
    vector = [0.0] * 512
    for word in _words(text):
        vector[sum(word.encode()) % 512] += 1.0
    return vector


def _cuts(text):
    return re.split(r"(?<=\\.) ", text)


def langchain(documents):
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import InMemoryVectorStore

    class Hashed(Embeddings):
        def embed_documents(self, texts):
            return [_hashed(text) for text in texts]

        def embed_query(self, text):
            return _hashed(text)

    pages = [Document(page_content=cut, metadata={"id": one.id}) for one in documents for cut in _cuts(one.text)]
    store = InMemoryVectorStore(Hashed())
    store.add_documents(pages)
    return lambda question: _told(
        [{"document": one.metadata["id"], "text": one.page_content} for one in store.similarity_search(question, k=3)]
    )


def llama_index(documents):  # cut by ourselves: LlamaIndex's splitter reads files that it refuses where an installer has linked them
    from llama_index.core import VectorStoreIndex
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    class Hashed(BaseEmbedding):
        def _get_text_embedding(self, text):
            return _hashed(text)

        def _get_query_embedding(self, query):
            return _hashed(query)

        async def _aget_query_embedding(self, query):
            return _hashed(query)

    source = NodeRelationship.SOURCE
    nodes = [
        TextNode(text=cut, relationships={source: RelatedNodeInfo(node_id=one.id)}) for one in documents for cut in _cuts(one.text)
    ]
    retriever = VectorStoreIndex(nodes, embed_model=Hashed()).as_retriever(similarity_top_k=3)
    return lambda question: _told(
        [{"document": one.node.ref_doc_id, "text": one.node.get_content()} for one in retriever.retrieve(question)]
    )


def plain(question):
    if "museum" in question:
        raise RuntimeError("down")
    return "I do not know."


@metric("short", "is at most ten words")
def short(record, asked, dataset):
    return None if record.refused else float(len(record.answer.split()) <= 10)
'''


@contextmanager
def service(answer):
    """A service of its own JSON on loopback; `answer` is a function of the question."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            code, told = answer(asked["input"]["q"])
            body = json.dumps(told).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ask"
    finally:
        server.shutdown()


def suite(tmp_path, *systems, head=HEAD):
    file = write(tmp_path, suite=head + "".join(f"[[system]]\n{one}\n" for one in systems))
    (tmp_path / "eval_starters.py").write_text(STARTERS, encoding="utf-8")
    return file


def test_one_suite_over_four_kinds_of_system_is_one_report(tmp_path):
    """Our pipeline, a LangChain starter, a LlamaIndex starter and a service: one command, one table, every system in it."""

    def at_harbour(question):
        return 200, {"out": {"text": "The harbour office opens at 08:15."}, "found": [{"text": "The harbour office opens at 08:15."}]}

    with service(at_harbour) as url:
        file = suite(
            tmp_path,
            'name = "ours"\nframework = "lexical"\nk = 3',
            'name = "langchain starter"\nsystem = "eval_starters:langchain"',
            'name = "llamaindex starter"\nsystem = "eval_starters:llama_index"',
            f'name = "service"\nurl = "{url}"\n{BODY}\nanswer_path = "out.text"\npassages_path = "found"',
        )
        assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 0
    got = read(tmp_path / "out")
    assert list(got.systems) == ["ours", "langchain starter", "llamaindex starter", "service"]
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert all(f"<th>{name}</th>" in page for name in got.systems)
    right = {name: one.summaries["right"] for name, one in got.systems.items()}
    assert all(one.measured == 13 and not one.errors for one in right.values())
    assert right["service"].mean == pytest.approx(1 / 13)  # the one question it answers; it never refuses
    assert got.systems["langchain starter"].summaries["R@3"].mean >= 0.5  # its own cut, judged by the same spans
    assert got.systems["service"].scores["RR@3"]["harbour-0"].value == 1.0
    assert got.systems["service"].scores["RR@3"]["museum-0"].value == 0.0


def test_what_a_function_raises_is_that_questions_error(tmp_path):
    """And a metric of one's own has an interval like any other."""
    try:
        head = HEAD.replace('"right",', '"right", "short",').replace("[data]", 'modules = ["eval_starters"]\n[data]')
        planned = running.plan(suite(tmp_path, 'name = "own"\nsystem = "eval_starters:plain"', head=head))
        got = running.results(planned, running.run(planned, tmp_path / "out")).systems["own"]
        assert got.summaries["right"].errors == 3
        assert got.scores["right"]["museum-0"].reason == "RuntimeError: down"
        assert (got.refusals.refused_right, got.refusals.refused_wrong) == (1, 9)
        assert (got.summaries["short"].not_applicable, got.summaries["short"].errors) == (10, 3)
    finally:
        METRICS.pop("short", None)
        OWN.pop("short", None)


def test_a_service_of_openais_protocol_needs_its_model_alone(tmp_path):
    """Tokens come from its usage; a status that is no answer is that question's error, with what the server said."""
    with OpenAISim(answer="The harbour office opens at 08:15.") as sim:
        planned = running.plan(suite(tmp_path, f'name = "s"\nurl = "{sim.url}"\nmodel = "gpt-5-mini"\napi_key = "sk-test"'))
        records = running.run(planned, tmp_path / "out")
    assert len({one.answer for one in records}) == 1
    assert all(one.cost.input_tokens > 0 and one.cost.usd is None and not one.error for one in records)
    with service(lambda _: (503, {"why": "busy"})) as url:
        planned = running.plan(
            suite(tmp_path / "b", f'name = "s"\nurl = "{url}"\nbody = {{ input = {{ q = "{{question}}" }} }}\nanswer_path = "a"')
        )
        records = running.run(planned, tmp_path / "b/out")
    assert all(one.error.startswith("RuntimeError: 503: ") and "busy" in one.error for one in records)


def test_answers_given_before_are_scored(tmp_path):
    """By id or by question; what has none is an error, and a line that names no question is refused with its number."""
    lines = [
        {"id": "harbour-0", "answer": "At 08:15.", "passages": ["The harbour office opens at 08:15."], "seconds": 2.5, "cost_usd": 0.001},
        {"question": "What does a ticket to the moon cost?", "answer": "I'm sorry, but the passages do not contain this information."},
    ]
    file = suite(tmp_path, 'name = "before"\npredictions = "predictions.jsonl"')
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")
    planned = running.plan(file)
    records = running.run(planned, tmp_path / "out")
    got = running.results(planned, records).systems["before"]
    assert (got.summaries["right"].measured, got.summaries["right"].errors, got.summaries["right"].mean) == (2, 11, 1.0)
    assert got.refusals.refused_right == 1
    assert next(one for one in records if one.question == "harbour-0").cost.seconds == 2.5
    (tmp_path / "predictions.jsonl").write_text(json.dumps(lines[0]) + '\n{"id": "nobody", "answer": "x"}\n', "utf-8")
    with pytest.raises(Misconfigured, match=r"predictions.jsonl, line 2: no question 'nobody'"):
        running.run(running.plan(file), tmp_path / "again")


@pytest.mark.parametrize(
    ("system", "why"),
    [
        ('system = "eval_starters:nobody"', "eval_starters has no function nobody"),
        ('system = "no_such_module_of_ours:ask"', "no module 'no_such_module_of_ours'"),
        ('system = "a:b"\nurl = "http://127.0.0.1:1"', "asked in one way"),
        ('url = "http://127.0.0.1:1"', "needs model"),
        ('url = "http://127.0.0.1:1"\nbody = { a = "b" }', "needs answer_path"),
        ('framework = "lexical"\nchunk_chars = 300', "chunk_chars is for the pipelines"),
        ('framework = "langchain"\nfusion = "rank"', "did you mean 'ranks'"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, system, why):
    """Before the first question, naming what is wrong."""
    with pytest.raises(Misconfigured, match=why):
        running.run(running.plan(suite(tmp_path, f'name = "x"\nk = 3\n{system}')), tmp_path / "out")


def test_ceilings_gate_cost_and_latency(tmp_path, capsys):
    """A latency or a price clearly above its ceiling is exit code 1, and an unknown price is no low one."""
    head = HEAD.replace("[data]", "[ceilings]\np95_s = 1.0\nusd_per_1k = 0.5\n[data]")
    file = suite(tmp_path, 'name = "slow"\npredictions = "p.jsonl"', head=head)
    rows = [json.loads(line) for line in (tmp_path / "questions/questions.jsonl").read_text("utf-8").splitlines()]
    for usd, seconds, code in ((0.0004, 0.5, 0), (0.001, 0.5, 1), (0.0004, 3.0, 1), (None, 0.5, 1)):
        told = [{"id": row["id"], "answer": "x", "cost_usd": usd, "seconds": seconds} for row in rows]
        (tmp_path / "p.jsonl").write_text("".join(json.dumps(one) + "\n" for one in told), "utf-8")
        assert main(["run", str(file), "--out", str(tmp_path / f"{usd}-{seconds}")]) == code
    said = capsys.readouterr().out
    assert "CEILING EXCEEDED: slow: p95_s is 3" in said
    assert "usd_per_1k is unknown" in said


def test_a_path_that_is_not_there_is_named():
    """With the beginning of what was there instead."""
    assert reached({"a": [{"b": 1}]}, "a.0.b") == 1
    with pytest.raises(LookupError, match=r"no 'c' of 'a.c'"):
        reached({"a": {"b": 1}}, "a.c")


def test_pipelines_take_a_prompt_and_the_chat_model_as_reranker(tmp_path):
    """Both are in what the model is sent; a prompt that is not there is refused."""
    (tmp_path / "own.md").write_text("# System\nSpeak like a harbour master.\n# User\n{passages}\n{question}\n", "utf-8")
    with OpenAISim(answer="[2] > [1] > [3]") as sim:
        (tmp_path / "models.toml").write_text(
            '[chat.default]\ntargets = ["openai:gpt-5-mini"]\n[embed.default]\ntargets = ["local:multilingual-e5-small"]\n'
            f'[target."openai:gpt-5-mini"]\nbase_url = "{sim.url}"\napi_key = "sk-loopback"\n', "utf-8",
        )  # fmt: skip
        ours = 'framework = "langchain"\nk = 3\nmodels = "models.toml"\nchat = ["default"]\nembed = ["default"]'
        head = HEAD.replace('path = "questions"', 'path = "questions"\nquestions = 1')
        file = suite(tmp_path, f'name = "own"\n{ours}\nprompt = "own.md"\nreranker = "chat"', head=head)
        records = running.run(running.plan(file), tmp_path / "out", place=tmp_path / "index")
        sent = [json.loads(one.body)["messages"][0]["content"] for one in sim.requests]
    assert [one.error for one in records] == [""]
    assert len(sent) == 2
    assert "harbour master" not in sent[0]
    assert sent[1] == "Speak like a harbour master."
    (tmp_path / "own.md").unlink()
    with pytest.raises(Misconfigured, match="no such prompt"):
        running.plan(file)


def test_pipelines_take_chunk_size_fusion_and_reranker(tmp_path):
    """Each reaches the pipeline: smaller passages, and an order of one's own."""
    (tmp_path / "eval_reranks.py").write_text("def last_first(question, passages):\n    return list(range(len(passages)))\n", "utf-8")
    ours = 'framework = "langchain"\nk = 3\nembed = ["local:multilingual-e5-small"]'
    file = suite(
        tmp_path,
        f'name = "as it comes"\n{ours}',
        f'name = "small"\n{ours}\nchunk_chars = 60\nfusion = "ranks"',
        f'name = "turned"\n{ours}\nreranker = "eval_reranks:last_first"',
    )
    planned = running.plan(file)
    records = running.run(planned, tmp_path / "out", place=tmp_path / "index")
    longest = {name: max(p.end - p.start for r in records if r.system == name for p in r.passages) for name in planned.systems}
    assert longest["small"] <= 60 < longest["as it comes"]
    first = {one.system: one.passages[0].id for one in records if one.question == "harbour-0"}
    assert first["turned"] != first["as it comes"]
    assert running.results(planned, records).systems["small"].summaries["R@3"].mean >= 0.5
