"""Any target with chaos in front of it, for tests and rehearsals: `ChatModel(Chaotic("openai:m", Chaos.passing(0.3, seed=8)))`."""

from __future__ import annotations

from typing import Any

from surefoot.core.stack import Handler, stack
from surefoot.core.stream import Stream
from surefoot.credentials import keys_of, placed
from surefoot.errors import Misconfigured
from surefoot.layers.watch.chaos import Chaos
from surefoot.providers import registry
from surefoot.settings import Target
from surefoot.types import Call, ChatReply, EmbedReply, Traits


class Chaotic:
    """A provider that fails as `chaos` says, and else is the target given: a name, a Target, or a provider such as `Scripted`.

    To the layers it is a provider of its own, so the limits and prices of a Target are not known to them. Faults that come before the
    request reach no provider and cost nothing. Raises Misconfigured as the target alone would.
    """

    def __init__(self, given: Any, chaos: Chaos) -> None:
        if isinstance(given, str):
            given = Target(given)
        if isinstance(given, Target):
            entry = registry.provider(given.provider)
            given = placed(given, entry)
            self.name = given.name
            self.provider: Any = registry.load(entry.path)(given, keys_of(given, entry))
        elif hasattr(given, "chat") or hasattr(given, "embed"):
            self.name = str(getattr(given, "name", type(given).__name__.lower()))
            self.provider = given
        else:
            raise Misconfigured(f"chaos goes in front of 'provider:model', a Target or a provider, not {type(given).__name__}")
        self.traits: Traits = getattr(self.provider, "traits", Traits())
        chaos.target = chaos.target or self.name
        self._chaos = chaos

    async def chat(self, call: Call[Any]) -> ChatReply | Stream:
        """One exchange, or a fault."""
        return await self._asked(self.provider.chat, call)  # type: ignore[no-any-return]

    async def embed(self, call: Call[Any]) -> EmbedReply:
        """One exchange, or a fault."""
        return await self._asked(self.provider.embed, call)  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Close the target's connections."""
        if hasattr(self.provider, "aclose"):
            await self.provider.aclose()

    async def _asked(self, ask: Handler, call: Call[Any]) -> Any:
        return await stack(ask, self._chaos)(call)
