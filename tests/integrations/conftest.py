"""What both frameworks' tests share: the three vendors on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim, WireSim


@pytest.fixture(scope="session")
def vendors() -> Iterator[dict[str, WireSim]]:
    """OpenAI, Anthropic and Gemini on loopback, for the whole session."""
    with OpenAISim() as openai, AnthropicSim() as anthropic, GeminiSim() as google:
        yield {"openai": openai, "anthropic": anthropic, "google": google}


@pytest.fixture
def sim(vendors: dict[str, WireSim]) -> WireSim:
    """OpenAI, as new."""
    vendors["openai"].reset()
    return vendors["openai"]


def address(provider: str, sim: WireSim) -> str:
    """What `base_url` means to each vendor's SDK."""
    return f"{sim.url}/v1" if provider == "openai" else sim.url
