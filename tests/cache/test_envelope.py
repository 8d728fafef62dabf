"""What a kept value looks like: anything but exactly what was sealed under the key is nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surefoot.cache.envelope import HEAD_BYTES, packed, unpacked
from surefoot.runtime.clock import wall_s


@given(st.text(), st.binary())
def test_what_was_sealed_opens(key, payload):
    """Whatever the bytes are."""
    assert unpacked(key, packed(key, payload)) == payload


@given(st.binary(max_size=200), st.data())
def test_any_changed_byte_is_noticed(payload, data):
    """Torn by a crash, flipped by a disk, edited by hand."""
    raw = bytearray(packed("k", payload))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert unpacked("k", bytes(raw)) is None


@given(st.binary(max_size=200), st.data())
def test_a_cut_row_is_noticed(payload, data):
    """A write that stopped in its middle."""
    raw = packed("k", payload)
    assert unpacked("k", raw[: data.draw(st.integers(0, len(raw) - 1))]) is None


def test_a_row_moved_to_another_key_is_noticed():
    """Else one tenant's answer could be copied under another's key."""
    assert unpacked("b", packed("a", b"answer")) is None
    assert unpacked("a", b"") is None
    assert unpacked("a", b"x" * HEAD_BYTES) is None


def test_the_wall_clock_is_one():
    """Rows are dated in seconds since 1970, in whatever process."""
    assert wall_s() > 1.7e9
