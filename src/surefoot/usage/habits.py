"""What a model's calls lately came to: how long its answers are, and how many input tokens it counts for one of our estimate.

Kept for each model that is asked of a target, over the last SAMPLES calls, on the background loop alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import ceil

from surefoot.types import Usage

SAMPLES = 500  # calls remembered; so a habit that changes is known after a few hundred calls
HIGH = 0.99  # the share of answers that are no longer than what is said to be usual; of fewer than a hundred, all
INPUT_MARGIN = 1.25  # our estimate of input tokens is 6 to 9 % off on average: at least so much is allowed for
INPUT_EXTRA = 16  # and so many more tokens before anything is learned: a vendor's own marks outweigh a short prompt
MODELS = 64  # asked of one target with `model=`; beyond that all begin anew


class _Recent:
    """The last SAMPLES numbers, in order of size."""

    __slots__ = ("_by_age", "_by_size", "high")

    def __init__(self) -> None:
        self._by_age: deque[float] = deque()
        self._by_size: list[float] = []
        self.high: float | None = None  # the number that HIGH of all are not above; None if there are none

    def add(self, value: float) -> None:
        """Remember one more, forget the oldest beyond SAMPLES."""
        self._by_age.append(value)
        insort(self._by_size, value)
        if len(self._by_age) > SAMPLES:
            del self._by_size[bisect_left(self._by_size, self._by_age.popleft())]
        self.high = self._by_size[ceil(HIGH * len(self._by_size)) - 1]


class Habits:
    """What one target's calls came to, by the model asked ("" is the target's own)."""

    __slots__ = ("_hidden", "_inputs", "_outputs")

    def __init__(self) -> None:
        self._hidden: dict[str, _Recent] = {}
        self._inputs: dict[str, _Recent] = {}
        self._outputs: dict[str, _Recent] = {}

    def note(self, model: str, usage: Usage, *, estimated_input: int, is_free: bool) -> None:
        """A call ended with `usage`, as the provider counted it; `is_free`: nobody had said how long its answer may be."""
        if estimated_input > 0 and usage.input_tokens:
            _of(self._inputs, model).add(usage.input_tokens / estimated_input)
        if is_free:
            _of(self._outputs, model).add(usage.output_tokens)
        if usage.reasoning_tokens or model in self._hidden:
            _of(self._hidden, model).add(usage.reasoning_tokens)

    def output_tokens(self, model: str) -> int | None:
        """How long an answer of `model` is at most, but for one in a hundred, where nobody says how long it may be; None if unknown."""
        found = self._outputs.get(model)
        return None if found is None or found.high is None else int(found.high)

    def thinking_tokens(self, model: str) -> int:
        """How many tokens `model` thinks at most before it answers, but for one call in a hundred; 0 for one that never did."""
        found = self._hidden.get(model)
        return 0 if found is None else int(found.high or 0)

    def input_tokens(self, model: str, estimated: int) -> int:
        """What `model` may count for a prompt of which we estimate so many tokens: hardly ever too low."""
        found = self._inputs.get(model)
        if found is None or found.high is None:
            return ceil(INPUT_MARGIN * estimated) + INPUT_EXTRA
        return ceil(max(INPUT_MARGIN, found.high) * estimated - 1e-9)  # 1e-9: what was counted exactly so before is no token more


def _of(models: dict[str, _Recent], model: str) -> _Recent:
    found = models.get(model)
    if found is None:
        if len(models) >= MODELS:
            models.clear()
        found = models[model] = _Recent()
    return found
