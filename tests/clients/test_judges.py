"""deepeval's measures, judged by both classes: as text, and in the schemas that it asks for."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("deepeval", reason="the clients are not installed here: `make test-clients`")

from deepeval.metrics import AnswerRelevancyMetric, FaithfulnessMetric
from deepeval.models import DeepEvalBaseLLM
from deepeval.test_case import LLMTestCase

from surefoot.testing.wire import Ask, PlainAnswer
from tests.clients.beside import Desk, call
from tests.clients.beside import beside as any_beside

beside = functools.partial(any_beside, framework="langchain")
SAID = {  # by the field that deepeval asks for
    "statements": ["It opens at eight.", "Cats sleep."],
    "truths": ["The office opens at eight."],
    "claims": ["It opens at eight.", "Cats sleep."],
    "verdicts": [{"verdict": "yes", "reason": "said"}, {"verdict": "no", "reason": "not said"}],
    "reason": "One of two.",
}


class DeepEvalInWords(DeepEvalBaseLLM):
    """A LangChain model as deepeval's documentation wraps one."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        super().__init__("judge")

    def load_model(self) -> Any:
        return self._llm

    def generate(self, prompt: str) -> str:
        return self._llm.invoke(prompt).content

    async def a_generate(self, prompt: str) -> str:
        return (await self._llm.ainvoke(prompt)).content

    def get_model_name(self) -> str:
        return "judge"


class DeepEvalInSchemas(DeepEvalInWords):
    """The same, answering in the schema that is given."""

    def generate(self, prompt: str, schema: Any = None) -> Any:
        return self._llm.with_structured_output(schema).invoke(prompt)

    async def a_generate(self, prompt: str, schema: Any = None) -> Any:
        return await self._llm.with_structured_output(schema).ainvoke(prompt)


def verdict(ask: Ask) -> PlainAnswer | str:
    """What deepeval asks for: by the tool's schema, by the schema, or else by the last of its fields that the prompt names."""
    if ask.tools:
        return call(ask.tools[0].name, **{name: SAID[name] for name in ask.tools[0].schema["properties"]})
    if ask.schema is not None:
        return json.dumps({name: SAID[name] for name in ask.schema["properties"]})
    asked = max(SAID, key=lambda name: ask.prompt.rfind(f'"{name}"'))
    asked = "verdicts" if asked == "reason" and '"verdicts"' in ask.prompt else asked
    return json.dumps({asked: SAID[asked]})


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPEVAL_TELEMETRY_OPT_OUT", "1")
    monkeypatch.setenv("DEEPEVAL_DISABLE_DOTENV", "1")


def scores(judge: DeepEvalInWords) -> dict[str, Any]:
    case = LLMTestCase(
        input="When does the office open?",
        actual_output="It opens at eight. Cats sleep.",
        retrieval_context=["The office opens at eight."],
    )
    found = {}
    for kind in (AnswerRelevancyMetric, FaithfulnessMetric):
        metric = kind(model=judge, async_mode=False)
        found[kind.__name__] = [metric.measure(case, _show_indicator=False), metric.reason]
    return found


@beside("openai", "anthropic")
def test_judged_in_words(desk: Desk):
    """The judge's JSON is in its text; of Gemini 3, `content` is a list, which deepeval does not read."""
    desk.answers(verdict)
    return scores(DeepEvalInWords(desk.llm()))


@beside("openai", "google", differs={"sent": "ours asks for the call of a function, whatever the vendor"})
def test_judged_in_schemas(desk: Desk):
    """Each step has a pydantic class of deepeval's."""
    desk.answers(verdict)
    found = scores(DeepEvalInSchemas(desk.llm()))
    assert found["FaithfulnessMetric"][0] == 0.5
    return found
