"""Activation functions and their derivatives in compiled loops.

``np.exp``, ``np.tanh`` and ``math.erf`` make one call for each number. In single precision they are rational functions
or polynomials here, which LLVM computes for a whole vector at once. The exponential and tanh are within 4 units in the
last place, the error function within 6; all three are exact at infinity, and NaN stays NaN. Double precision, which is
for tests, keeps the exact functions.
"""

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from lthprune.kernels.compiling import IN_ORDER, compiled

RELU, TANH, SIGMOID, ELU, GELU, LEAKY_RELU, NONE = range(7)

_f, _i = np.float32, np.int32
_SLOPE = 0.01  # of LeakyReLU, PyTorch's default


def exponential(x: Any) -> Any:
    """Return e**x; in single precision, 0 below e**-87, where numbers begin to lose digits."""


def exponential_less_one(x: Any) -> Any:
    """Return e**x - 1, also near 0 to the last digits."""


def error_function(x: Any) -> Any:
    """Return erf(x)."""


@njit(**IN_ORDER)
def _clipped(x: Any, low: Any, high: Any) -> Any:
    """Return x between two bounds; NaN stays NaN, as a diverged training must show."""
    x = low if x < low else x
    return high if x > high else x


@njit(**IN_ORDER)
def _divided(x: Any) -> Any:
    """Return 2**(n - 1) and e**r - 1, for x = n ln 2 + r between -87.3 and 89, as Cephes' expf makes them.

    2**128 is beyond the largest number, so it is 2**(n - 1), whose smallest, 2**-127, is made 0.
    """
    n = np.floor(x * _f(1.44269504088896341) + _f(0.5))
    r = x - n * _f(0.693359375) - n * _f(-2.12194440e-4)
    p = _f(1.9875691500e-4) * r + _f(1.3981999507e-3)
    p = p * r + _f(8.3334519073e-3)
    p = p * r + _f(4.1665795894e-2)
    p = p * r + _f(1.6666665459e-1)
    p = p * r + _f(5.0000001201e-1)
    return _i(_i(_i(n) + _i(126)) << _i(23)).view(np.float32), p * (r * r) + r


@overload(exponential, jit_options=IN_ORDER)
def _exponential(x: Any) -> Any:
    if x != types.float32:

        def double(x: Any) -> Any:
            return math.exp(x)

        return double

    def single(x: Any) -> Any:
        half, rest = _divided(_clipped(x, _f(-87.3), _f(89)))
        product = half * rest + half
        return product + product

    return single


@overload(exponential_less_one, jit_options=IN_ORDER)
def _exponential_less_one(x: Any) -> Any:
    if x != types.float32:

        def double(x: Any) -> Any:
            return math.expm1(x)

        return double

    def single(x: Any) -> Any:
        half, rest = _divided(_clipped(x, _f(-87.3), _f(89)))
        product = half * rest + (half - _f(0.5))
        return product + product

    return single


@overload(error_function, jit_options=IN_ORDER)
def _error_function(x: Any) -> Any:
    if x != types.float32:

        def double(x: Any) -> Any:
            return math.erf(x)

        return double

    def single(x: Any) -> Any:
        """A rational function of degrees 11 and 10, fitted up to 4, where erf rounds to 1; it exceeds 1 beyond.

        Its largest relative error is 2**-25, found by iteratively reweighted least squares.
        """
        x = _clipped(x, _f(-4.5), _f(4.5))
        square = x * x
        p = square * _f(1.9866733700516717e-06) + _f(0.0002845439116124709)
        p = square * p + _f(0.0038829543270660024)
        p = square * p + _f(0.05310052715371157)
        p = square * p + _f(0.1935379112155206)
        p = square * p + _f(1.1283791395313745)
        q = square * _f(3.741787064932874e-05) + _f(0.0011854512000566155)
        q = square * q + _f(0.015206491161822443)
        q = square * q + _f(0.11534679593388746)
        q = square * q + _f(0.5048510669534667)
        q = square * q + _f(1.0)
        return _clipped(x * p / q, _f(-1), _f(1))

    return single


@compiled
def activate(kind: int, x: Any, y: Any) -> None:
    """Write the activations y of sums x, vectors of one length."""
    one, two, half, bound = x.dtype.type(1), x.dtype.type(2), x.dtype.type(0.5), x.dtype.type(40)
    if kind == RELU:
        for place in range(len(x)):
            y[place] = x[place] if not x[place] <= 0 else x.dtype.type(0)
    elif kind == TANH:
        for place in range(len(x)):
            grown = exponential_less_one(_clipped(two * x[place], -bound, bound))
            y[place] = grown / (grown + two)
    elif kind == SIGMOID:
        for place in range(len(x)):
            y[place] = one / (one + exponential(-x[place]))
    elif kind == ELU:
        for place in range(len(x)):
            y[place] = x[place] if x[place] > 0 else exponential_less_one(x[place])
    elif kind == GELU:
        for place in range(len(x)):
            y[place] = half * x[place] * (one + error_function(x[place] * x.dtype.type(math.sqrt(0.5))))
    elif kind == LEAKY_RELU:
        for place in range(len(x)):
            y[place] = x[place] * (one if x[place] > 0 else x.dtype.type(_SLOPE))
    else:
        for place in range(len(x)):
            y[place] = x[place]


@compiled
def differentiate(kind: int, x: Any, y: Any, gradient: Any) -> None:
    """Turn the gradient of the activations y into that of the sums x, in place; vectors of one length."""
    one, half = x.dtype.type(1), x.dtype.type(0.5)
    if kind == RELU:
        for place in range(len(x)):
            gradient[place] *= one if y[place] > 0 else x.dtype.type(0)
    elif kind == TANH:
        for place in range(len(x)):
            gradient[place] *= one - y[place] * y[place]
    elif kind == SIGMOID:
        for place in range(len(x)):
            gradient[place] *= y[place] * (one - y[place])
    elif kind == ELU:
        for place in range(len(x)):
            gradient[place] *= one if y[place] > 0 else y[place] + one
    elif kind == GELU:
        for place in range(len(x)):
            below = half * (one + error_function(x[place] * x.dtype.type(math.sqrt(0.5))))
            density = exponential(-half * x[place] * x[place]) * x.dtype.type(1 / math.sqrt(2 * math.pi))
            gradient[place] *= below + x[place] * density
    elif kind == LEAKY_RELU:
        for place in range(len(x)):
            gradient[place] *= one if x[place] > 0 else x.dtype.type(_SLOPE)
