"""Kernels: the compiled loops that train and evaluate perceptrons and multiply sparse layers, on arrays of numpy alone.

They are compiled by numba when they are first called, and kept on disk. Importing this package imports numba, which
takes a moment: import it where it is used.
"""

from lthprune.kernels.activations import ELU, GELU, LEAKY_RELU, NONE, RELU, SIGMOID, TANH
from lthprune.kernels.inputs import Inputs, count_differences, find_differences
from lthprune.kernels.lanes import LANES
from lthprune.kernels.optimisers import ADAM, ADAMW, NESTEROV, SGD
from lthprune.kernels.perceptrons import (
    DENSE,
    PANELS,
    ROWS,
    WIDE,
    Network,
    Panels,
    Rule,
    State,
    evaluate,
    train,
)
from lthprune.kernels.sparse_layers import (
    gather,
    scatter_sums,
    sparse_backward,
    sparse_forward,
    sparse_forward_few,
)
from lthprune.kernels.teams import Team, give_up, new_gate

__all__ = [
    "ADAM",
    "ADAMW",
    "DENSE",
    "ELU",
    "GELU",
    "LANES",
    "LEAKY_RELU",
    "NESTEROV",
    "NONE",
    "PANELS",
    "RELU",
    "ROWS",
    "SGD",
    "SIGMOID",
    "TANH",
    "WIDE",
    "Inputs",
    "Network",
    "Panels",
    "Rule",
    "State",
    "Team",
    "count_differences",
    "evaluate",
    "find_differences",
    "gather",
    "give_up",
    "new_gate",
    "scatter_sums",
    "sparse_backward",
    "sparse_forward",
    "sparse_forward_few",
    "train",
]
