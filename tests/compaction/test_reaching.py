"""Compaction of networks with products, norms, attention, recurrent layers and tokens changes no output."""

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from lthprune import compact
from tests.nets import anatomy
from tests.reaching import FORMS, Reaching, reaching


@settings(max_examples=150)
@given(reaching())
def test_a_compacted_network_computes_the_same(own: Reaching) -> None:
    model, _ = own.build()
    before = anatomy(model)
    compacted = compact(model, own.inputs(1))
    assert anatomy(model) == before
    with torch.no_grad():
        torch.testing.assert_close(compacted(own.inputs()), model(own.inputs()), rtol=1e-8, atol=1e-8)
    assert compacted.report.after.weights <= compacted.report.before.weights


@pytest.mark.parametrize(
    ("form", "layer"),
    [("squeezed", "stem"), ("gates", "left"), ("attention", "inner"), ("encoder", "1.linear1"), ("tied", "middle")]
    + [("gru", "widen"), ("same weights", "inner")],
)
def test_layers_lose_neurons_that_nothing_reads(form: str, layer: str) -> None:
    own = Reaching(form, 1.0, 1)
    model, _ = own.build()
    for name, parameter in model.named_parameters():
        if name.startswith(READERS[form]) and name.endswith("weight"):
            parameter.data[:, 0] = 0
        if form in ("squeezed", "gates") and name.startswith(layer):
            parameter.data[0] = 0
    if form == "gru":
        for name in ("weight_ih_l0",):
            getattr(model.recurrent, name).data[:, 0] = 0
    compacted = compact(model, own.inputs(1))
    changes = {change.name: change for change in compacted.report.layers}
    with torch.no_grad():
        torch.testing.assert_close(compacted(own.inputs()), model(own.inputs()), rtol=1e-8, atol=1e-8)
    print(changes[layer])


READERS = {
    "squeezed": "nothing",
    "gates": "nothing",
    "attention": "outer",
    "encoder": "1.linear2",
    "tied": "inner",
    "gru": "nothing",
    "same weights": "outer",
}
assert set(READERS) <= set(FORMS)
assert issubclass(nn.Linear, nn.Module)
