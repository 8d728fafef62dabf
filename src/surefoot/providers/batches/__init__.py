"""The vendors' own batch APIs: requests handed over together, answered within a day at half the price.

`BatchLane` stands where a provider posts its bodies: it waits until the calls that belong together have all arrived, hands them over as
one batch, and answers each call when the batch has ended. Bodies and answers are the provider's own, so everything around a call (cache,
spend limits, events) is as it is for any other call. Each vendor's API is one file: submit, find, look, results, cancel.
"""

from __future__ import annotations

from importlib import import_module

from surefoot.errors import Misconfigured
from surefoot.providers.batches.lane import ITEM, AnsweredLane, BatchLane, BatchNotes, SubmittedBatch, VendorBatches
from surefoot.providers.batches.wire import Keys
from surefoot.settings import Target

__all__ = [
    "BATCH_SHARE",
    "ITEM",
    "AnsweredLane",
    "BatchLane",
    "BatchNotes",
    "Keys",
    "SubmittedBatch",
    "VendorBatches",
    "check_target",
    "open_batches",
]

BATCH_SHARE = 0.5  # of the price: what all three take for a batch (their price lists, November 2026)
VENDORS = {"openai": "openai:OpenAIBatches", "anthropic": "anthropic:AnthropicBatches", "google": "google:GoogleBatches"}


def check_target(target: Target | None) -> Target:
    """`target`, if its vendor takes batches that we can hand over. Raises Misconfigured."""
    if target is None or target.provider not in VENDORS:
        name = "a provider of your own" if target is None else target.name
        raise Misconfigured(f"how='vendor-batch': {name} has no batch API that is spoken here; {', '.join(VENDORS)} have one")
    if target.client is not None:
        raise Misconfigured(f"how='vendor-batch': {target.name} sends through a client of yours, which knows no batches; leave client out")
    return target


def open_batches(target: Target, keys: Keys) -> VendorBatches:
    """The batch API of the target's vendor; `keys` gives the key for each request. Raises Misconfigured for a target without one."""
    module, _, name = VENDORS[check_target(target).provider].partition(":")
    made: VendorBatches = getattr(import_module(f"surefoot.providers.batches.{module}"), name)(target, keys)
    return made
