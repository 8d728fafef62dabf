"""What a call may cost: at most, usually, and bounded."""

from __future__ import annotations

import pytest

from surefoot.types import ChatRequest, EmbedRequest, Message, Usage
from surefoot.usage.habits import Habits
from surefoot.usage.quotes import LEAST_BOUND, LONGER, THINKING_TOKENS, UNKNOWN_LIMIT, Quote, Quotes
from surefoot.usage.tokens import DEFAULT_OUTPUT_TOKENS, estimate_input

PROMPT = (Message.user("how are you today, my friend? " * 20),)
IN, WRITE, OUT = 1e-6, 2e-6, 10e-6  # US dollars a token


def cost(usage, model):
    scale = 100.0 if model == "dear" else 1.0
    fresh = usage.input_tokens - usage.cache_write_tokens
    return scale * (fresh * IN + usage.cache_write_tokens * WRITE + usage.output_tokens * OUT)


def quotes(habits=None, **settings):
    given = {"cost": cost, "output_limit": lambda model: {"": 16_000, "dear": 64_000}.get(model), **settings}
    return Quotes("openai:m", habits=habits or Habits(), **given)


def request(**fields):
    return ChatRequest(messages=PROMPT, **fields)


INPUT = Habits().input_tokens("", estimate_input(request())) * IN


def test_what_was_said_counts_and_nothing_else():
    """Whoever says max_tokens has it neither raised nor lowered."""
    quote = quotes()(request(max_tokens=100))
    assert quote.worst_usd == quote.least_usd == quote.bounded_usd == pytest.approx(INPUT + 100 * OUT)


def test_where_nothing_is_known_an_answer_may_be_as_long_as_the_model_writes():
    """The usual 256 tokens are wrong by a factor of hundreds for some."""
    quote = quotes()(request())
    assert quote.worst_usd == quote.bounded_usd == pytest.approx(INPUT + 16_000 * OUT)
    assert quote.likely_usd == quote.least_usd == pytest.approx(INPUT + DEFAULT_OUTPUT_TOKENS * OUT)
    assert quote.lost_usd == pytest.approx(INPUT + LEAST_BOUND * OUT), "an answer that nobody saw may have been longer than usual"
    assert quotes()(request(model="unheard-of")).worst_usd == pytest.approx(INPUT + UNKNOWN_LIMIT * OUT)


def test_what_such_calls_came_to_is_what_is_likely():
    """And a bounded answer gets several times as much."""
    habits = Habits()
    ask = quotes(habits)
    ask.note(request(), Usage(input_tokens=10, output_tokens=2000))
    quote = ask(request())
    known = habits.input_tokens("", estimate_input(request())) * IN
    assert quote.least_usd == quote.likely_usd == quote.lost_usd == pytest.approx(known + 2000 * OUT)
    assert quote.bounded_usd == pytest.approx(known + LONGER * 2000 * OUT)
    assert quote.worst_usd == pytest.approx(known + 16_000 * OUT)
    ask.note(request(model="dear"), Usage(input_tokens=10, output_tokens=10))
    assert ask(request(model="dear")).bounded_usd == pytest.approx(100 * (known + LEAST_BOUND * OUT))


def test_what_thinking_adds_to_a_broken_answer_is_learned_and_bounded():
    """Nobody counts it where the answer broke off; it is no longer than the answer may be in all."""
    ask = quotes()
    assert ask(request()).hidden_usd == 0.0
    ask.note(request(), Usage(input_tokens=10, output_tokens=900, reasoning_tokens=300))
    assert ask(request()).hidden_usd == pytest.approx(300 * OUT)
    assert ask(request(max_tokens=100)).hidden_usd == pytest.approx(100 * OUT)


def test_a_model_asked_by_the_call_is_priced_as_that_model():
    """Its limit and its habits are its own, too."""
    assert quotes()(request(model="dear")).worst_usd == pytest.approx(100 * (INPUT + 64_000 * OUT))
    assert quotes()(request(extra='{"model": "dear"}')).worst_usd == pytest.approx(100 * (INPUT + 64_000 * OUT))


@pytest.mark.parametrize(
    ("extra", "tokens"),
    [
        ('{"max_tokens": 50}', 50),
        ('{"max_completion_tokens": 50}', 50),
        ('{"generationConfig": {"maxOutputTokens": 50}}', 50),
        ('{"max_tokens": 50, "n": 3}', 150),
        ('{"n": 4}', 4 * 16_000),
        ('{"generationConfig": {"candidateCount": 2}}', 2 * 16_000),
    ],
)
def test_fields_of_extra_count_as_they_are_sent(extra, tokens):
    """They are laid over the body, so the provider sees them."""
    assert quotes()(request(extra=extra)).worst_usd == pytest.approx(INPUT + tokens * OUT)


def test_what_the_provider_is_told_by_itself_bounds_the_worst_case():
    """Anthropic's API wants max_tokens; an effort may raise it."""
    ask = quotes(default_tokens=8192, output_limit=lambda _: 64_000)
    assert ask(request()).worst_usd == pytest.approx(INPUT + 8192 * OUT)
    assert ask(request(reasoning_effort="high")).worst_usd == pytest.approx(INPUT + (8192 + THINKING_TOKENS) * OUT)


def test_an_answer_that_cannot_be_bounded_is_not():
    """Some servers refuse the parameter."""
    quote = quotes(can_bound=False)(request())
    assert quote.least_usd == quote.bounded_usd == quote.worst_usd
    assert quote.likely_usd < quote.worst_usd


def test_writing_to_a_vendors_cache_is_in_the_worst_case():
    """It costs more than reading."""
    marked = ChatRequest(messages=(Message(role="user", content=PROMPT[0].content, cache=True),), max_tokens=1)
    assert quotes()(marked).worst_usd == pytest.approx(2 * INPUT + OUT)


def test_embeddings_have_no_answer():
    """Their input alone counts."""
    texts = EmbedRequest(texts=("one two three four five",) * 100)
    quote = quotes()(texts)
    assert quote.likely_usd == pytest.approx(estimate_input(texts) * IN)
    assert quote.worst_usd == quote.least_usd == pytest.approx(Habits().input_tokens("", estimate_input(texts)) * IN)


@pytest.mark.parametrize("answers", [1, 3])
def test_a_bound_costs_no_more_than_what_it_was_bounded_to(answers):
    """Whatever the amount: the provider keeps to the tokens, and the price is linear in them."""
    ask = quotes()
    asked = request(extra=f'{{"n": {answers}}}')
    quote = ask(asked)
    for usd in (quote.least_usd, 0.0123, quote.worst_usd):
        tokens = quote.tokens_for(usd)
        assert INPUT + tokens * answers * OUT <= usd + 1e-12
        assert INPUT + (tokens + 1) * answers * OUT > usd


def test_answers_are_learned_one_by_one():
    """Three answers of 100 tokens are no habit of 300."""
    habits = Habits()
    quotes(habits).note(request(extra='{"n": 3}'), Usage(input_tokens=10, output_tokens=300))
    assert habits.output_tokens("") == 100


def test_our_own_estimates_teach_nothing():
    """We would learn what we guessed."""
    habits = Habits()
    quotes(habits).note(request(), Usage(input_tokens=10, output_tokens=300, estimated=True))
    assert habits.output_tokens("") is None


def test_a_claim_is_in_order_whatever_rounding_does():
    """In whole billionths of a dollar."""
    claim = Quote(worst_usd=1.0, likely_usd=2.0, least_usd=1.0000000009, bounded_usd=3.0).claim
    assert claim.least <= claim.bounded <= claim.worst == 10**9
