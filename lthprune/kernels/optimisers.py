"""Steps of Adam, AdamW and SGD on one vector of values, as torch.optim makes them."""

from typing import Any

import numpy as np

from lthprune.kernels.compiling import compiled

SGD, ADAM, ADAMW, NESTEROV = range(4)
_FIRST, _SECOND, _EPS = 0.9, 0.999, 1e-8


@compiled
def penalise(values: Any, gradients: Any, l1: Any) -> None:
    """Add the gradient of an L1 penalty, the signs of the values times its factors, to the gradients, all vectors."""
    for place in range(len(values)):
        gradients[place] += l1[place] * np.sign(values[place])


@compiled
def optimise(
    rule: int,
    values: Any,
    gradients: Any,
    first: Any,
    second: Any,
    rate: float,
    momentum: float,
    decay: float,
    step: int,
) -> None:
    """Make an optimiser step in place.

    Args:
        rule: ``SGD``, ``ADAM``, ``ADAMW`` or ``NESTEROV``, which is SGD with the momentum of Nesterov.
        values: what is trained; like the next three, a vector.
        gradients: of the values.
        first: the momentum of SGD, the first moment of Adam.
        second: the second moment of Adam; SGD leaves it alone.
        rate: the learning rate.
        momentum: of SGD.
        decay: L2 regularisation, decoupled from the gradient with AdamW.
        step: the number of this step, from 1.
    """
    number = values.dtype.type
    kept, shrink = number(decay if rule != ADAMW else 0.0), number(1.0 - rate * decay if rule == ADAMW else 1.0)
    if rule in (SGD, NESTEROV):
        lr, inertia = number(rate), number(momentum)
        if momentum == 0.0:
            for place in range(len(values)):
                values[place] -= lr * (gradients[place] + kept * values[place])
        elif rule == SGD:
            for place in range(len(values)):
                first[place] = inertia * first[place] + (gradients[place] + kept * values[place])
                values[place] -= lr * first[place]
        else:
            for place in range(len(values)):
                gradient = gradients[place] + kept * values[place]
                first[place] = inertia * first[place] + gradient
                values[place] -= lr * (gradient + inertia * first[place])
        return
    size = number(rate / (1.0 - _FIRST**step))
    scale = number(1.0 / np.sqrt(1.0 - _SECOND**step))
    old, new, old_square, new_square = number(_FIRST), number(1 - _FIRST), number(_SECOND), number(1 - _SECOND)
    eps = number(_EPS)
    for place in range(len(values)):
        gradient = gradients[place] + kept * values[place]
        first[place] = old * first[place] + new * gradient
        second[place] = old_square * second[place] + new_square * gradient * gradient
        values[place] = shrink * values[place] - size * first[place] / (np.sqrt(second[place]) * scale + eps)
