"""deploy/prometheus: every alert fires and stays silent where it should, reads metrics that exist, and has an entry in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from surefoot.gateway.admission import AdmissionQueue
from surefoot.gateway.metrics import GatewayMetrics
from surefoot.telemetry.prometheus import PrometheusMetrics

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/prometheus"
RULES = (FOLDER / "rules.yml").read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", RULES)
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")


def test_every_alert_has_an_entry_and_two_tests():
    """Whoever is woken finds what to do; an alert that was never seen to fire is a hope."""
    runbook = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    tests = "".join(file.read_text(encoding="utf-8") for file in FOLDER.glob("*.test.yml"))
    assert len(ALERTS) == len(set(ALERTS)) > 8
    for alert in ALERTS:
        assert f"\n## {alert}\n" in runbook
        assert f'runbook_url: "docs/runbook.md#{alert.lower()}"' in RULES
        assert f"name: {alert} fires" in tests
        assert f"name: {alert} stays silent" in tests


def test_the_rules_read_metrics_that_exist():
    """A renamed family would leave its alert silent for ever."""
    metrics = PrometheusMetrics()
    GatewayMetrics(metrics, AdmissionQueue(most=1, queue=1, queue_s=1.0))
    families = {family.name: family for family in metrics.registry.collect()}
    for name in set(re.findall(r"surefoot_\w+", RULES)):
        assert re.sub(r"_(total|bucket|count|sum)$", "", name) in families or name in families, name


@needs_promtool
@pytest.mark.heavy
@pytest.mark.parametrize("words", ["check rules rules.yml", "test rules rules.test.yml", "test rules rules.week.test.yml"])
def test_promtool_agrees(words):
    """Each alert on series that call for it, and on series that do not."""
    done = subprocess.run(["promtool", *words.split()], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
