"""Vectors checked, split into rows and put together again."""

from __future__ import annotations

import numpy as np
import pytest

from surefoot.core.vectors import bad_rows, check, matrix_of, rows_of, total
from surefoot.errors import MalformedReply
from surefoot.types import EmbedReply, Usage, VectorParts


def test_rows_that_are_no_vectors_are_found():
    """NaN, infinite and zero rows spoil every distance they enter."""
    matrix = np.ones((5, 3), dtype=np.float32)
    assert bad_rows(matrix) == []
    matrix[1, 2], matrix[2], matrix[4, 0] = np.nan, 0, -np.inf
    assert bad_rows(matrix) == [1, 2, 4]


def test_a_wrong_count_or_size_is_refused():
    """Rows that cannot be matched to texts are worse than none."""
    reply = EmbedReply(vectors=np.ones((2, 3), dtype=np.float32), target="a:m")
    assert check(reply, 2, 3) == []
    with pytest.raises(MalformedReply, match="for 3 texts"):
        check(reply, 3, None)
    with pytest.raises(MalformedReply, match="4 were asked for"):
        check(reply, 2, 4)
    with pytest.raises(MalformedReply):
        check(EmbedReply(vectors=None), 1, None)


def test_rows_and_back_is_bit_for_bit():
    """What is kept is what came."""
    matrix = np.random.default_rng(7).standard_normal((4, 5)).astype(np.float32)
    again = matrix_of(rows_of(matrix))
    assert again.dtype == np.float32
    assert np.array_equal(again, matrix)
    again[0, 0] = 1  # writable, as a fresh answer is


def test_usage_adds_up():
    """An estimate anywhere makes the sum one."""
    summed = total([Usage(input_tokens=3, cached_tokens=1), Usage(input_tokens=4, estimated=True)])
    assert summed == Usage(input_tokens=7, cached_tokens=1, estimated=True)


def test_parts_remember_that_somebody_told():
    """Who keeps vectors needs to know whether the batch layer has handed them over."""
    kept = []
    parts = VectorParts([0], 1, lambda texts, matrix, reply: kept.append(texts))
    assert not parts.told
    parts.tell(["a"], None, EmbedReply(vectors=None))
    assert parts.told
    assert kept == [["a"]]
