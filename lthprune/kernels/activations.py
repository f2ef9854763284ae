"""Activation functions and their derivatives in compiled loops.

``np.exp``, ``np.tanh`` and ``math.erf`` make one call for each number. In single precision they are rational functions
or polynomials here, which LLVM computes for a whole vector at once: the errors are a few units in the last place, as
the tests state. Double precision, which is for tests, keeps the exact functions.
"""

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from lthprune.kernels.compiling import COMPILED, INNER

RELU, TANH, SIGMOID, ELU, GELU, LEAKY_RELU, NONE = range(7)

_f, _i = np.float32, np.int32
_SLOPE = 0.01  # of LeakyReLU, PyTorch's default


def exponential(x: Any) -> Any:
    """Return e**x."""


def hyperbolic_tangent(x: Any) -> Any:
    """Return tanh(x)."""


def error_function(x: Any) -> Any:
    """Return erf(x)."""


@njit(**INNER)  # type: ignore[untyped-decorator]
def _clipped(x: Any, low: Any, high: Any) -> Any:
    """Return x between two bounds; NaN stays NaN, as a diverged training must show."""
    x = low if x < low else x
    return high if x > high else x


@overload(exponential, jit_options=INNER)  # type: ignore[untyped-decorator]
def _exponential(x: Any) -> Any:
    if x != types.float32:

        def double(x: Any) -> Any:
            return math.exp(x)

        return double

    def single(x: Any) -> Any:
        """2**n times a polynomial of the remainder, as in Cephes' expf."""
        x = _clipped(x, _f(-87.3), _f(88.7))
        n = np.floor(x * _f(1.44269504088896341) + _f(0.5))
        r = x - n * _f(0.693359375) - n * _f(-2.12194440e-4)
        p = _f(1.9875691500e-4) * r + _f(1.3981999507e-3)
        p = p * r + _f(8.3334519073e-3)
        p = p * r + _f(4.1665795894e-2)
        p = p * r + _f(1.6666665459e-1)
        p = p * r + _f(5.0000001201e-1)
        return (p * r * r + r + _f(1.0)) * _i(_i(_i(n) + _i(127)) << _i(23)).view(np.float32)

    return single


@overload(hyperbolic_tangent, jit_options=INNER)  # type: ignore[untyped-decorator]
def _hyperbolic_tangent(x: Any) -> Any:
    if x != types.float32:

        def double(x: Any) -> Any:
            return math.tanh(x)

        return double

    def single(x: Any) -> Any:
        """The rational function of degrees 13 and 6 that Eigen uses, beyond whose bounds tanh rounds to 1."""
        x = _clipped(x, _f(-7.90531110763549805), _f(7.90531110763549805))
        square = x * x
        p = square * _f(-2.76076847742355e-16) + _f(2.00018790482477e-13)
        p = square * p + _f(-8.60467152213735e-11)
        p = square * p + _f(5.12229709037114e-08)
        p = square * p + _f(1.48572235717979e-05)
        p = square * p + _f(6.37261928875436e-04)
        p = square * p + _f(4.89352455891786e-03)
        q = square * _f(1.19825839466702e-06) + _f(1.18534705686654e-04)
        q = square * q + _f(2.26843463243900e-03)
        q = square * q + _f(4.89352518554385e-03)
        return x * p / q

    return single


@overload(error_function, jit_options=INNER)  # type: ignore[untyped-decorator]
def _error_function(x: Any) -> Any:
    if x != types.float32:

        def double(x: Any) -> Any:
            return math.erf(x)

        return double

    def single(x: Any) -> Any:
        """The rational function of degrees 13 and 8 that Eigen used, beyond whose bounds erf rounds to 1."""
        x = _clipped(x, _f(-4.0), _f(4.0))
        square = x * x
        p = square * _f(-2.72614225801306e-10) + _f(2.77068142495902e-08)
        p = square * p + _f(-2.10102402082508e-06)
        p = square * p + _f(-5.69250639462346e-05)
        p = square * p + _f(-7.34990630326855e-04)
        p = square * p + _f(-2.95459980854025e-03)
        p = square * p + _f(-1.60960333262415e-02)
        q = square * _f(-1.45660718464996e-05) + _f(-2.13374055278905e-04)
        q = square * q + _f(-1.68282697438203e-03)
        q = square * q + _f(-7.37332916720468e-03)
        q = square * q + _f(-1.42647390514189e-02)
        return x * p / q

    return single


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def activate(kind: int, x: Any, y: Any) -> None:
    """Write the activations y of sums x, vectors of one length."""
    one, half = x.dtype.type(1), x.dtype.type(0.5)
    if kind == RELU:
        for place in range(len(x)):
            y[place] = x[place] if not x[place] <= 0 else x.dtype.type(0)
    elif kind == TANH:
        for place in range(len(x)):
            y[place] = hyperbolic_tangent(x[place])
    elif kind == SIGMOID:
        for place in range(len(x)):
            y[place] = one / (one + exponential(-x[place]))
    elif kind == ELU:
        for place in range(len(x)):
            t = hyperbolic_tangent(half * min(x[place], x.dtype.type(0)))
            y[place] = x[place] if x[place] > 0 else (t + t) / (one - t)  # exp(x) - 1, exact near 0
    elif kind == GELU:
        for place in range(len(x)):
            y[place] = half * x[place] * (one + error_function(x[place] * x.dtype.type(math.sqrt(0.5))))
    elif kind == LEAKY_RELU:
        for place in range(len(x)):
            y[place] = x[place] * (one if x[place] > 0 else x.dtype.type(_SLOPE))
    else:
        for place in range(len(x)):
            y[place] = x[place]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
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
