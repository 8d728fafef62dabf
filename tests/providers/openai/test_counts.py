"""Tokens as servers of OpenAI's protocol bill them."""

from __future__ import annotations

import pytest

from surefoot.providers.openai.responses import usage_of
from surefoot.types import Usage

ZEROS = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": None},
}


@pytest.mark.parametrize(
    ("more", "output"),
    [
        ({}, 5),
        (ZEROS, 5),
        ({"total_tokens": 22}, 12),  # thoughts that the total alone counts
        ({"total_tokens": 22} | ZEROS, 5),  # they were counted, and are none
        ({"completion_tokens_details": {"reasoning_tokens": 7}, "total_tokens": 22}, 12),
        ({"prompt_cache_hit_tokens": 0, "total_tokens": 15}, 5),
    ],
)
def test_details_of_zeros_change_nothing(more, output):
    """OpenAI says them with most answers; what another server counts beside them must still be found."""
    found = usage_of({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15} | more)
    assert (found.input_tokens, found.output_tokens, found.cached_tokens) == (10, output, 0)
    assert not found.estimated


def test_what_is_counted_beside_details_of_zeros_is_found():
    """DeepSeek's cache, with OpenAI's empty details before it."""
    found = usage_of({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_cache_hit_tokens": 8} | ZEROS)
    assert found == Usage(input_tokens=10, output_tokens=5, cached_tokens=8)
