"""The properties of a criterion that scores a whole model."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lthprune.arguments import check_module, described
from lthprune.errors import PruningError
from lthprune.pruning import FORMS, Candidate, Form, Pruning, Score, live_masks, live_state, prune, refresh
from lthprune.testing.calling import PropertyError, call, called, seed_generators
from lthprune.testing.scores import check_repeated, check_scores
from lthprune.testing.smallest import check_cases, require_hypothesis

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

_AGAIN = "on an equal model. Data that it reads must be a list, not an iterator, which is empty the second time."


@dataclass(frozen=True)
class ModelCase:
    """A copy of a model to score.

    Attributes:
        seed: of normally distributed weights; None for the model's own.
        rate: the fraction of each layer's weights that is pruned before.
        form: the form of the pruned model.
    """

    seed: int | None
    rate: float
    form: Form

    def build(self, model: nn.Module) -> nn.Module:
        """Return the copy, with gradients of ones."""
        built = copy.deepcopy(model)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed)
            with torch.no_grad():
                for parameter in built.parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
            refresh(built)
        if self.rate:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                prune(built, self.rate, scope="layerwise", form=self.form, min_survivors=1)
        for parameter in built.parameters():
            parameter.grad = torch.ones_like(parameter)
        return built

    def __str__(self) -> str:
        weights = "its own weights" if self.seed is None else f"weights drawn by torch.randn with the seed {self.seed}"
        pruned = f", {self.rate:.0%} of each layer pruned in the {self.form} form" if self.rate else ""
        return f"the model with {weights}{pruned}"


def check_score_of_model(score_of: Callable[[nn.Module], Score], model: nn.Module, *, random: bool = False) -> None:
    """Check a criterion that computes the scores of a whole model, from gradients or data, like ``snip``.

    The score function that it returns gives every prunable weight a finite number; the model stays as it is:
    parameters, gradients, buffers, masks, modes and hooks; the global random generators, too; and a second call on an
    equal model gives the same scores. The cases are 25 copies of the model, with its own weights and drawn ones, some
    of them pruned, in either form.

    Args:
        score_of: returns the score function of a model, as for ``prune_in_rounds``.
        model: an example of the models that it scores; it is not changed.
        random: whether ``score_of`` may draw from torch's global generator, as dropout does; the same seed then gives
            the same scores.

    Raises:
        AssertionError: a property does not hold; the message gives the simplest case that shows it.
        PruningError: hypothesis is not installed, or the model is not a module.

    Examples:
        >>> from lthprune.pruning import snip
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> batches = [(torch.eye(4), torch.tensor([0, 1, 0, 1]))]
        >>> check_score_of_model(lambda model: snip(model, batches), model)
    """
    __tracebackhide__ = True
    check_module(model)
    require_hypothesis()
    examine = partial(_examine, score_of, model, random)
    check_cases(called(score_of), _model_cases(model), examine, examples=25)


def _examine(score_of: Callable[[nn.Module], Score], model: nn.Module, random: bool, case: ModelCase) -> None:
    built, equal = case.build(model), case.build(model)
    before = _anatomy(built)
    seed_generators(0)
    score = call(lambda: score_of(built), may_draw=random)
    if not callable(score):
        raise PropertyError("must return a score function, which takes a Candidate.", described(score))
    changed = [what for what, value in _anatomy(built).items() if before.get(what) != value]
    if changed or len(before) != len(_anatomy(built)):
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        seen = f"{', '.join(changed[:3]) or 'the tensors'}{more}"
        raise PropertyError("changes the model that it scores.", f"a change of {seen}")
    seed_generators(0 if random else 1)
    again = call(lambda: score_of(equal), may_draw=random)
    for tensor in Pruning().tensors(built):
        weights = tensor.parameter.detach()
        scores, repeated = (call(partial(own, Candidate(tensor.name, weights.clone()))) for own in (score, again))
        try:
            for own in (scores, repeated):
                check_scores(own, weights)
            check_repeated(scores, repeated, _AGAIN)
        except PropertyError as fault:
            raise PropertyError(fault.what, f"{fault.seen}, of {tensor.name!r}") from fault.__cause__


def _anatomy(model: nn.Module) -> dict[str, object]:
    """Return what scoring could change in a model, by what it is, as values that can be compared."""
    found: dict[str, object] = {}
    for name, tensor in live_state(model).items():
        found[f"the values of {name!r}"] = id(tensor), _bytes(tensor)
        found[f"the gradient of {name!r}"] = tensor.requires_grad, None if tensor.grad is None else _bytes(tensor.grad)
    for name, mask in live_masks(model).items():
        found[f"the mask of {name!r}"] = _bytes(mask)
    for name, module in model.named_modules():
        which = repr(name) if name else "the model"
        found[f"the mode of {which}"] = module.training
        found[f"the hooks of {which}"] = [len(module._forward_hooks), len(module._forward_pre_hooks)]
    return found


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _model_cases(model: nn.Module) -> "SearchStrategy[ModelCase]":
    from hypothesis import strategies as st

    forms = [form for form in FORMS if _can_take(model, form)]

    @st.composite
    def cases(draw: "DrawFn") -> ModelCase:
        seed = draw(st.none() | st.integers(0, 9))
        return ModelCase(seed, draw(st.sampled_from((0, 0.5, 0.9))), draw(st.sampled_from(forms)))

    return cases()


def _can_take(model: nn.Module, form: Form) -> bool:
    """Return whether a model can be pruned in a form; attention cannot in torch's."""
    try:
        ModelCase(None, 0.5, form).build(model)
    except PruningError:
        return False
    return True
