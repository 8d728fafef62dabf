"""Streams cut at every byte."""

from __future__ import annotations

import pytest

from tests.torture.figures import check
from tests.torture.scenarios.cuts import READERS, SHORT, cut


@pytest.mark.parametrize("vendor", READERS)
def test_no_part_of_an_answer_passes_for_the_whole(vendor):
    """Half a sentence without an error is worse than an error: it is believed, cached and acted upon."""
    check(cut(vendor, recordings=SHORT))
