"""Planted faults in pruning methods: each is caught, and told in words; and what torch's own methods do."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import lthprune
from lthprune.errors import PruningError
from lthprune.pruning import PruningMethod
from lthprune.testing import check_pruning_method
from tests.testing.caught import message


class Lowest(torch_prune.BasePruningMethod):
    """Prunes the lowest magnitudes, in torch's terms and without a fault; the faults are planted in subclasses."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount):
        self.amount = amount

    def number(self, mask):
        left = int(mask.sum())
        return self.amount if isinstance(self.amount, int) else round(self.amount * left)

    def compute_mask(self, t, default_mask):
        order = t.detach().abs().flatten().argsort(stable=True)
        order = order[default_mask.flatten()[order] != 0]
        mask = default_mask.clone(memory_format=torch.contiguous_format)
        mask.view(-1)[order[: self.number(default_mask)]] = 0
        return mask


class WholeTensor(Lowest):
    PRUNING_TYPE = "global"


class ForgetsTheDefaultMask(WholeTensor):
    def compute_mask(self, t, default_mask):
        mask = torch.ones(t.numel(), dtype=t.dtype)
        mask[t.detach().abs().flatten().argsort(stable=True)[: self.number(default_mask)]] = 0
        return mask.view(t.shape)


class AllAtTheThreshold(Lowest):
    def compute_mask(self, t, default_mask):
        number, magnitudes = self.number(default_mask), t.detach().abs()
        return default_mask * (magnitudes > magnitudes.flatten().sort().values[number - 1]) if number else default_mask


class OneTooMany(Lowest):
    def number(self, mask):
        return min(super().number(mask) + 1, int(mask.sum()))


class OfAllWeights(Lowest):
    def number(self, mask):
        total = mask.numel() if isinstance(self.amount, int) else round(self.amount * 16)
        return min(self.amount if isinstance(self.amount, int) else total, int(mask.sum()))


class WritesTheWeights(WholeTensor):
    def compute_mask(self, t, default_mask):
        mask = super().compute_mask(t, default_mask)
        t.data.mul_(mask)
        return mask


class FromTheGlobalGenerator(PruningMethod):
    score = staticmethod(lambda candidate: torch.rand(candidate.final.shape))


class FromAGeneratorOfItsOwn(PruningMethod):
    own = torch.Generator().manual_seed(0)
    score = staticmethod(lambda candidate: torch.rand(candidate.final.shape, generator=FromAGeneratorOfItsOwn.own))


class ByRows(Lowest):
    def compute_mask(self, t, default_mask):
        return super().compute_mask(t / (1 + t.norm(dim=1, keepdim=True)), default_mask)


class Halves(Lowest):
    def compute_mask(self, t, default_mask):
        return super().compute_mask(t, default_mask) / 2


class WritesTheMaskIntoTheHook(Lowest):
    def apply_mask(self, module):
        mask, original = getattr(module, f"{self._tensor_name}_mask"), getattr(module, f"{self._tensor_name}_orig")
        self.kept = getattr(self, "kept", mask).clone()
        return original * self.kept


class CannotBeCopied(Lowest):
    def __init__(self, amount):
        super().__init__(amount)
        self.layers = (layer for layer in ())


def zeros_the_weights(module, name, amount):
    weights = getattr(module, name).data
    weights.view(-1)[:amount] = 0 if isinstance(amount, int) else weights.view(-1)[:0]


def replaces_the_parameter(module, name, amount):
    setattr(module, name, nn.Parameter(getattr(module, name).detach().clone()))
    Lowest.apply(module, name, amount)


def zeroes_the_gradients(module, name, amount):
    Lowest.apply(module, name, amount)
    module.zero_grad()


def prunes_the_weight_whatever_the_name(module, name, amount):
    Lowest.apply(module, "weight", amount)


FAULTS = {
    ForgetsTheDefaultMask: ("brings back 1 weight that", "default_mask", "is [0.0], ", "[0] became [1]"),
    AllAtTheThreshold: ("prunes 2 weights of 2, where amount=", "[0.0, 0.0]", "[1, 1] became [0, 0]"),
    OneTooMany: ("prunes 1 weight of 1, where amount=0", "[1] became [0]"),
    OfAllWeights: ("prunes", "asks for"),
    WritesTheWeights: ("writes to the parameter", "became [0.0]"),
    FromTheGlobalGenerator: ("draws from the global random generator of torch",),
    FromAGeneratorOfItsOwn: ("gives another mask when it prunes the same layer again",),
    ByRows: ("raises IndexError", "a vector of the remaining weights from the second on"),
    Halves: ("a mask of zeros and ones", "the mask [0.5]"),
    WritesTheMaskIntoTheHook: ("keeps more than", "state_dict"),
    CannotBeCopied: ("raises TypeError", "pickle"),
    zeros_the_weights: ("does not prune in torch's form", "the buffers (none)"),
    replaces_the_parameter: ("replaces the parameter",),
    zeroes_the_gradients: ("changes the gradient of",),
    prunes_the_weight_whatever_the_name: ("does not prune in torch's form", "a Linear whose bias is"),
}
"""What the message about each fault says."""
SHAPES = {ByRows: (2,)}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_told_with_the_smallest_case(fault):
    told = message(check_pruning_method, fault, dims=SHAPES.get(fault, (1, 2, 4)))
    assert told.startswith(f"{fault.__name__!r} ")
    assert re.search("\nSmallest failing case: a (Linear|Conv2d) whose ", told)  # the latter with hypothesis 6.100
    for words in FAULTS[fault]:
        assert words in told


@pytest.mark.parametrize("method", [Lowest, WholeTensor])
def test_the_method_without_a_planted_fault_passes(method):
    check_pruning_method(method)


def test_a_function_that_prunes_a_module_passes():
    check_pruning_method(lambda module, name, amount: lthprune.prune(module, amount), dims=(2, 4))


TORCHS_OWN = {
    "l1_unstructured": (torch_prune.l1_unstructured, {"dims": (1, 2)}),
    "random_unstructured": (torch_prune.random_unstructured, {"dims": (1, 2), "random": True}),
    "ln_structured": (
        lambda module, name, amount: torch_prune.ln_structured(module, name, amount, n=2, dim=0),
        {"dims": (2, 4), "exact": False},
    ),
    "random_structured": (
        lambda module, name, amount: torch_prune.random_structured(module, name, amount, dim=0),
        {"dims": (2, 4), "exact": False, "random": True},
    ),
    "global_unstructured": (
        lambda module, name, amount: torch_prune.global_unstructured(
            [(module, name)], torch_prune.L1Unstructured, amount=amount
        ),
        {"dims": (1, 2)},
    ),
}


@pytest.mark.parametrize("name", TORCHS_OWN)
def test_torchs_own_methods_pass(name):
    method, words = TORCHS_OWN[name]
    check_pruning_method(method, **words)


@pytest.mark.parametrize("name", ["l1_unstructured", "random_unstructured", "global_unstructured"])
def test_torchs_own_methods_fail_on_convolutions_with_channels_last(name):
    method, words = TORCHS_OWN[name]
    assert "not contiguous in memory" in message(check_pruning_method, method, **words | {"dims": (4,)})
    layer = nn.Conv2d(2, 2, (1, 2)).to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        method(copy.deepcopy(layer), "weight", 1)


def test_what_is_no_method_is_refused():
    with pytest.raises(PruningError, match="the name of a tensor and an amount; this is an int"):
        check_pruning_method(3)
