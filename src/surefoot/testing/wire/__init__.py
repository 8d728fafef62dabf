"""Wire simulators: OpenAI, Anthropic and Gemini on loopback, for the vendors' own SDKs, unmodified.

    with OpenAISim() as sim:
        client = openai.OpenAI(base_url=sim.url + "/v1", api_key="any", max_retries=0)
        client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Merhaba"}])
        sim.requests[-1].json["model"]              # what was sent
        sim.script([fault("status_503"), OK])       # the next request fails, the one after is well
        sim.usage_log                               # what the provider would bill, by request id

`CATALOGUE` lists every fault; `fault(name)` picks one, `.but(cut_at=17)` bends it.
"""

from surefoot.testing.wire._model._brain import Ask, Counts, PlainAnswer, PlainMessage, PlainTool, PlainToolCall
from surefoot.testing.wire._model._draft import Billed, Rejection
from surefoot.testing.wire._server._http import WireReply, WireRequest
from surefoot.testing.wire._server._limits import Limits
from surefoot.testing.wire._server._process import SimProcess
from surefoot.testing.wire._server._recordings import RECORDINGS, recorded_stream
from surefoot.testing.wire._server._sim import WireSim
from surefoot.testing.wire.anthropic import AnthropicSim
from surefoot.testing.wire.faults import CATALOGUE, OK, WireFault, fault, faults_for, mixture
from surefoot.testing.wire.google import GeminiSim
from surefoot.testing.wire.openai import OpenAISim

__all__ = [
    "CATALOGUE",
    "OK",
    "RECORDINGS",
    "AnthropicSim",
    "Ask",
    "Billed",
    "Counts",
    "GeminiSim",
    "Limits",
    "OpenAISim",
    "PlainAnswer",
    "PlainMessage",
    "PlainTool",
    "PlainToolCall",
    "Rejection",
    "SimProcess",
    "WireFault",
    "WireReply",
    "WireRequest",
    "WireSim",
    "fault",
    "faults_for",
    "mixture",
    "recorded_stream",
]  # fmt: skip
