"""Kernels: the compiled loops that train and evaluate perceptrons and multiply sparse layers, on arrays of numpy alone.

They are compiled by numba when they are first called, and kept on disk. Importing this package imports numba, which
takes a moment: import it where it is used.
"""

from lthprune.kernels import activations, optimisers
from lthprune.kernels.inputs import Inputs, count_differences, find_differences, read_panel
from lthprune.kernels.lanes import LANES
from lthprune.kernels.perceptrons import (
    DENSE,
    ITEMS,
    PANELS,
    ROWS,
    WIDE,
    Network,
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

__all__ = [
    "DENSE",
    "ITEMS",
    "LANES",
    "PANELS",
    "ROWS",
    "WIDE",
    "Inputs",
    "Network",
    "Rule",
    "State",
    "activations",
    "count_differences",
    "evaluate",
    "find_differences",
    "gather",
    "optimisers",
    "read_panel",
    "scatter_sums",
    "sparse_backward",
    "sparse_forward",
    "sparse_forward_few",
    "train",
]
