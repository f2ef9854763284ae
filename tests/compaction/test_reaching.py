"""Compaction of networks with products, norms, attention, recurrent layers and tokens changes no output."""

import copy

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune import PruningError, compact
from lthprune.compaction.equivalence import output_difference
from tests.nets import anatomy
from tests.reaching import Reaching, reaching


@settings(max_examples=80)
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
    ("form", "reader", "smaller"),
    [
        ("gates", "after", {"left": 5, "right": 5}),
        ("attention", "outer", {"inner": 6}),
        ("encoder", "1.linear2", {"1.linear1": 4}),
        ("tied", "inner", {"middle": 6}),
        ("gru", "widen", {"embed": 9}),
        ("same weights", "outer", {"inner": 5}),
    ],
)
def test_a_neuron_without_readers_is_removed(form: str, reader: str, smaller: dict[str, int]) -> None:
    own = Reaching(form, 1.0, 1)
    model, _ = own.build()
    weight = model.get_parameter(f"{reader}.weight").data
    weight[:, 0] = 0
    compacted = compact(model, own.inputs(1))
    assert {name: len(compacted.model.get_parameter(f"{name}.weight")) for name in smaller} == smaller
    assert compacted.model.get_parameter(f"{reader}.weight").shape == (len(weight), weight.shape[1] - 1)
    with torch.no_grad():
        torch.testing.assert_close(compacted(own.inputs()), model(own.inputs()), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "first",
    [
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"),
        nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 4, 3)),
        nn.Sequential(nn.ConstantPad2d(1, 2.0), nn.Conv2d(2, 4, 3)),
    ],
)
def test_networks_that_pad_their_inputs_lose_neurons(first: nn.Module) -> None:
    model = nn.Sequential(first, nn.ReLU(), nn.ConstantPad2d(1, 3.0), nn.Conv2d(4, 2, 3)).double()
    model.get_parameter("3.weight").data[:, 1] = 0
    x = torch.randn(3, 2, 5, 5).double()
    compacted = compact(model, x)
    assert compacted.model.get_parameter("3.weight").shape == (2, 3, 3, 3)
    with torch.no_grad():
        torch.testing.assert_close(compacted(x), model(x), rtol=1e-9, atol=1e-9)


class Decoding(nn.Module):
    """Reads weights of modules in another way than these do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.outer, self.last = (nn.Linear(*each) for each in ((3, 5), (5, 4), (5, 4), (5, 2)))
        self.table = nn.Embedding(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(self.first(x).relu()).relu() @ self.outer.weight
        return self.last(F.linear(x, self.table.weight).relu())  # type: ignore[no-any-return]


def test_weights_of_modules_that_are_not_called_keep_their_size() -> None:
    model, x = Decoding().double(), torch.randn(4, 3).double()
    for name, column in (("inner", 0), ("last", 1)):
        model.get_parameter(f"{name}.weight").data[:, column] = 0
    model.outer.weight.data[1] = model.outer.weight.data[:, 3] = model.table.weight.data[2] = 0
    compacted = compact(model, x)
    shapes = {name: tuple(each.shape) for name, each in compacted.model.named_parameters() if each.ndim == 2}
    assert shapes["first.weight"] == (4, 3)
    assert shapes["outer.weight"] == (4, 5)
    assert shapes["table.weight"] == (5, 5)
    with torch.no_grad():
        torch.testing.assert_close(compacted(x), model(x), rtol=1e-9, atol=1e-9)


class Excited(nn.Module):
    """Squeeze and excitation between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 3, 1)
        self.shrink, self.grow = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.last(x * self.grow(self.shrink(x.mean((2, 3), keepdim=True)).relu()).sigmoid())  # type: ignore[no-any-return]


