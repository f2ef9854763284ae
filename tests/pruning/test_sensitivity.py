"""Criteria before training: equal to what they approximate, on models that stay as they are."""

import copy
import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lthprune
from lthprune.errors import LayerCollapseWarning, PruningError
from lthprune.pruning import (
    Candidate,
    Score,
    grasp,
    live_state,
    prune_in_rounds,
    snapshot,
    snip,
    synflow,
    wanda,
)
from lthprune.testing import check_score_of_model

INPUTS = (6, 1, 5, 5)
BATCHES = [
    (torch.randn(INPUTS, generator=torch.Generator().manual_seed(seed)).double(), torch.arange(6) % 3)
    for seed in (0, 1)
]
WAYS: dict[str, Callable[[nn.Module], Score]] = {
    "snip": lambda model: snip(model, BATCHES),
    "grasp": lambda model: grasp(model, BATCHES),
    "synflow": lambda model: synflow(model, torch.zeros(INPUTS).double()),
    "wanda": lambda model: wanda(model, [inputs for inputs, _ in BATCHES]),
}


def network() -> nn.Module:
    torch.manual_seed(3)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3))
    return nn.Sequential(*layers).double()


def scores(score: Score, model: nn.Module) -> dict[str, Tensor]:
    return {
        name: score(Candidate(name, tensor)) for name, tensor in live_state(model).items() if name.endswith("weight")
    }


def loss_of(model: nn.Module, *, temperature: float = 1) -> Tensor:
    return torch.stack([F.cross_entropy(model(inputs) / temperature, targets) for inputs, targets in BATCHES]).sum()


def gradient_flow(model: nn.Module) -> float:
    """The squared norm of the gradient."""
    gradients = torch.autograd.grad(loss_of(model, temperature=200), list(model.parameters()))
    return float(sum(own.square().sum() for own in gradients))


def slope(measure: Callable[[nn.Module], float], model: nn.Module, name: str, place: tuple[int, ...]) -> float:
    """The derivative of a measure of a model in one weight, by a central difference, times the weight."""
    found = []
    for step in (1e-5, -1e-5):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            live_state(moved)[name][place] += step
        found.append(measure(moved))
    return float(live_state(model)[name].detach()[place]) * (found[0] - found[1]) / 2e-5


@pytest.mark.parametrize(("name", "place"), [("0.weight", (1, 0, 2, 1)), ("1.weight", (2,)), ("4.weight", (2, 30))])
def test_snip_and_grasp_are_what_finite_differences_give(name: str, place: tuple[int, ...]) -> None:
    model = network()
    by_difference = slope(lambda each: float(loss_of(each).detach()), model, name, place)
    assert float(scores(snip(model, BATCHES), model)[name][place]) == pytest.approx(abs(by_difference), rel=1e-5)
    # the derivative of g'g is 2 H g
    flow = slope(gradient_flow, model, name, place) / 2
    assert float(scores(grasp(model, BATCHES), model)[name][place]) == pytest.approx(flow, rel=1e-4)


def test_grasp_prunes_first_what_the_gradient_flow_loses_least_by() -> None:
    model = nn.Linear(2, 1, bias=False).double()
    model.weight.data.copy_(torch.tensor([[3.0, 0.5]]))
    data = [(torch.eye(2).double(), torch.tensor([[1.0], [1.0]]).double())]
    score = grasp(model, data, lambda outputs, targets: (outputs - targets).square().sum(), temperature=1)
    # g = 2 (w - 1), H = 2: w H g is 24 for the first weight and -1 for the second
    assert score(Candidate("weight", model.weight)).tolist() == [[24, -1]]
    lthprune.prune(model, 1, score=score)
    assert model.weight_mask.tolist() == [[1, 0]]


def test_synaptic_flow_is_conserved_from_layer_to_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, 7, bias=False),
        nn.Linear(7, 2, bias=False),
    )
    found = scores(synflow(model, torch.zeros(3, 1, 5, 5)), model)
    sums = torch.stack([each.sum() for each in found.values()])
    assert all((each >= 0).all() for each in found.values())
    torch.testing.assert_close(sums, sums[:1].expand(3))
    absolute = copy.deepcopy(model).double()
    for parameter in absolute.parameters():
        parameter.data.abs_()
    torch.testing.assert_close(sums[0], absolute(torch.ones(1, 1, 5, 5).double()).sum().detach())


def test_synaptic_flow_in_rounds_keeps_every_layer_connected_where_one_round_does_not() -> None:
    torch.manual_seed(0)
    wide = [layer for _ in range(6) for layer in (nn.Linear(100, 100, bias=False), nn.ReLU())]
    model = nn.Sequential(*wide, nn.Linear(100, 2, bias=False))
    example = torch.zeros(1, 100)
    at_once = copy.deepcopy(model)
    with pytest.warns(LayerCollapseWarning):
        lthprune.prune(at_once, 0.998, score=synflow(at_once, example))
    left = prune_in_rounds(model, 0.002, lambda each: synflow(each, example))
    assert sum(count.left for count in left.values()) == round(0.002 * 60_200)
    assert all(count.left for count in left.values())
    last = "12.weight"
    assert left[last].left < float(at_once[12].weight_mask.sum())


