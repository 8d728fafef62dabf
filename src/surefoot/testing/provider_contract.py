"""What every provider promises, one coroutine a promise, the same for all vendors: run it over a provider and the server behind it.

    contract = ProviderContract(provider, sim=sim, cannot={"embed": "Anthropic offers no embeddings"})
    for promise in PROVIDER_PROMISES:
        if not contract.excuse(promise):
            await contract.check(promise)
    for row, surface in contract.fault_rows():
        await contract.check_fault(row, surface)

`sim` is a wire simulator that speaks the provider's protocol, running in a thread of its own (`with OpenAISim() as sim`); a provider of
your own protocol brings its own subclass of WireSim. A broken promise raises AssertionError saying what was expected and what came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from surefoot.errors import Misconfigured
from surefoot.testing._provider import CAPABILITIES, NOTICED_S, Promise, Promises, ProviderUnderTest
from surefoot.testing._provider_chat import CHAT
from surefoot.testing._provider_faults import FAULTS, fault_rows, tells_fault
from surefoot.testing._provider_tools import TOOLS
from surefoot.testing._provider_vectors import VECTORS
from surefoot.testing.wire import WireFault, WireSim
from surefoot.testing.wire.faults import Surface

__all__ = ["CAPABILITIES", "PROVIDER_PROMISES", "ProviderContract"]

PROVIDER_PROMISES: Promises = {**CHAT, **TOOLS, **VECTORS, **FAULTS}
"""Every promise by its name, with the capabilities it needs."""


class ProviderContract:
    """The promises of one provider: `ProviderContract(provider, sim=sim, cannot={...})`, to be used on the loop that `provider` lives on.

    `cannot` names what it cannot do (a word of CAPABILITIES) with the reason, which must not be empty: promises that need it are
    excused, and that it is refused before sending is checked. `question` is what a plain call asks. `thinker` and `speaker` are the
    request's fields that make it think and speak (`{"reasoning_effort": "high"}`). `secrets` may appear in no error. Raises
    Misconfigured for an unknown capability, one without reason, and a missing server that nobody excused.
    """

    def __init__(
        self,
        provider: Any,
        *,
        sim: WireSim | None = None,
        cannot: Mapping[str, str] | None = None,
        question: str = "How long does the cooldown last, please?",
        thinker: Mapping[str, Any] | None = None,
        speaker: Mapping[str, Any] | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        cannot = {} if cannot is None else cannot
        for what, why in cannot.items():
            if what not in CAPABILITIES:
                raise Misconfigured(f"cannot: unknown capability {what!r}; known are {', '.join(CAPABILITIES)}")
            if not why.strip():
                raise Misconfigured(f"cannot: say why {what!r} is impossible")
        if sim is None and "server" not in cannot:
            raise Misconfigured('cannot: without a simulator "server" belongs here, with the reason')
        self._it = ProviderUnderTest(
            provider, sim=sim, cannot=cannot, question=question, thinker=thinker or {}, speaker=speaker or {}, secrets=secrets
        )  # fmt: skip

    def excuse(self, promise: str) -> str:
        """Why this promise means nothing here; "" if it must be kept."""
        missing = [need for need in PROVIDER_PROMISES[promise].needs if need in self._it.cannot]
        return "; ".join(f"{need}: {self._it.cannot[need]}" for need in missing)

    def fault_rows(self) -> list[tuple[WireFault, Surface]]:
        """Every row of the fault catalogue that concerns this provider, with the surface (chat, stream, embed) it is played on."""
        return fault_rows(self._it)

    async def check(self, promise: str) -> None:
        """Run one promise of PROVIDER_PROMISES; no task may be left behind. Raises AssertionError."""
        kept: Promise = PROVIDER_PROMISES[promise]
        await self._leaving_nothing(kept.run(self._it))

    async def check_fault(self, row: WireFault, surface: Surface) -> None:
        """Play one row of the catalogue: the named error class, truthful `retryable`, one request, no secret. Raises AssertionError."""
        await self._leaving_nothing(tells_fault(self._it, row, surface))

    async def _leaving_nothing(self, scene: Awaitable[None]) -> None:
        before = asyncio.all_tasks()
        self._it.begin()
        await scene
        left = asyncio.all_tasks() - before
        if left:  # connections say goodbye in tasks of their own
            _, left = await asyncio.wait(left, timeout=NOTICED_S)
        assert not left, f"tasks left behind: {left}"
