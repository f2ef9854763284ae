"""Steps and evaluations of whole perceptrons equal those by autograd, whoever shares the work.

In single precision, since compiling takes a while; tests/training compares whole trainings in double precision.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lthprune import kernels
from lthprune.data import Task
from lthprune.kernels import DENSE, LANES, PANELS, ROWS, WIDE, Inputs
from lthprune.pruning.methods import write_mask
from lthprune.training import losses
from lthprune.training.formed import FormedLayer, build_network, unpack
from lthprune.training.lowering import lower
from tests.laid import ALONE, laid, mostly, teams

FEATURES, HEADS = 20, np.array([[0, 1], [1, 5]])
TASKS = [Task("two classes", range(0), range(0, 1)), Task("four classes", range(0), range(1, 5))]
STILL = kernels.Rule(kernels.SGD, 0.0, 0.0)
# Forms of the first layer that inputs of a kind and a density lead to:
FIRST = pytest.mark.parametrize(
    ("form", "sparse", "density"),
    [(ROWS, True, 0.2), (ROWS, False, 0.2), (ROWS, False, 0.0), (DENSE, False, 0.8), (WIDE, True, 0.8)],
    ids=["rows", "rows of dense inputs", "no weights", "dense", "wide"],
)


def pruned(density: float, hidden: int = 70, bias: bool = True) -> nn.Sequential:
    """A perceptron with one density in its first layer, and later layers in both forms that they can have."""
    torch.manual_seed(hidden)
    widths, densities = [FEATURES, hidden, 17, 16, 5], [density, 0.2, 0.5, 1.0]
    layers: list[nn.Module] = []
    for into, out in pairwise(widths):
        layers += [nn.Linear(into, out, bias), nn.Tanh()]
    for layer, own in zip(layers[::2], densities, strict=True):
        write_mask(layer, "weight", torch.rand(layer.weight.shape) < own)
    return nn.Sequential(*layers[:-1])


class Compiled:
    """A perceptron as the kernels read it."""

    def __init__(self, model: nn.Module, form: int, inputs: Inputs, l1: float = 0.0) -> None:
        lowered = lower([model])
        self.layers = [FormedLayer.of(each, 0, wide=inputs.sparse and not place) for place, each in enumerate(lowered)]
        assert self.layers[0].form == form
        self.network = build_network(self.layers, FEATURES)
        parts = [(layer.weight, layer.bias) for layer in self.layers]
        masks = [(layer.weight_mask, layer.bias_mask) for layer in self.layers]
        values, mask = (np.concatenate(list(chain(*pairs))).astype(np.float32) for pairs in (parts, masks))
        zeros = [np.zeros_like(values) for _ in range(4)]
        penalty = np.full_like(values, l1) if l1 else np.empty(0, np.float32)
        self.state = kernels.State(values, *zeros[:2], mask, penalty, *zeros[2:])
        units, widest = sum(len(layer.mask) for layer in self.layers), max(layer.mask.shape[1] for layer in self.layers)
        used = (
            np.full(size, np.nan, np.float32) for size in (*[(units, LANES)] * 3, LANES * widest)
        )  # as if by others
        self.panels = kernels.Panels(np.repeat(inputs.background[:, None], LANES, axis=1), *used)
        self.inputs = inputs

    def train(
        self,
        labels: np.ndarray,
        batches: np.ndarray,
        rates: np.ndarray,
        rule: kernels.Rule,
        made: int = 0,
        members: int = 1,
        *,
        given_up: bool = False,
    ) -> np.ndarray:
        """Make steps with a team, which may have been told to give up before; return their losses."""
        made_losses, state = np.zeros(len(batches)), (self.network, self.state, self.panels, rule, self.inputs)
        given = labels, HEADS, batches, rates, made, made_losses
        team = teams(members)
        if given_up:
            kernels.give_up(team[0].gate)
        with ThreadPoolExecutor(members) as pool:
            list(pool.map(lambda member: kernels.train(*state, *given, member), team))
        return made_losses

    def evaluate(self, labels: np.ndarray) -> tuple[float, list[int]]:
        """Return the sum of losses over all samples, and the correct samples of each task."""
        total, right = 0.0, np.zeros(2, np.int64)
        for panel in range(0, -(-len(labels) // LANES), PANELS):
            state = self.network, self.state.values, self.panels, self.inputs
            total += kernels.evaluate(*state, labels, HEADS, panel, right, ALONE)
        return total, right.tolist()


def data(sparse: bool, samples: int = 200) -> tuple[Inputs, np.ndarray]:
    random = np.random.default_rng(samples)
    background = random.normal(size=FEATURES).astype(np.float32)
    dense = mostly(background, samples, random)
    return laid(dense, background if sparse else None), random.integers((2, 4), size=(samples, 2))


def orders(steps: int, batch: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(200, size=(steps, batch))


def loss_of(
    model: nn.Module, inputs: Inputs, labels: np.ndarray, samples: np.ndarray, reduction: str = "mean"
) -> Tensor:
    outputs = model(torch.from_numpy(inputs.dense[samples]))
    return losses.cross_entropy(outputs, torch.from_numpy(labels[samples]), TASKS, reduction)


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name.removesuffix("_orig"): parameter for name, parameter in model.named_parameters()}


@FIRST
@pytest.mark.parametrize("batch", [1, 64, 65, 150])
@pytest.mark.parametrize(("hidden", "bias"), [(70, True), (64, False), (16, True)])
def test_loss_and_gradient_of_a_step_equal_those_by_autograd(
    form: int, sparse: bool, density: float, batch: int, hidden: int, bias: bool
) -> None:
    model, (inputs, labels) = pruned(density, hidden, bias), data(sparse)
    compiled, batches = Compiled(model, form, inputs), orders(1, batch)
    before = compiled.state.values.copy()
    [made] = compiled.train(labels, batches, np.zeros(1), STILL)
    loss = loss_of(model, inputs, labels, batches[0])
    loss.backward()
    assert made == pytest.approx(loss.item(), rel=1e-5)
    gradients = unpack(compiled.layers, compiled.state.gradients)
    for name, parameter in parameters(model).items():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-5, msg=lambda m, n=name: n + m)
    assert (compiled.state.values == before).all()


@FIRST
def test_an_l1_penalty_adds_the_signs_of_remaining_values_to_their_gradients(
    form: int, sparse: bool, density: float
) -> None:
    inputs, labels = data(sparse)
    gradients = []
    for l1 in (0.0, 0.25):
        compiled = Compiled(pruned(density), form, inputs, l1)
        compiled.train(labels, orders(1, 70), np.zeros(1), STILL)
        gradients.append(compiled.state.gradients)
    expected = 0.25 * np.sign(compiled.state.values) * compiled.state.mask
    np.testing.assert_allclose(gradients[1] - gradients[0], expected, rtol=0, atol=1e-5)


@FIRST
def test_steps_in_two_calls_equal_torchs_adam(form: int, sparse: bool, density: float) -> None:
    model, (inputs, labels) = pruned(density), data(sparse)
    compiled, batches, rates = Compiled(model, form, inputs), orders(5, 70), np.linspace(0.05, 0.01, 5)
    optimizer, expected = torch.optim.Adam(model.parameters(), weight_decay=0.1), []
    for batch, rate in zip(batches, rates, strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.zero_grad()
        loss = loss_of(model, inputs, labels, batch)
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    rule = kernels.Rule(kernels.ADAM, 0.0, 0.1)
    made = [
        compiled.train(labels, batches[:2], rates[:2], rule),
        compiled.train(labels, batches[2:], rates[2:], rule, made=2),
    ]
    np.testing.assert_allclose(np.concatenate(made), expected, rtol=1e-4)
    state = unpack(compiled.layers, compiled.state.values)
    masks = {f"{layer.name}.weight": torch.from_numpy(layer.mask) for layer in compiled.layers}
    for name, parameter in parameters(model).items():
        torch.testing.assert_close(state[name], parameter.detach() * masks.get(name, 1), rtol=0, atol=1e-3)


@FIRST
@pytest.mark.parametrize("batch", [40, 150])
@pytest.mark.parametrize("members", [2, 3])
def test_bits_do_not_depend_on_the_number_of_members(
    form: int, sparse: bool, density: float, batch: int, members: int
) -> None:
    inputs, labels = data(sparse)
    rule, results = kernels.Rule(kernels.ADAM, 0.0, 0.0), []
    for size in (1, members):
        compiled = Compiled(pruned(density), form, inputs, l1=0.01)
        made = compiled.train(labels, orders(6, batch), np.full(6, 0.01), rule, members=size)
        results.append((made.tolist(), compiled.state.values.tolist()))
    assert results[0] == results[1]


@FIRST
@pytest.mark.parametrize("samples", [1, 64, 65, 1100])
def test_evaluations_equal_torchs(form: int, sparse: bool, density: float, samples: int) -> None:
    model, (inputs, labels) = pruned(density), data(sparse, samples)
    total, right = Compiled(model, form, inputs).evaluate(labels)
    every = np.arange(samples)
    assert total == pytest.approx(loss_of(model, inputs, labels, every, "sum").item(), rel=1e-5)
    outputs = model(torch.from_numpy(inputs.dense))
    assert right == losses.count_right(outputs, torch.from_numpy(labels), TASKS).tolist()


@pytest.mark.parametrize("members", [1, 2])
def test_a_team_that_was_told_to_give_up_makes_no_more_steps(members: int) -> None:
    inputs, labels = data(False)
    compiled = Compiled(pruned(0.8), DENSE, inputs)
    before = compiled.state.values.copy()
    rule = kernels.Rule(kernels.SGD, 0.0, 0.0)
    assert not compiled.train(labels, orders(3, 60), np.ones(3), rule, members=members, given_up=True).any()
    assert (compiled.state.values == before).all()


@FIRST
def test_a_diverged_perceptron_shows_nan(form: int, sparse: bool, density: float) -> None:
    inputs, labels = data(sparse)
    compiled = Compiled(pruned(density), form, inputs)
    compiled.state.values[-10:] = np.nan  # weights and biases of the last layer
    assert np.isnan(compiled.evaluate(labels)[0])
    assert np.isnan(compiled.train(labels, orders(1, 100), np.zeros(1), STILL)).all()
    assert np.isnan(compiled.state.gradients).any()
