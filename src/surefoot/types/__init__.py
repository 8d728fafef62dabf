"""Frozen records that travel through the layers: what is asked, how, and what came back.

`messages` (Message and its parts, Tool, Schema), `requests` (ChatRequest, EmbedRequest), `replies` (ChatReply, EmbedReply, Delta, Usage,
Attempt), `calls` (Call, Tally, Traits, and the protocols Edge and Store). All of them are imported from here, and Documented,
which a record of your own derives from so that `help()` shows its fields' docstrings.

`gc=False` on a record: plain data never refers back to itself; the garbage collector need not visit it. A Call, whose state may hold
anything, is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from surefoot._documented import Documented
from surefoot.secret import KeySource, Secret
from surefoot.text import clean
from surefoot.types.calls import Call, CallState, Priority, Provider, Store, Traits, VectorParts
from surefoot.types.messages import File, Image, Message, Opaque, Part, Reasoning, Role, Schema, Text, Tool, ToolCall, is_for
from surefoot.types.replies import (
    AnswerEnd,
    AttemptRecord,
    ChatReply,
    CitedSource,
    Delta,
    EmbedReply,
    FinishReason,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from surefoot.types.requests import ChatRequest, EmbedRequest, EmbedRole, Q

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix: TypeAlias = NDArray[np.float32]

__all__ = [
    "AnswerEnd",
    "AttemptRecord",
    "Call",
    "CallState",
    "ChatReply",
    "ChatRequest",
    "CitedSource",
    "Delta",
    "Documented",
    "EmbedReply",
    "EmbedRequest",
    "EmbedRole",
    "File",
    "FinishReason",
    "Image",
    "KeySource",
    "Message",
    "Opaque",
    "Part",
    "Priority",
    "Provider",
    "Q",
    "Reasoning",
    "Role",
    "Schema",
    "Secret",
    "Store",
    "Text",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "Traits",
    "Usage",
    "VectorParts",
    "clean",
    "is_for",
]