@pytest.mark.parametrize("groups", [1, 2])
def test_wanda_is_the_weight_times_the_norm_of_its_input(groups: int) -> None:
    torch.manual_seed(0)
    conv, inputs = nn.Conv2d(4, 6, 3, groups=groups), torch.randn(5, 4, 7, 7)
    found = wanda(conv, [inputs[:2], inputs[2:]])(Candidate("weight", conv.weight))
    norms = inputs.transpose(0, 1).flatten(1).norm(dim=1)
    for row in range(6):
        for place in range(4 // groups):
            channel = place + (row // (6 // groups)) * (4 // groups)
            torch.testing.assert_close(found[row, place], abs(conv.weight[row, place].detach()) * norms[channel])
    linear, tokens = nn.Linear(4, 3), torch.randn(5, 8, 4)
    expected = abs(linear.weight.detach()) * tokens.flatten(0, 1).norm(dim=0)
    torch.testing.assert_close(wanda(linear, [tokens])(Candidate("weight", linear.weight)), expected)


def test_every_criterion_before_training_is_among_those_that_are_checked() -> None:
    functions = {name: getattr(lthprune.pruning, name) for name in lthprune.pruning.__all__}
    signatures = {name: inspect.signature(own) for name, own in functions.items() if inspect.isfunction(own)}
    criteria = {
        name for name, own in signatures.items() if own.return_annotation == Score and "model" in own.parameters
    }
    assert criteria == set(WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_a_criterion_has_the_properties_of_scores_of_a_model(way: str) -> None:
    model = network()
    model[1].eval()
    check_score_of_model(WAYS[way], model)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", [None, "torch", "plain"])
def test_pruned_weights_score_zero_in_either_form(way: str, form: lthprune.pruning.Form | None) -> None:
    model = network()
    if form is not None:
        lthprune.prune(model, 0.3, form=form)
    before = snapshot(model)
    score = WAYS[way](model)
    left = lthprune.prune(model, 0.5, scope="layerwise", score=score)  # by plain names, in either form
    assert sum(count.left for count in left.values()) == (72 if form is None else 50)
    assert all(
        (score(Candidate(name, before[name]))[before[name] == 0] == 0).all() for name in ("0.weight", "4.weight")
    )


def test_tied_weights_have_one_score_and_unused_ones_are_pruned_first() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    model.unused = nn.Linear(3, 3, bias=False)
    model.forward = lambda inputs: model[2](model[1](model[0](inputs)))  # type: ignore[method-assign]
    data = [(torch.eye(3), torch.arange(3))]
    with pytest.warns(LayerCollapseWarning, match=r"unused\.weight"):
        lthprune.prune(model, 9, score=snip(model, data))
    assert model.unused.weight_mask.sum() == 0
    assert model[0].weight_mask.all()


def test_rounds_keep_exactly_what_was_asked_for_and_refuse_what_cannot_be() -> None:
    model = network()
    left = prune_in_rounds(model, 0.25, WAYS["snip"], rounds=7)
    assert sum(count.left for count in left.values()) == 36
    again = prune_in_rounds(model, 1.0, WAYS["snip"], rounds=3)
    assert again == left
    for density, rounds in ((0, 5), (1.5, 5), (0.5, 0)):
        with pytest.raises(PruningError, match=r"density|rounds"):
            prune_in_rounds(model, density, WAYS["snip"], rounds=rounds)


@pytest.mark.parametrize("way", ["snip", "grasp", "synflow"])
@pytest.mark.parametrize("rounds", [1, 7])
def test_densities_for_each_tensor_are_met_exactly_whatever_the_criterion_prefers(way: str, rounds: int) -> None:
    model, asked = network(), {"0.weight": 5 / 36, "4.weight": 61 / 108}
    score = WAYS[way](model)
    left = prune_in_rounds(model, asked, WAYS[way], rounds=rounds)
    assert {name: count.left for name, count in left.items()} == {"0.weight": 5, "4.weight": 61}
    if rounds == 1:
        for name, mask in lthprune.pruning.masks_of(model).items():
            scores = score(Candidate(name, live_state(model)[name]))
            assert scores[mask].min() >= scores[~mask].max()


def test_densities_of_other_tensors_or_out_of_range_are_refused_before_anything_is_pruned() -> None:
    model = network()
    for density, words in (
        ({"0.weight": 0.5}, r"density names 0\.weight; the model's prunable tensors are 0\.weight, 4\.weight"),
        ({"0.weight": 0.5, "4.weight": 1.5}, r"density = 1\.5 for '4\.weight'"),
    ):
        with pytest.raises(PruningError, match=words):
            prune_in_rounds(model, density, WAYS["snip"])
    assert not lthprune.pruning.masks_of(model)


def test_what_has_no_score_and_a_temperature_of_zero_are_refused() -> None:
    model = network()
    with pytest.raises(PruningError, match=r"'1\.weight' has no score"):
        WAYS["wanda"](model)(Candidate("1.weight", model[1].weight))
    with pytest.raises(PruningError, match="temperature = 0"):
        grasp(model, BATCHES, temperature=0)
