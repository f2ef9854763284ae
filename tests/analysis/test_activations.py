"""Activations of layers by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthprune.analysis.activations import layer_activations, weighted_layers
from lthprune.errors import PruningError


class Odd(nn.Module):
    """A network whose forward pass is not a chain of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Conv2d(1, 2, 3), nn.Linear(8, 3), nn.Linear(3, 3)
        self.norm, self.activation, self.pool = nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.rnn = nn.GRU(3, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.activation(self.norm(self.first(x)))).flatten(1)
        x = F.relu(self.second(x))
        x += 1
        return self.rnn(x[:, None])[0]


def test_a_layer_s_activations_are_taken_after_the_modules_that_follow_it() -> None:
    model, x = Odd(), torch.randn(5, 1, 6, 6)
    model.norm.running_mean.fill_(0.1)
    found = layer_activations(model, x, ["first", "pool", "second"])
    model.eval()
    expected = torch.relu(model.norm(model.first(x)))
    torch.testing.assert_close(found["first"], expected.flatten(1))
    torch.testing.assert_close(found["pool"], F.max_pool2d(expected, 2).flatten(1))
    torch.testing.assert_close(found["second"], model.second(found["pool"]))  # F.relu and += are no modules


def test_a_layer_s_activations_do_not_depend_on_which_other_layers_are_asked_for() -> None:
    model, x = Odd(), torch.randn(5, 1, 6, 6)
    model.norm.running_mean.fill_(0.1)
    names = ["first", "norm", "activation", "pool", "second"]
    for together in (names, names[::-1]):
        found = layer_activations(model, x, together)
        for name in names:
            assert found[name].equal(layer_activations(model, x, [name])[name]), name
    assert found["first"].equal(found["activation"])
    assert not found["norm"].equal(found["activation"])


def test_a_model_that_is_a_single_layer_is_refused() -> None:
    with pytest.raises(PruningError, match=r"a single layer has no layers by name. Wrap it: nn.Sequential\(layer\)"):
        layer_activations(nn.Linear(2, 2), torch.zeros(1, 2))


def test_all_dense_layers_and_convolutions_are_the_default_and_samples_keep_their_order() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Dropout(), nn.Linear(3, 2))
    x = torch.randn(2300, 2, 2)
    found = layer_activations(model, x)
    assert list(found) == ["1", "4"] == list(weighted_layers(model))
    torch.testing.assert_close(found["1"], torch.tanh(model[1](x.flatten(1))))
    torch.testing.assert_close(found["4"], model.eval()(x))


def test_the_model_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layer_activations(model, torch.randn(20, 4))
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(before[name].equal(tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_unknown_uncalled_and_other_layers_are_refused() -> None:
    model, x = Odd(), torch.randn(2, 1, 6, 6)
    with pytest.raises(
        PruningError, match=r"no layer 'frist'; did you mean 'first'\? Its dense .*: first, second, unu"
    ):
        layer_activations(model, x, ["frist"])
    with pytest.raises(PruningError, match="does not call its module 'unused'"):
        layer_activations(model, x)
    with pytest.raises(PruningError, match="layer 'rnn' returns a tuple"):
        layer_activations(model, x, ["rnn"])
