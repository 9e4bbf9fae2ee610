"""Every target, for a bounded while: bytes at random, good inputs that are damaged, odd msgpack."""

from __future__ import annotations

from types import ModuleType

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import codec, control, delivery, notify

TARGETS = [codec, control, delivery, notify]

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, 2, 3, 2**63 - 1, 2**63, 2**64 - 1])
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A good input, or two in one, with a few bytes changed, taken away or put in."""
    data = bytearray(draw(st.sampled_from(seeds)) + draw(st.sampled_from([b"", b"\xc1", *seeds])))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__.rpartition(".")[2])
@given(data=st.data())
def test_whatever_comes_in_is_read_or_refused(target: ModuleType, data: st.DataObject):
    odd = ODD.map(msgpack.packb) | st.lists(ODD).map(lambda items: msgpack.packb([1, *items]))
    target.one_input(data.draw(st.binary(max_size=300) | damaged(target.SEEDS) | odd))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__.rpartition(".")[2])
def test_what_the_targets_begin_with_is_good(target: ModuleType):
    for seed in target.SEEDS:
        target.one_input(seed)
        target.one_input(seed + seed)
