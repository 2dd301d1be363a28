"""What differs between two pieces of data."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st
import pytest

from nova_multistore.glance import compare
from tests import inputs

BLOCK = compare.BLOCK


@st.composite
def pairs(draw):
    """Data, and the same with changes."""
    length = draw(st.integers(0, 40 * BLOCK))
    old = (draw(st.binary(min_size=64, max_size=64)) * (length // 64 + 1))[
        :length
    ]
    new = bytearray(old)
    if length:
        places = st.integers(0, length - 1)
        for place in draw(st.lists(places, max_size=20)):
            new[place] ^= 1
    return bytes(new), old


@inputs.ALIKE
@hypothesis.given(pairs())
def test_runs(pair):
    """They have all that differs, in blocks, and no block that does not."""
    new, old = pair
    made = bytearray(old)
    last = -1
    for begin, end in compare.runs(new, old):
        assert begin > last
        assert begin % BLOCK == 0
        assert end % BLOCK == 0 or end == len(new)
        for block in range(begin, end, BLOCK):
            assert new[block : block + BLOCK] != old[block : block + BLOCK]
        made[begin:end] = new[begin:end]
        last = end
    assert bytes(made) == new


def test_neighbours_are_one_run():
    """Over the bounds of what is compared at once, too."""
    old = bytes(40 * BLOCK)
    new = bytes(3 * BLOCK) + b'x' * 30 * BLOCK + bytes(7 * BLOCK)

    assert list(compare.runs(new, old)) == [(3 * BLOCK, 33 * BLOCK)]


@inputs.ALIKE
@hypothesis.given(
    st.lists(st.binary(max_size=30)), st.integers(min_value=1, max_value=20)
)
def test_pieces(data, size):
    found = list(compare.pieces(data, size))

    assert b''.join(found) == b''.join(data)
    assert all(len(piece) == size for piece in found[:-1])
    assert all(0 < len(piece) <= size for piece in found)


@pytest.mark.parametrize('length', [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_last_byte(length):
    old = bytes(length)
    begin = (length - 1) // BLOCK * BLOCK

    assert list(compare.runs(old[:-1] + b'x', old)) == [(begin, length)]
