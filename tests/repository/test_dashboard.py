"""deploy/grafana: each panel says what it shows, reads families that exist, and is answered by a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from surefoot.events import AttemptEnded, BreakerOpened, CacheMiss, CallEnded, CallStarted, Waited
from surefoot.gateway.admission import AdmissionQueue
from surefoot.gateway.metrics import GatewayMetrics
from surefoot.gateway.records import RequestEnded
from surefoot.telemetry.prometheus import PrometheusMetrics
from surefoot.types import AttemptRecord, Usage

BOARD = json.loads((Path(__file__).resolve().parents[2] / "deploy/grafana/surefoot.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def all_metrics():
    metrics = PrometheusMetrics()
    return metrics, GatewayMetrics(metrics, AdmissionQueue(most=1, queue=1, queue_s=1.0))


def test_every_panel_reads_families_that_exist_and_says_what_it_shows():
    """A renamed family would leave its panel empty for ever; an unnamed panel is read by nobody at three in the morning."""
    metrics, _ = all_metrics()
    families = {family.name for family in metrics.registry.collect()}
    read = set()
    for title, query in QUERIES:
        for name in re.findall(r"surefoot_\w+", query):
            family = re.sub(r"_(total|bucket)$", "", name)
            assert family in families, (title, name)
            read.add(family)
    assert families - read == set(), "a family that no panel shows"
    assert all(len(panel["description"]) > 15 for panel in PANELS)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


class BusyMetrics(BaseHTTPRequestHandler):
    """/metrics of a gateway at which something of everything happens between two looks."""

    metrics, requests = None, None

    def do_GET(self):
        usage = Usage(input_tokens=5)
        one = AttemptRecord(number=1, target="openai:m", kind="retry", error="Overloaded", usage=usage, cost_usd=0.1, seconds=0.2)
        unpriced = AttemptRecord(number=1, target="openai:m", usage=usage, seconds=0.2)
        for event in (
            CallStarted(call_id="c"), AttemptEnded(attempt=one), AttemptEnded(attempt=unpriced), CacheMiss(key="k"),
            Waited(target="openai:m", layer="rate", wait_s=0.1), BreakerOpened(target="openai:m", failures=1, calls=1, wait_s=1.0),
            CallEnded(call_id="c", target="openai:m", seconds=0.3, first_token_s=0.1),
        ):  # fmt: skip
            self.metrics(event)
        for outcome in ("ok", "failed"):
            ended = RequestEnded(
                request_id="r", route="chat", outcome=outcome, model="m", seconds=0.1, queued_s=0.01, first_token_s=0.1, client_retry=1
            )
            self.requests(ended)
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.metrics.exposition())

    def log_message(self, *_):
        """Nothing."""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answer(port, query):
    """How many series Prometheus gives; None while it does not answer."""
    said = query.replace("$__rate_interval", "30s").replace("$model", ".*").replace("$target", ".*")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': said})}", timeout=10) as found:
            rows = json.load(found)["data"]["result"]
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return None
    return sum(row["value"][1] != "NaN" for row in rows)


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: prometheus)")
def test_a_real_prometheus_answers_every_query(tmp_path):
    """After a few looks at a gateway where something of everything happens each panel has a line."""
    BusyMetrics.metrics, BusyMetrics.requests = all_metrics()
    server = ThreadingHTTPServer(("127.0.0.1", 0), BusyMetrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "p.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: surefoot\n    static_configs:\n"
        f"      - targets: ['127.0.0.1:{server.server_port}']\n",
        encoding="utf-8",
    )
    port = free_port()
    words = ["prometheus", f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/d", f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    left = {query: title for title, query in QUERIES}
    found = {}
    try:
        ends = time.monotonic() + 120
        while left and time.monotonic() < ends:
            time.sleep(1)
            found = {query: answer(port, query) for query in left}
            left = {query: title for query, title in left.items() if not isinstance(found[query], int) or found[query] < 1}
    finally:
        process.terminate()
        process.wait(30)
        server.shutdown()
        server.server_close()
    assert {title: found[query] for query, title in left.items()} == {}
