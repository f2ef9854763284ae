"""Networks whose outputs depend on no input: layer collapse, and dead networks."""

import numpy as np
import torch
from torch import Tensor, nn

from lthprune.analysis import NeuronState, neuron_states
from lthprune.data import Dataset
from lthprune.errors import PruningError
from lthprune.pruning import is_bias_name, masks_of, modes_restored, number_left
from lthprune.search import FailureKind
from lthprune.seeds import seeded_by

_CHUNK = 100  # samples: most networks show with the first of them that their outputs differ


def find_collapse(model: nn.Module, data: Dataset) -> tuple[FailureKind, str] | None:
    """Return whether a trained network has collapsed or is dead, and why; None for other networks.

    A layer that has lost all its weights is a collapse even where other layers lead around it. A network whose outputs
    are exactly the same for all validation samples has collapsed if no path of remaining weights connects its inputs
    and outputs. Otherwise it is dead, as when all units of a layer with ReLU are zero for every input; its accuracy is
    then that of a single class, and the gradients of the weights before that layer are zero.

    Args:
        model: trained, with its masks; it stays as it is.
        data: whose validation samples are computed, on the model's device.

    Examples:
        >>> from lthprune.data import DataSpec, load_data
        >>> digits = load_data(DataSpec(name="digits", validation=237))
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
        >>> find_collapse(model, digits)
        >>> _ = nn.init.constant_(model[1].bias, -1e3)
        >>> find_collapse(model, digits)
        ('dead', 'its outputs are the same for every validation sample')
    """
    empty = [
        name
        for name, mask in masks_of(model).items()
        if not number_left(mask) and not is_bias_name(name.rpartition(".")[2])
    ]
    if empty:
        return "collapsed", f"no weight of {', '.join(empty)} remains"
    if not _is_constant(model, data.x_val):
        return None
    if not _is_connected(model, data.x_val[:1]):
        return "collapsed", "no path of remaining weights connects its inputs and outputs"
    return "dead", "its outputs are the same for every validation sample"


def _is_constant(model: nn.Module, x: Tensor) -> bool:
    """Return whether the outputs for all samples are the same bits."""
    first = None
    with modes_restored(model), seeded_by(torch.Generator(), x.device), torch.no_grad():
        model.eval()
        for inputs in torch.split(x, _CHUNK):
            outputs = model(inputs)
            first = outputs[:1] if first is None else first
            if not torch.equal(outputs, first.expand_as(outputs)):
                return False
    return True


def _is_connected(model: nn.Module, example: Tensor) -> bool:
    """Return whether a path of remaining weights leads from an input to an output; true if that is unknown."""
    try:
        states = neuron_states(model, example).structural
    except PruningError:  # the network cannot be traced
        return True
    return bool(np.any(states == NeuronState.ALIVE))
