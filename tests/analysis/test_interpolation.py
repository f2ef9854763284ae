"""The line between two copies of a network: what is measured on it, and what stays as it was."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lthprune import prune
from lthprune.analysis import (
    angle_between,
    distance_between,
    error_barrier,
    follow_path,
    interpolated,
    recompute_statistics,
)
from lthprune.errors import PruningError, StorageError
from lthprune.pruning import State, masks_of, snapshot
from tests.nets import all_bits, anatomy, batch, net

POSITIVE = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])  # the class of a number is whether it is positive
LABELS = torch.tensor([0, 0, 1, 1])


def perceptron(first: list[float], second: list[float]) -> nn.Sequential:
    """A network of two hidden units without biases: the logit of class 1."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(first)[:, None])
        model[2].weight.copy_(torch.tensor(second)[None])
    return model


def error_and_loss(model: nn.Module) -> dict[str, tuple[float, float]]:
    logits = model(POSITIVE)[:, 0]
    loss = nn.functional.binary_cross_entropy_with_logits(logits, LABELS.float())
    return {"test": (float(((logits > 0) != LABELS).float().mean()), float(loss))}


def nothing(model: nn.Module) -> dict[str, tuple[float, float]]:
    return {"test": (0.0, 0.0)}


def test_two_minima_whose_hidden_units_are_swapped_have_the_barrier_worked_out_by_hand() -> None:
    # Both compute the logit x. On the line between them it is (1 - 2a)^2 x: 0 in the middle, so class 0 for all.
    one, other = perceptron([1.0, -1.0], [1.0, -1.0]), perceptron([-1.0, 1.0], [-1.0, 1.0])
    path = follow_path(one, snapshot(one), snapshot(other), error_and_loss, points=3)
    assert path.at.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert path.errors["test"].tolist() == [0, 0, 0.5, 0, 0]
    assert path.barrier() == 0.5
    slopes = (1 - 2 * path.at) ** 2
    losses = [np.mean([math.log1p(math.exp(-slope * size)) for size in (1, 2)]) for slope in slopes]
    np.testing.assert_allclose(path.losses["test"], losses, rtol=1e-6)


def test_identical_copies_have_no_barrier_and_the_same_bits_all_along() -> None:
    model = net("normalised")
    model(batch(model)[0])
    states: list[State] = []

    def note(scratch: nn.Module) -> dict[str, tuple[float, float]]:
        states.append(snapshot(scratch))
        return {"test": (float(scratch(batch(scratch)[0]).var()), 0.0)}

    path = follow_path(model, snapshot(model), snapshot(model), note, batches=[batch(model, 3)[0]])
    assert path.barrier() == 0
    assert all(all_bits(state) == all_bits(states[0]) for state in states)
    assert len(path.at) == len(states) == 32


def test_both_ends_are_the_copies_to_the_bit() -> None:
    one, other = net("dense", 0), net("dense", 1)
    states: list[State] = []

    def note(scratch: nn.Module) -> dict[str, tuple[float, float]]:
        states.append(snapshot(scratch))
        return {"test": (0.0, 0.0)}

    follow_path(one, snapshot(one), snapshot(other), note, points=1)
    assert all_bits(states[0]) == all_bits(snapshot(one))
    assert all_bits(states[-1]) == all_bits(snapshot(other))
    for name, tensor in states[1].items():
        torch.testing.assert_close(tensor, (states[0][name] + states[-1][name]) / 2)


def test_statistics_of_batch_norms_are_those_of_every_network_on_the_line() -> None:
    inputs = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    ends: list[State] = []
    for weight in ([1.0, 0.0], [0.0, 1.0]):
        model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([weight]))
        recompute_statistics(model, [inputs])
        ends.append(snapshot(model))
    seen: list[tuple[Tensor, Tensor]] = []

    def note(scratch: nn.Module) -> dict[str, tuple[float, float]]:
        assert isinstance(scratch, nn.Sequential)
        seen.append((scratch[1].running_var.clone(), scratch[0](inputs).var(dim=0)))
        return {"test": (0.0, 0.0)}

    follow_path(model, *ends, note, batches=[inputs], points=1)
    for running, own in seen:
        torch.testing.assert_close(running, own)
    interpolated_variance = interpolated(*ends, 0.5)["1.running_var"]
    assert abs(float(interpolated_variance - seen[1][1])) > 0.3  # with it, the network in the middle would be wrong


def test_statistics_are_averages_over_all_batches_whatever_the_momentum() -> None:
    model = net("normalised")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = 0.9
    batches = [batch(model, seed)[0] for seed in range(4)]
    first = torch.stack([model[0](inputs).detach().mean(dim=(0, 2, 3)) for inputs in batches]).mean(dim=0)
    modes = [module.training for module in model.modules()]
    recompute_statistics(model, batches)
    torch.testing.assert_close(model[1].running_mean, first)
    assert int(model[1].num_batches_tracked) == 4
    assert model[1].momentum == 0.9
    assert [module.training for module in model.modules()] == modes


def test_statistics_of_instance_norms_and_of_layers_that_are_called_twice_are_averages_of_all_calls() -> None:
    batches = [
        5 + 3 * torch.randn(16, 2, 50, generator=torch.Generator().manual_seed(seed)) * (seed + 1) for seed in range(3)
    ]
    for kind in (nn.InstanceNorm1d, nn.BatchNorm1d):
        norm = kind(2, momentum=0.3, affine=False, track_running_stats=True)
        model = nn.Sequential(norm, nn.Softplus(), norm)
        for each in (norm, model):
            calls: list[Tensor] = []
            handle = norm.register_forward_pre_hook(lambda _, inputs, calls=calls: calls.append(inputs[0]))
            recompute_statistics(each, batches)
            handle.remove()
            assert len(calls) == (3 if each is norm else 6)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            torch.testing.assert_close(norm.running_mean, torch.stack([own.mean(dim=(0, 2)) for own in calls]).mean(0))
            together = (2,) if kind is nn.InstanceNorm1d else (0, 2)
            variances = [own.var(dim=together).reshape(-1, 2).mean(0) for own in calls]
            torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0))
        assert norm.momentum == 0.3
        assert not norm._forward_pre_hooks


