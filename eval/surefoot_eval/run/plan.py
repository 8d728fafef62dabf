"""A suite, checked, with what it will be run on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from surefoot_eval.data.dataset import Dataset
from surefoot_eval.data.suite import Suite
from surefoot_eval.run.answers import SystemModels
from surefoot_eval.run.fingerprints import Fingerprints


class Plan(NamedTuple):
    """A suite, checked, with what it will be run on."""

    suite: Suite
    near: Path
    material: Dataset
    models: Mapping[str, SystemModels]
    marks: Fingerprints

    @property
    def name(self) -> str:
        """The run's folder, unless told otherwise: equal fingerprints and settings share one, which is how a run goes on."""
        whole = msgspec.json.encode([self.suite, self.marks], order="sorted")
        return f"{self.suite.name}-{hashlib.sha256(whole).hexdigest()[:10]}"

    @property
    def systems(self) -> list[str]:
        """The names in the results: systems, or in a rehearsal systems under schedules."""
        if self.suite.kind != "resilience":
            return [one.name for one in self.suite.system]
        return [f"{one.name} / {weather.name}" for weather in self.suite.schedule for one in self.suite.system]
