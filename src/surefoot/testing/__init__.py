"""For tests: a provider by script, chaos on demand, the contract every room keeps, and wire simulators (`surefoot.testing.wire`)."""

from surefoot.layers.chaos import Chaos
from surefoot.testing.contract import PROMISES, LayerContract
from surefoot.testing.scripted import CUT, STALL, Pause, Scripted, make_call, vectors

__all__ = ["CUT", "PROMISES", "STALL", "Chaos", "LayerContract", "Pause", "Scripted", "make_call", "vectors"]
