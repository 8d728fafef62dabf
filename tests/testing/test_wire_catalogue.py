"""The catalogue of faults is consistent, and each record does something."""

from __future__ import annotations

import pytest

from surefoot.testing.wire import CATALOGUE, OK, AnthropicSim, GeminiSim, OpenAISim, PlainAnswer, PlainToolCall, fault, faults_for, mixture
from tests.testing.wire_users import USERS


@pytest.fixture(scope="module")
def servers():
    with OpenAISim() as one, AnthropicSim() as two, GeminiSim() as three:
        sims = {"openai": one, "anthropic": two, "google": three}
        yield {vendor: (sim, USERS[vendor](sim)) for vendor, sim in sims.items()}


@pytest.fixture
def at(servers):
    for sim, _ in servers.values():
        sim.reset()
        sim.answer = None
    return servers


def test_the_catalogue_is_consistent():
    """Unique names, honest records."""
    names = [row.name for row in CATALOGUE]
    assert len(names) == len(set(names)) >= 70
    for row in CATALOGUE:
        assert row.vendors, row.name
        assert row.surfaces, row.name
        assert (row.retryable is None) == (row.means == ""), row.name
    with pytest.raises(KeyError, match="stream_cut"):
        fault("no_such_fault")
    assert all("google" in row.vendors for row in faults_for("google"))


def test_every_spoiling_a_record_names_exists_for_its_vendors(at):
    """A typo in a record would otherwise be a fault that does nothing."""
    tool = {"openai": {"type": "function", "function": {"name": "f"}}, "anthropic": {"name": "f", "input_schema": {"type": "object"}}}
    for vendor, (sim, user) in at.items():
        sim.answer = lambda ask: PlainAnswer(calls=(PlainToolCall("f", '{"a":1}'),)) if ask.tools else None
        asked = {(surface, False): _request(user, sim, surface) for surface in ("chat", "stream")}
        if vendor in tool:
            asked |= {(surface, True): _request(user, sim, surface, tools=[tool[vendor]]) for surface in ("chat", "stream")}
        for row in faults_for(vendor):
            if not row.spoil or "embed" in row.surfaces:
                continue
            request = asked["stream" if "stream" in row.surfaces else "chat", "tool" in row.spoil]
            bodies = []
            for planned in (OK, row):
                sim.reset()
                reply = sim.script([planned]).serve(request)
                bodies.append(b"".join(reply.chunks) if reply.chunks is not None else reply.body)
            assert bodies[0] != bodies[1], (vendor, row.name)


def _request(user, sim, surface, **more):
    """The SDK's own request for that surface, as it arrived."""
    getattr(user, surface)(**more)
    return sim.requests[-1]


def test_a_mixture_is_repeatable():
    """The same seed, the same faults, in about the asked shares."""
    shares = {fault("status_500"): 0.2, fault("stream_cut"): 0.1}

    def draw(seed):
        source = mixture(shares, seed=seed)
        return [next(source).name for _ in range(2000)]

    assert draw(1) == draw(1) != draw(2)
    assert 330 <= draw(1).count("status_500") <= 470
