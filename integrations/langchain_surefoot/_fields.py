"""What both classes do with their fields beside what all adapters do."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from surefoot.adapter import is_reference
from surefoot.secret import locals_cleared

FRAMEWORK_WORDS = frozenset({"stream", "stream_usage", "ls_structured_output_format", "structured_output_format"})  # not for the provider

RAISES = "raise_refusals"  # bound to a call whose answer must have content: a refused one is an error then, else a message without text


class Guarded:
    """Stands before a pydantic class: what is raised while it is built leaves no field, and so no key, in the frames' locals."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        with locals_cleared(fields):
            super().__init__(*args, **fields)


def reference(key: Any) -> str:
    """A key that only says where the key is ("env:NAME", "file:PATH", ...), or "" for a literal one or none."""
    value = key.get_secret_value() if isinstance(key, SecretStr) else ""
    return value if is_reference(value) else ""
