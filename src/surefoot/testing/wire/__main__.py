"""`python -m surefoot.testing.wire --vendor openai --port 0`: a simulator in the foreground.

It prints its address and serves until stopped; `--bench` measures how fast it is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys

from surefoot.testing.wire import GeminiSim, Limits, fault
from surefoot.testing.wire._server._recordings import SIMS


def parser() -> argparse.ArgumentParser:
    """The command line; each option is one of `WireSim`'s."""
    words = argparse.ArgumentParser(prog="python -m surefoot.testing.wire", description="A simulated LLM provider on loopback.")
    words.add_argument("--vendor", choices=sorted(SIMS), default="openai")
    words.add_argument("--host", default="127.0.0.1")
    words.add_argument("--port", type=int, default=0, help="0 takes a free one")
    words.add_argument("--answer", help="say this and nothing else")
    words.add_argument("--latency-s", type=float, default=0.0, help="before the head of each answer")
    words.add_argument("--first-token-s", type=float, default=0.0, help="before a stream's first event")
    words.add_argument("--gap-s", type=float, default=0.0, help="between a stream's events")
    words.add_argument("--key", help="the only key let in")
    words.add_argument("--model", action="append", help="a model that is known (repeat); all are, when none is given")
    words.add_argument("--requests-per-minute", type=float)
    words.add_argument("--tokens-per-minute", type=float)
    words.add_argument("--in-flight", type=int, help="requests at the same time")
    words.add_argument("--window", choices=("fixed", "sliding", "bucket"), default="sliding")
    words.add_argument("--window-s", type=float, default=60.0)
    words.add_argument("--fault", action="append", default=[], help="play this fault on every request; several take turns")
    words.add_argument("--no-strict", action="store_true", help="accept what the vendor would refuse")
    words.add_argument("--signatures", action="store_true", help="Gemini: insist on thought signatures")
    words.add_argument("--record", type=int, default=10_000, help="requests remembered")
    words.add_argument("--bench", action="store_true", help="measure requests per CPU-second and leave")
    return words


async def serve(given: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    limits = Limits(
        requests_per_minute=given.requests_per_minute, tokens_per_minute=given.tokens_per_minute, in_flight=given.in_flight,
        window=given.window, window_s=given.window_s,
    )  # fmt: skip
    is_limited = (given.requests_per_minute, given.tokens_per_minute, given.in_flight) != (None, None, None)
    extra = {"signatures": given.signatures} if given.vendor == "google" and SIMS["google"] is GeminiSim else {}
    sim = SIMS[given.vendor](
        answer=given.answer, latency_s=given.latency_s, first_token_s=given.first_token_s, gap_s=given.gap_s, expected_key=given.key,
        models=given.model, limits=limits if is_limited else None, strict=not given.no_strict, host=given.host, port=given.port,
        record=given.record, **extra,
    )  # fmt: skip
    if given.fault:
        turns = [fault(name) for name in given.fault]
        sim.script(lambda request: turns[request.index % len(turns)])
    halt = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers on its loop
            asyncio.get_running_loop().add_signal_handler(number, halt.set)
    async with sim:
        sys.stdout.write(sim.url + "\n")
        sys.stdout.flush()
        await halt.wait()


def main() -> None:
    """Serve, or measure."""
    given = parser().parse_args()
    if given.bench:
        from surefoot.testing.wire._server._bench import measure

        for vendor, what, per_cpu_s, per_s in measure():
            sys.stdout.write(f"{vendor:10} {what:16} {per_cpu_s:9,.0f} requests per CPU-second  {per_s:9,.0f} per second\n")
        return
    asyncio.run(serve(given))


if __name__ == "__main__":
    main()
