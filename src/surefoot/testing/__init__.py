"""For tests: a provider by script, chaos on demand, wire simulators (`surefoot.testing.wire`), what every layer and provider promises."""

from surefoot.layers.watch.chaos import Chaos
from surefoot.testing.chaotic import Chaotic
from surefoot.testing.contract import PROMISES, LayerContract
from surefoot.testing.provider_contract import PROVIDER_PROMISES, ProviderContract
from surefoot.testing.scripted import CUT, STALL, Pause, Scripted, make_call, vectors

__all__ = [
    "CUT", "PROMISES", "PROVIDER_PROMISES", "STALL", "Chaos", "Chaotic", "LayerContract", "Pause", "ProviderContract", "Scripted",
    "make_call", "vectors",
]  # fmt: skip
