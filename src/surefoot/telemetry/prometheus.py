"""Prometheus metrics of what models do: `metrics = PrometheusMetrics().watch(chat)`, then serve `metrics.exposition()` at /metrics.

Labels come from the configuration (targets) or from a closed list (kinds, errors, directions), never from a caller: no model that a call
names, no tenant, tag, key, prompt or address becomes one, so the number of series is bounded by the number of targets. Tokens and money
are counted by attempt, as providers bill: an answer that was shared or cached counts nothing.
"""

from __future__ import annotations

from typing import Any

from surefoot.errors import Misconfigured
from surefoot.events import (
    AttemptEnded,
    BreakerClosed,
    BreakerOpened,
    CacheHit,
    CacheMiss,
    CallEnded,
    CallStarted,
    Coalesced,
    Event,
    Waited,
)
from surefoot.types import Usage

SECONDS = tuple(0.01 * 2**n for n in range(14))  # OpenTelemetry's buckets for operations of models: 10 ms to 82 s
WAITS = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_OPEN = 10_000  # calls whose end was never heard (a subscriber that came and went) are let go beyond this


class PrometheusMetrics:
    """A subscriber that counts. Raises Misconfigured where prometheus-client is not installed (`surefoot[metrics]`).

    `registry` is a `prometheus_client.CollectorRegistry` of your own, to show these beside other metrics; left out, one of its own.
    """

    def __init__(self, registry: Any = None) -> None:
        try:
            import prometheus_client as client
        except ImportError as error:
            raise Misconfigured('Prometheus metrics need prometheus-client: run  pip install "surefoot[metrics]"') from error
        self._client = client
        self.registry: Any = client.CollectorRegistry() if registry is None else registry
        """Where the families stand."""
        self._kinds: dict[str, str] = {}  # of calls under way
        self._calls = self.counter("calls", "Calls that ended, by kind and error (none: answered).", "kind", "error")
        self._seconds = self.histogram("call_seconds", "Seconds from a call to its whole answer, retries included.", SECONDS, "kind")
        self._first = self.histogram("first_token_seconds", "Seconds from a call to the first token of a stream.", SECONDS, "target")
        self._attempts = self.counter("attempts", "Wire attempts, by target, kind and error (none: answered).", "target", "kind", "error")
        self._took = self.histogram("attempt_seconds", "Seconds of a wire attempt.", SECONDS, "target")
        self._tokens = self.counter("tokens", "Tokens billed; input and output hold the three others.", "target", "direction")
        self._cost = self.counter("cost_usd", "US dollars of attempts whose price is known.", "target")
        self._unpriced = self.counter("unpriced_attempts", "Attempts that were billed at a price that nobody knows.", "target")
        self._cache = self.counter("cache", "Questions to the caches, by what became of them.", "result")
        self._waits = self.histogram("wait_seconds", "Seconds waited for a place or a turn.", WAITS, "target", "layer")
        self._open = self.gauge("breaker_open", "1 while the target is left alone because it failed too often.", "target")

    def counter(self, name: str, says: str, *labels: str) -> Any:
        """A counter `surefoot_NAME_total`."""
        return _known(self._client.Counter(f"surefoot_{name}", says, labels, registry=self.registry), labels)

    def histogram(self, name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Any:
        """A histogram `surefoot_NAME`."""
        return _known(self._client.Histogram(f"surefoot_{name}", says, labels, buckets=buckets, registry=self.registry), labels)

    def gauge(self, name: str, says: str, *labels: str) -> Any:
        """A gauge `surefoot_NAME`."""
        return self._client.Gauge(f"surefoot_{name}", says, labels, registry=self.registry)

    def watch(self, *models: Any) -> PrometheusMetrics:
        """Count what `models` do from now on; returns itself."""
        for model in models:
            model.subscribe(self, inline=True)
        return self

    def exposition(self) -> bytes:
        """All families in Prometheus' text format, of CONTENT_TYPE."""
        return bytes(self._client.generate_latest(self.registry))

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case AttemptEnded():
                self._attempted(event)
            case CallStarted():
                if len(self._kinds) >= MAX_OPEN:
                    self._kinds.pop(next(iter(self._kinds)))
                self._kinds[event.call_id] = event.kind
            case CallEnded():
                self._ended(event)
            case CacheHit():
                self._cache.labels("stale" if event.stale else "semantic" if event.semantic else "hit").inc()
            case CacheMiss():
                self._cache.labels("miss").inc()
            case Coalesced():
                self._cache.labels("shared").inc()
            case Waited():
                self._waits.labels(event.target, event.layer).observe(event.wait_s)
            case BreakerOpened():
                self._open.labels(event.target).set(1)
            case BreakerClosed():
                self._open.labels(event.target).set(0)

    def _attempted(self, event: AttemptEnded) -> None:
        one = event.attempt
        self._attempts.labels(one.target, one.kind, one.error or "none").inc()
        self._took.labels(one.target).observe(one.seconds or 0.0)
        if one.usage is None:
            return
        self._count(one.target, one.usage)
        if one.cost_usd is None:
            self._unpriced.labels(one.target).inc()
        else:
            self._cost.labels(one.target).inc(one.cost_usd)

    def _count(self, target: str, usage: Usage) -> None:
        counts = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "cache_read": usage.cached_tokens,
            "cache_write": usage.cache_write_tokens,
            "reasoning": usage.reasoning_tokens,
        }
        for direction, count in counts.items():
            if count:
                self._tokens.labels(target, direction).inc(count)

    def _ended(self, event: CallEnded) -> None:
        kind = self._kinds.pop(event.call_id, "chat")
        self._calls.labels(kind, event.error or "none").inc()
        self._seconds.labels(kind).observe(event.seconds)
        if event.first_token_s is not None and event.target:
            self._first.labels(event.target).observe(event.first_token_s)


class _Labelled:
    """A family whose series are remembered by their labels: the client's own look-up takes a lock and makes texts of all values."""

    __slots__ = ("_family", "_series")

    def __init__(self, family: Any) -> None:
        self._family = family
        self._series: dict[tuple[str, ...], Any] = {}

    def labels(self, *values: str) -> Any:
        """The series of these labels."""
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = self._family.labels(*values)
        return found


def _known(family: Any, labels: tuple[str, ...]) -> Any:
    return _Labelled(family) if labels else family