def test_dropout_draws_nothing_while_statistics_are_recomputed() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3))
    before = torch.get_rng_state()
    recompute_statistics(model, [torch.ones(4, 3)])
    assert torch.get_rng_state().equal(before)
    assert model[1].running_mean.tolist() == [1, 1, 1]


@pytest.mark.parametrize("form", ["plain", "torch"])
def test_pruned_weights_are_zero_all_along_and_the_model_stays_as_it_was(form: str) -> None:
    model = net("normalised")
    prune(model, 0.5, form=form)  # type: ignore[call-overload]
    model(batch(model)[0])
    masks, dense = masks_of(model), net("normalised", 5)
    before, modes = anatomy(model), [module.training for module in model.modules()]

    def check(scratch: nn.Module) -> dict[str, tuple[float, float]]:
        state = snapshot(scratch)
        assert all((state[name][~mask] == 0).all() for name, mask in masks.items())
        assert all_bits(masks_of(scratch)) == all_bits(masks)
        return {"test": (0.0, 0.0)}

    follow_path(model, snapshot(model), snapshot(dense), check, batches=[batch(model)[0]], points=2)
    after = anatomy(model)
    assert before[1] == after[1]
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("form", ["dense", "plain", "torch"])
def test_in_bf16_every_network_on_the_line_is_measured_with_its_own_weights(form: str) -> None:
    one, other = net("normalised", 0), net("normalised", 1)
    if form != "dense":
        prune(one, 0.5, form=form)  # type: ignore[call-overload]
    one(batch(one)[0])  # in torch's form, weights are now part of an autograd graph
    inputs, needing = batch(one, 3, size=40)[0], [each.requires_grad for each in one.parameters()]

    def spread(scratch: nn.Module) -> dict[str, tuple[float, float]]:
        return {"test": (0.0, float(scratch(inputs).float().var()))}

    exact = follow_path(one, snapshot(one), snapshot(other), spread, batches=[inputs], points=3).losses["test"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = follow_path(one, snapshot(one), snapshot(other), spread, batches=[inputs], points=3).losses["test"]
    assert len({*rounded.tolist()}) == 5
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, rtol=0.05)
    assert [each.requires_grad for each in one.parameters()] == needing


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_a_barrier_is_the_highest_error_above_the_mean_of_the_ends_and_never_negative(errors: list[float]) -> None:
    barrier = error_barrier(errors)
    assert barrier >= 0
    assert barrier == pytest.approx(max(errors) - (errors[0] + errors[-1]) / 2)
    assert error_barrier(errors[::-1]) == pytest.approx(barrier)


def test_distance_and_angle_are_those_of_all_named_tensors_together() -> None:
    origin = {"a": torch.tensor([1.0]), "b": torch.tensor([1.0, 1.0])}
    one = {"a": torch.tensor([4.0]), "b": torch.tensor([1.0, 1.0])}
    other = {"a": torch.tensor([1.0]), "b": torch.tensor([1.0, 5.0])}
    assert distance_between(one, other, ["a", "b"]) == 5
    assert distance_between(one, other, ["a"]) == 3
    assert angle_between(one, other, origin, ["a", "b"]) == pytest.approx(90)
    assert angle_between(one, one, origin, ["a", "b"]) == pytest.approx(0, abs=1e-5)
    assert math.isnan(angle_between(origin, other, origin, ["a", "b"]))


def test_complex_weights_are_interpolated_and_count_with_both_of_their_parts() -> None:
    origin, one, other = ({"a": torch.tensor([value], dtype=torch.complex64)} for value in (1j, 3 + 5j, 1j + 4 - 3j))
    assert interpolated(one, other, 0)["a"].equal(one["a"])
    assert interpolated(one, other, 0.25)["a"].tolist() == [3.25 + 3.25j]
    assert interpolated(one, other, 1)["a"].equal(other["a"])
    assert distance_between(one, origin, ["a"]) == distance_between(other, origin, ["a"]) == 5
    assert angle_between(one, other, origin, ["a"]) == pytest.approx(90)  # (3, 4) and (4, -3) as vectors
    assert angle_between(one, {"a": 2 * one["a"] - origin["a"]}, origin, ["a"]) == pytest.approx(0, abs=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    model = net("normalised")
    state = snapshot(model)
    with pytest.raises(
        PruningError, match=r"Sequential normalises by statistics of its batches.*Give batches=\[\.\.\.\]"
    ):
        follow_path(model, state, state, nothing)
    with pytest.raises(PruningError, match="points = 0: measure at least one position"):
        follow_path(model, state, state, nothing, points=0)
    lacking = {name: tensor for name, tensor in state.items() if name != "0.weight"}
    with pytest.raises(StorageError, match=r"'0\.weight' of the model is missing from the second copy"):
        follow_path(model, state, lacking, nothing, batches=[batch(model)[0]])
    path = follow_path(net(), snapshot(net()), snapshot(net()), nothing, points=1)
    with pytest.raises(PruningError, match=r"unknown data 'tests'; did you mean 'test'"):
        path.barrier("tests")
