"""The gateway's own metrics, beside those of its models: requests, waiting, what is in flight."""

from __future__ import annotations

from surefoot import __version__
from surefoot.gateway.admission import AdmissionQueue
from surefoot.gateway.records import RequestEnded
from surefoot.telemetry.prometheus import SECONDS, WAITS, PrometheusMetrics


class GatewayMetrics:
    """An observer of requests: `services.observers.append(GatewayMetrics(metrics, admission))`.

    Routes and models are the names of the table and of the configuration, so nobody who asks can make a series.
    """

    def __init__(self, metrics: PrometheusMetrics, admission: AdmissionQueue) -> None:
        self._requests = metrics.counter("requests", "HTTP requests that ended, by outcome.", "route", "model", "outcome")
        self._seconds = metrics.histogram("request_seconds", "Seconds from a request to the last byte of its answer.", SECONDS, "route")
        self._first = metrics.histogram("request_first_token_seconds", "Seconds to the first piece of a streamed answer.", SECONDS, "model")
        self._queue = metrics.histogram("queue_seconds", "Seconds that admitted requests had waited for a place.", WAITS)
        self._retries = metrics.counter("client_retries", "Requests that their client's SDK calls a retry.")
        metrics.gauge("in_flight", "Requests being worked on.").set_function(lambda: admission.in_flight)
        metrics.gauge("queued", "Requests that wait for a place.").set_function(lambda: admission.queued)
        metrics.gauge("build_info", "1; the version stands in the label.", "version").labels(__version__).set(1)

    def __call__(self, ended: RequestEnded) -> None:
        """Count one request."""
        self._requests.labels(ended.route, ended.model or "none", ended.outcome).inc()
        self._seconds.labels(ended.route).observe(ended.seconds)
        if ended.first_token_s is not None:
            self._first.labels(ended.model or "none").observe(ended.first_token_s)
        self._queue.observe(ended.queued_s)
        if ended.client_retry:
            self._retries.inc()
