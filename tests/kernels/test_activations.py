"""Activations and derivatives against the exact ones, to a few units in the last place."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from torch.nn import functional as F

from lthprune.kernels import activations
from lthprune.kernels.activations import activate, differentiate, error_function, exponential, exponential_less_one

EXACT = {
    activations.RELU: torch.relu,
    activations.TANH: torch.tanh,
    activations.SIGMOID: torch.sigmoid,
    activations.ELU: lambda x: torch.where(x > 0, x, torch.expm1(x)),  # F.elu of torch 2.6 is less exact
    activations.GELU: F.gelu,
    activations.LEAKY_RELU: F.leaky_relu,
    activations.NONE: torch.clone,
}
NAMES = ("relu", "tanh", "sigmoid", "elu", "gelu", "leaky_relu", "none")
KINDS = pytest.mark.parametrize("kind", EXACT, ids=NAMES)
TINY = np.geomspace(1e-30, 1, 10_001)
SWEEP = np.concatenate([np.linspace(-20, 20, 200_001), TINY, -TINY]).astype(np.float32)


@njit(error_model="numpy")
def exponentials(x: Any, e: Any, less_one: Any) -> None:
    for place in range(len(x)):
        e[place], less_one[place] = exponential(x[place]), exponential_less_one(x[place])


@njit(error_model="numpy")
def error_functions(x: Any, y: Any) -> None:
    for place in range(len(x)):
        y[place] = error_function(x[place])


def activated(kind: int, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    activate(kind, x, y)
    return y


def exact(kind: int, x: np.ndarray) -> np.ndarray:
    """The activations, in double precision."""
    return EXACT[kind](torch.from_numpy(x).double()).numpy()


def units(x: np.ndarray) -> np.ndarray:
    """The unit in the last place of these numbers in single precision."""
    return np.spacing(np.abs(x).astype(np.float32)).astype(np.float64)


@KINDS
def test_activations_are_within_4_units_in_the_last_place(kind: int) -> None:
    truth = exact(kind, SWEEP)
    unit = units(SWEEP if kind == activations.GELU else truth)
    assert (np.abs(activated(kind, SWEEP) - truth) <= 4 * unit).all()


@KINDS
def test_derivatives_are_within_4_millionths(kind: int) -> None:
    x = torch.from_numpy(SWEEP).double().requires_grad_()
    EXACT[kind](x).sum().backward()
    gradient = np.full_like(SWEEP, 2)
    differentiate(kind, SWEEP, activated(kind, SWEEP), gradient)
    assert x.grad is not None
    np.testing.assert_allclose(gradient, 2 * x.grad.numpy(), rtol=0, atol=4e-6)


@KINDS
@given(numbers=st.lists(st.floats(-50, 50), min_size=1, max_size=40))
def test_double_precision_is_exact(kind: int, numbers: list[float]) -> None:
    x = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    y = EXACT[kind](x)
    y.sum().backward()
    sums, gradient = x.detach().numpy(), np.ones(len(numbers))
    np.testing.assert_allclose(activated(kind, sums), y.detach().numpy(), rtol=1e-12, atol=1e-14)
    differentiate(kind, sums, activated(kind, sums), gradient)
    assert x.grad is not None
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-12, atol=1e-12)


@KINDS
@pytest.mark.parametrize("number", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 37])  # fewer than a vector holds, and several vectors with a rest
def test_nan_and_infinity_give_what_torch_gives(kind: int, number: type, length: int) -> None:
    for special in (np.nan, np.inf, -np.inf, 1e30, -1e30):
        if kind == activations.GELU and special > 1e20:
            wanted = special  # the limit; some versions of torch give NaN
        else:
            wanted = float(exact(kind, np.array([special], number))[0])
        np.testing.assert_allclose(activated(kind, np.full(length, special, number)), number(wanted), rtol=1e-6)


@KINDS
def test_a_gradient_of_nan_stays_nan(kind: int) -> None:
    x, gradient = np.linspace(-9, 9, 37, dtype=np.float32), np.full(37, np.nan, np.float32)
    differentiate(kind, x, activated(kind, x), gradient)
    assert np.isnan(gradient).all()


def test_exponentials_are_within_3_units_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(-86.9, 88.7, 100_001), TINY, -TINY]).astype(np.float32)
    e, less_one = np.empty_like(x), np.empty_like(x)
    exponentials(x, e, less_one)
    for made, truth in ((e, np.exp(x.astype(np.float64))), (less_one, np.expm1(x.astype(np.float64)))):
        assert (np.abs(made - truth) <= 3 * units(truth)).all()


def test_exponentials_beyond_the_range_of_single_precision_are_0_and_infinity() -> None:
    x = np.array([-np.inf, -1e9, -104, -88, 88.8, 104, 1e9, np.inf, np.nan], np.float32)
    e, less_one = np.empty_like(x), np.empty_like(x)
    exponentials(x, e, less_one)
    np.testing.assert_array_equal(e, [0, 0, 0, 0, np.inf, np.inf, np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(less_one, [-1, -1, -1, -1, np.inf, np.inf, np.inf, np.inf, np.nan])


def test_the_error_function_is_within_6_units_in_the_last_place_and_exact_at_infinity() -> None:
    x = np.concatenate([np.linspace(-6, 6, 100_001), TINY, -TINY]).astype(np.float32)
    y, truth = np.empty_like(x), torch.erf(torch.from_numpy(x).double()).numpy()
    error_functions(x, y)
    assert (np.abs(y - truth) <= 6 * units(truth)).all()
    far, y = np.array([-np.inf, -4.5, 4.5, np.inf, np.nan], np.float32), np.empty(5, np.float32)
    error_functions(far, y)
    np.testing.assert_array_equal(y, [-1, -1, 1, 1, np.nan])
