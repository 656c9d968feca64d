"""Seeds: known values, and no draw that depends on another."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch

from dhl.seeding import derive_seed, numpy_generator, torch_generator


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((1706, "noise", "kodim01", 30), "1706\x1fnoise\x1fkodim01\x1f30"),
        ((0,), "0"),
        (("a", "bc"), "a\x1fbc"),
        ((1, 25.5), "1\x1f25.5"),
    ],
)
def test_a_seed_is_the_first_63_bits_of_the_hash_of_its_names(names, text):
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert derive_seed(*names) == int(digest[:16], 16) // 2


def test_a_seed_never_changes_between_versions():
    # printf '1706\x1fnoise\x1fkodim01\x1f30' | sha256sum, first 16 digits, halved
    assert derive_seed(1706, "noise", "kodim01", 30.0) == 0xAF2D99319B1B0813 // 2


@pytest.mark.parametrize(("one", "other"), [(30, 30.0), (0, 0.0), (15, np.float64(15))])
def test_an_integral_float_names_the_same_draw_as_the_integer(one, other):
    assert derive_seed("noise", one) == derive_seed("noise", other)


def test_different_names_give_different_seeds():
    names = [
        ("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("bc", "a"), ("a", "bc", ""),
        (1, 2), (12,), (2, 1), (1.5, 2), (0.15, 2), (0.1, 2), (0.1000001, 2),
    ]  # fmt: skip
    for one, other in itertools.combinations(names, 2):
        assert derive_seed(*one) != derive_seed(*other), (one, other)


def test_generators_repeat_their_draws_and_leave_the_global_ones_alone():
    before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    seed = derive_seed("x", 1)
    expected = np.random.Generator(np.random.PCG64(seed)).random(4)
    for _ in range(2):
        np.testing.assert_array_equal(numpy_generator("x", 1).random(4), expected)
        assert torch_generator("x", 1).initial_seed() == seed
    np.testing.assert_equal(np.random.get_state(legacy=False), before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
