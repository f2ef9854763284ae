"""Estimates of named pairs of variables: what is refused before a network is trained."""

from typing import Any

import pytest
import torch

from lthprune.analysis import Mine, estimate_information
from lthprune.errors import PruningError

LAYER, LABELS = torch.randn(200, 3), torch.arange(200) % 4
BROKEN = LAYER.clone()
BROKEN[7, 1] = torch.nan


@pytest.mark.parametrize(
    ("x", "y", "words", "message"),
    [
        (LABELS, LABELS, {}, "'x' and 'y' are both labels"),
        (LAYER, LABELS - 1, {}, r"'y' is torch.int64 from -1 on: labels are of type torch.int64, 0 or more"),
        (LAYER, LABELS.int(), {}, r"'y' is torch.int32 from 0 on: labels are of type torch.int64"),
        (BROKEN, LABELS, {}, "'x' has values that are not finite"),
        (LAYER, LABELS, {"neighbour_samples": 3}, "neighbour_samples = 3: this must be 4 or more"),
        (LAYER, LABELS, {"neighbour_samples": 10.5}, r"neighbour_samples = 10.5: this must be a whole number"),
    ],
)
def test_bad_variables_are_refused_before_a_network_is_trained(
    x: torch.Tensor, y: torch.Tensor, words: dict[str, Any], message: str
) -> None:
    steps: list[int] = []
    with pytest.raises(PruningError, match=message):
        estimate_information(
            {"x": x, "y": y},
            [("x", "y")],
            Mine(units=4, epochs=1),
            generators=[torch.Generator()],
            on_step=lambda: steps.append(1),
            **words,
        )
    assert not steps
