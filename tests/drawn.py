"""Searches with random numbers in place of training, so that all states occur."""

import warnings
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from lthprune import Tickets, imp, osp
from lthprune.errors import LayerCollapseWarning
from lthprune.pruning import refresh
from tests.nets import FORMS, batch, net

INPUTS = batch(net())[0][:1]


def search(form: str = "dense", *, driver: str = "imp", seed: int = 0, **words: Any) -> tuple[nn.Module, Tickets]:
    """A fresh model and the tickets of a search."""
    generator = torch.Generator().manual_seed(seed)

    def train(model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        refresh(model)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)
        tickets = (imp if driver == "imp" else osp)(net(form), train, **{"levels": 6, "rate": 0.5} | words)
    return net(form), tickets


searches = st.builds(
    search,
    form=st.sampled_from(list(FORMS)),
    driver=st.sampled_from(["imp", "osp"]),
    seed=st.integers(0, 2**31),
    scope=st.sampled_from(["global", "layerwise"]),
    bias=st.sampled_from([False, "separate", "together"]),
)
