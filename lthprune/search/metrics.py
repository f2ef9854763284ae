"""Metrics of a training: which values are allowed, and how they are written to a file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lthprune.arguments import described
from lthprune.errors import PruningError
from lthprune.search.failures import Diverged

Metrics = dict[str, Any]
_ARRAY = "$array"  # the key in the header that replaces an array


def metrics_of_trials(returned: object, trials: int) -> list[Metrics | Diverged]:
    """Return the metrics of each model, or why its training diverged, given what ``train`` returned for a list.

    Raises:
        PruningError: it is neither None nor a list with one dict, None or ``Diverged`` for each model.
    """
    if returned is None:
        return [{} for _ in range(trials)]
    if not isinstance(returned, Sequence) or len(returned) != trials:
        raise PruningError(
            f"train() was given a list of {trials} models and returned {described(returned)}; "
            "return one dict of metrics for each model, or None."
        )
    return [each if isinstance(each, Diverged) else check_metrics(each) for each in returned]


def check_metrics(metrics: object) -> Metrics:
    """Return the metrics that a ``train`` function returned.

    Raises:
        PruningError: they are no dict, or hold a value that cannot be stored.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise PruningError(f"train() returned {described(metrics)}; return a dict, as in {{'val_acc': 0.98}}, or None.")
    arrays: dict[str, Tensor] = {}
    plain = without_arrays(metrics, arrays)
    return with_arrays(plain, {place: array.clone() for place, array in arrays.items()})  # the loop may reuse its own


def without_arrays(metrics: Mapping[str, Any], arrays: dict[str, Tensor]) -> dict[str, Any]:
    """Return metrics for JSON: arrays move to ``arrays``, and their numbers take their place."""
    plain: dict[str, Any] = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise PruningError(f"train() returned a metric named {name!r}; names are strings.")
        if name == _ARRAY:
            raise PruningError(f"train() returned a metric named {_ARRAY!r}, a name that is reserved for files.")
        if isinstance(value, list | tuple) and value and all(isinstance(number, int | float) for number in value):
            value = np.asarray(value)
        if isinstance(value, Mapping):
            plain[name] = without_arrays(value, arrays)
        elif isinstance(value, Tensor | np.ndarray) and value.ndim and _is_numeric(value):
            array = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
            plain[name] = {_ARRAY: str(len(arrays))}
            arrays[str(len(arrays))] = array.float() if array.dtype == torch.bfloat16 else array  # numpy has none
        elif isinstance(value, Tensor | np.generic | np.ndarray) and not value.ndim and _is_numeric(value):
            plain[name] = value.item()
        elif value is None or isinstance(value, str | bool | int | float):
            plain[name] = value
        else:
            raise PruningError(
                f"train() returned {name!r} as {_kind_of(value)}; metrics are real numbers, texts, arrays of real "
                "numbers, or dicts of these."
            )
    return plain


def _is_numeric(value: Tensor | np.ndarray | np.generic) -> bool:
    return not value.is_complex() if isinstance(value, Tensor) else value.dtype.kind in "biuf"


def _kind_of(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    return described(value) + (f" of {dtype}" if dtype is not None else "")


def with_arrays(plain: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Metrics:
    """Undo ``without_arrays``; arrays come back as numpy's."""
    metrics: Metrics = {}
    for name, value in plain.items():
        if isinstance(value, dict):
            metrics[name] = arrays[value[_ARRAY]].numpy() if _ARRAY in value else with_arrays(value, arrays)
        else:
            metrics[name] = value
    return metrics
