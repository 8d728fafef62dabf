"""What a call may cost, before it is sent: at most, and usually.

The answer's length decides. It is at most what the request says (`max_tokens`), else what the provider is told where a request says
nothing, else the model's own limit. It is usually what such calls lately came to (`surefoot.usage.habits`). Where nobody said how long the
answer may be, a spend limit that is nearly used up may bound it: `Quote.tokens_for` says how many tokens an amount pays for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from surefoot._documented import Documented
from surefoot.rules.spending import Claim, nano
from surefoot.types import ChatRequest, EmbedRequest, Usage
from surefoot.usage.bounds import answers_asked, model_asked, tokens_asked
from surefoot.usage.habits import Habits
from surefoot.usage.tokens import DEFAULT_OUTPUT_TOKENS, estimate_input

UNKNOWN_LIMIT = 128_000  # output tokens of a model whose limit nobody knows: no text model in today's lists writes more but gpt-5-pro
LONGER = 4  # a bounded answer may be so many times as long as such answers usually are,
LEAST_BOUND = 4096  # and so many tokens long in any case, where the money allows: thinking comes before the answer
THINKING_TOKENS = 32_000  # the most that is added to the provider's default for a request that names an effort

Cost: TypeAlias = Callable[[Usage, str], float]  # tokens and the model asked -> US dollars, an assumed price where it is unknown


class Quote(Struct, Documented, frozen=True, kw_only=True, gc=False):
    """What one call may cost, in US dollars."""

    worst_usd: float
    """At most, sent as it is."""
    likely_usd: float
    """As such calls usually do."""
    least_usd: float
    """The least that lets it have an answer of the usual length; `worst_usd` where the answer's length cannot be bounded."""
    bounded_usd: float
    """The most that a bounded answer is given."""
    input_usd: float = 0.0
    """The prompt alone."""
    token_usd: float = 0.0
    """One more token in each of its answers."""
    lost_usd: float = 0.0
    """What to count for a call that ended without any answer: as `likely_usd`, more if nothing is known yet."""
    is_known: bool = True
    """Whether calls of this kind have shown what is usual. If not, no ample limit bounds the answer."""
    hidden_usd: float = 0.0
    """What thinking adds to the text of an answer that broke off."""
    estimated_tokens: int | None = None
    """The prompt's tokens as they were estimated, before what is known of such estimates; None where nobody estimated."""

    @classmethod
    def exactly(cls, usd: float) -> Quote:
        """A quote without any doubt."""
        return cls(worst_usd=usd, likely_usd=usd, least_usd=usd, bounded_usd=usd, lost_usd=usd)

    @property
    def claim(self) -> Claim:
        """The same for a spend limit."""
        worst = nano(self.worst_usd)
        return Claim(worst, min(worst, nano(self.least_usd)), min(worst, nano(self.bounded_usd)))

    def tokens_for(self, usd: float) -> int:
        """The tokens that each answer may have for `usd` in all; at least 1."""
        return max(1, int((usd - self.input_usd) / self.token_usd + 1e-6)) if self.token_usd > 0 else UNKNOWN_LIMIT


class Quotes:
    """Quotes for one target: `Quotes(name, cost=..., habits=..., output_limit=...)`.

    `cost(usage, model)` prices tokens, `output_limit(model)` is the most that a model writes, None if nobody knows (`model` is the one that
    the call names, "" the target's own). `default_tokens` is what the provider is told where a request names no limit; `can_bound` says
    whether it can be told one.
    """

    def __init__(
        self,
        name: str,
        *,
        cost: Cost,
        habits: Habits,
        output_limit: Callable[[str], int | None],
        default_tokens: int | None = None,
        can_bound: bool = True,
    ) -> None:
        self._name = name
        self._cost = cost
        self._habits = habits
        self._output_limit = output_limit
        self._default_tokens = default_tokens
        self._can_bound = can_bound

    def __call__(self, request: ChatRequest | EmbedRequest) -> Quote:
        """What `request` may cost."""
        model = model_asked(request)
        estimated = estimate_input(request, model=self._name)
        tokens = self._habits.input_tokens(model, estimated)
        if isinstance(request, EmbedRequest):
            return self._of_texts(model, estimated, tokens)
        written = tokens if request.prompt_cache else 0  # writing to a vendor's cache costs extra
        for message in request.messages:
            if message.cache:
                written = tokens
        kept = tokens if request.prompt_cache == "1h" else 0
        answers = answers_asked(request)
        asked, usual = tokens_asked(request), self._habits.output_tokens(model)
        limit = self._limit(request, model) if asked is None else min(asked, self._output_limit(model) or asked)
        likely = min(limit, DEFAULT_OUTPUT_TOKENS if usual is None else usual)
        input_usd = self._cost(Usage(input_tokens=tokens, cache_write_tokens=written, cache_write_1h_tokens=kept), model)
        worst = Usage(input_tokens=tokens, cache_write_tokens=written, cache_write_1h_tokens=kept, output_tokens=limit * answers)
        worst_usd = self._cost(worst, model)
        token_usd = (worst_usd - input_usd) / limit if limit else 0.0  # each token of an answer costs the same
        likely_usd = lost_usd = worst_usd if likely == limit else input_usd + likely * token_usd
        least_usd = bounded_usd = worst_usd
        if asked is None and self._can_bound:
            least_usd = likely_usd
            if usual is not None and (bounded := max(LONGER * usual, LEAST_BOUND)) < limit:
                bounded_usd = input_usd + bounded * token_usd
        if usual is None:
            lost_usd = worst_usd if limit <= LEAST_BOUND else input_usd + LEAST_BOUND * token_usd
        return Quote(
            lost_usd=lost_usd,
            is_known=usual is not None,
            hidden_usd=min(limit, self._habits.thinking_tokens(model)) * token_usd,
            worst_usd=worst_usd,
            likely_usd=likely_usd,
            least_usd=least_usd,
            bounded_usd=bounded_usd,
            input_usd=input_usd,
            token_usd=token_usd,
            estimated_tokens=estimated,
        )

    def _of_texts(self, model: str, estimated: int, tokens: int) -> Quote:
        """What embedding texts may cost, estimated at so many tokens and at most `tokens`."""
        likely_usd = self._cost(Usage(input_tokens=estimated), model)
        worst_usd = self._cost(Usage(input_tokens=tokens), model)
        return Quote(
            worst_usd=worst_usd,
            likely_usd=likely_usd,
            least_usd=worst_usd,
            bounded_usd=worst_usd,
            lost_usd=likely_usd,
            estimated_tokens=estimated,
        )

    def _limit(self, request: ChatRequest, model: str) -> int:
        """The most tokens of an answer whose length the request does not bound."""
        limit = self._output_limit(model) or UNKNOWN_LIMIT
        if self._default_tokens is None:
            return limit
        told = self._default_tokens + (THINKING_TOKENS if request.reasoning_effort else 0)
        return min(limit, told) if limit else told

    def note(self, request: ChatRequest | EmbedRequest, usage: Usage, estimated_tokens: int | None = None) -> None:
        """Learn from a call that ended with `usage`, as the provider counted it; `estimated_tokens` are its quote's."""
        if usage.estimated:
            return
        is_free = isinstance(request, ChatRequest) and tokens_asked(request) is None
        estimated = estimate_input(request, model=self._name) if estimated_tokens is None else estimated_tokens
        answers = answers_asked(request) if isinstance(request, ChatRequest) else 1
        if answers > 1:
            usage = replace(usage, output_tokens=ceil(usage.output_tokens / answers))
        self._habits.note(model_asked(request), usage, estimated_input=estimated, is_free=is_free)