def test_factors_of_a_product_are_removed_together_or_not_at_all() -> None:
    model, x = Excited().double().eval(), torch.randn(5, 2, 4, 4).double()
    model.last.weight.data[:, 0] = 0
    assert compact(model, x).model.get_parameter("stem.weight").shape[0] == 6  # the mean is still read
    model.shrink.weight.data[:, 0] = 0
    compacted = compact(model, x)
    shapes = {name: len(compacted.model.get_parameter(f"{name}.weight")) for name in ("stem", "grow", "last")}
    assert shapes == {"stem": 5, "grow": 5, "last": 3}
    with torch.no_grad():
        torch.testing.assert_close(compacted(x), model(x), rtol=1e-9, atol=1e-9)


def test_features_that_a_layer_norm_reads_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 2)).double().eval()
    model[0].weight.data[0] = model[0].bias.data[0] = 0
    model[3].weight.data[:, 1] = 0
    x = torch.randn(7, 3).double()
    compacted = compact(model, x)
    assert compacted.report.after.neurons == 7
    assert compacted.report.whole == ()  # known in advance, not found by trying
    with torch.no_grad():
        torch.testing.assert_close(compacted(x), model(x), rtol=1e-9, atol=1e-9)


class Delayed(nn.Module):
    """Hidden unit 1 is zero at the first step and reads unit 0, a constant, at all others."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.units = nn.RNN(1, 3, batch_first=batch_first)
        self.after, self.last = nn.Linear(3, 3), nn.Linear(3, 1)
        for parameter in self.parameters():
            parameter.data.zero_()
        self.units.bias_ih_l0.data[0] = self.units.weight_hh_l0.data[1, 0] = self.units.weight_ih_l0.data[2, 0] = 1
        self.after.weight.data[0, 1] = self.after.weight.data[2, 2] = 1
        self.last.weight.data[0] = torch.tensor([1e-4, 0, 1e-4])

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.after(self.units(x)[0]))  # type: ignore[no-any-return]


def test_a_unit_that_is_zero_at_the_first_step_only_is_no_constant() -> None:
    with pytest.raises(PruningError, match="sees only one"):
        compact(Delayed(batch_first=False), torch.zeros(4, 1, 1))
    model, x = Delayed(batch_first=True).double(), torch.randn(3, 4, 1).double()
    with torch.no_grad():
        torch.testing.assert_close(compact(model, x)(x), model(x), rtol=1e-12, atol=1e-16)


class Drawing(nn.Module):
    """Adds random numbers to its outputs, in evaluation mode as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.last.weight.data[:, 1] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x)) + torch.randn(2)  # type: ignore[no-any-return]


def test_a_network_that_does_not_compute_the_same_twice_is_refused() -> None:
    with pytest.raises(PruningError, match="finds no smaller Drawing that computes the same"):
        compact(Drawing(), torch.zeros(1, 3))


@pytest.mark.parametrize("factor", [1.0, 1e-6, 1e6])
def test_differences_count_relative_to_outputs_of_any_size(factor: float) -> None:
    model = nn.Linear(3, 2)
    model.weight.data *= factor
    model.bias.data.zero_()
    other, x = copy.deepcopy(model), torch.randn(9, 3)
    assert output_difference(model, other, (x,), (x,)) == (0.0, True)
    other.weight.data *= 1.01
    assert not output_difference(model, other, (x,), (x,))[1]
    x[0, 0] = torch.nan
    assert output_difference(model, copy.deepcopy(model), (x,), (x,)) == (0.0, True)


class Doubling(nn.Module):
    """Doubles its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        x *= 2
        return x


def test_networks_that_overwrite_their_inputs_are_compared_on_the_same_inputs() -> None:
    model, x = nn.Sequential(Doubling(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(4, 3)
    model.get_parameter("3.weight").data[:, 1] = 0
    compacted = compact(model, x)
    assert len(compacted.model.get_parameter("1.weight")) == 3
    with torch.no_grad():
        torch.testing.assert_close(compacted(x.clone()), model(x.clone()))
