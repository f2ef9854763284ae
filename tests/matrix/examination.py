"""One model put through the library: what works, what is refused and why; an AssertionError is what is wrong."""

import copy
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

import lthprune
from lthprune.pruning.coverage import COMPUTED
from lthprune.pruning.prunable import select
from lthprune.pruning.state import live_state, snapshot
from tests.zoo.specimen import Specimen, leaves

YES = "yes"
EVERYTHING = lthprune.Selection(kinds=(*lthprune.Selection.kinds, "embedding", "matrix"))
_ENOUGH = 0.9


@dataclass(frozen=True)
class Row:
    """What became of one model: in every column ``"yes"``, or why it is refused.

    ``default`` is the share of the weights in matrices that is pruned by default. Where it is under 90 %, the other
    columns are about ``EVERYTHING``.
    """

    name: str
    default: str
    prune: str
    torch: str
    search: str
    ticket: str
    states: str
    compaction: str
    export: str

    @property
    def works(self) -> bool:
        return self.prune == self.search == self.ticket == YES


COLUMNS = [field.name for field in fields(Row)]


def examine(specimen: Specimen) -> Row:
    """Put a model through everything; the seed is fixed, so that the row is always the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            coverage = lthprune.describe(_built(specimen))
            selection = lthprune.Selection() if coverage.matrix_share >= _ENOUGH else EVERYTHING
            default = f"{coverage.matrix_share:.0%}"
            computed = tuple(each.names[0] for each in coverage.left_out if each.reason == COMPUTED)
            if computed and len(computed) < sum(each.is_matrix for each in coverage.parameters):
                default = f"refused: {len(computed)} computed"
                selection = replace(EVERYTHING, exclude=computed)
            select(_built(specimen), selection)
        except lthprune.PruningError as error:
            return Row(specimen.name, "-", *[_reason(error)] * 3, *["-"] * 4)
        prune = _said(lambda: _prune(specimen, selection, "plain"))
        in_torch = _said(lambda: _prune(specimen, selection, "torch"))
        found: list[tuple[nn.Module, lthprune.Tickets]] = []
        search = _said(lambda: found.append(_search(specimen, selection)))
        if not found:
            return Row(specimen.name, default, prune, in_torch, search, *["-"] * 4)
        model, tickets = found[0]
        ticket = _said(lambda: _ticket(specimen, model, tickets[-1]))
        export = _said(lambda: _export(specimen, model))
        lthprune.strip(model)
        masks = tickets[-1].masks
        states = _said(lambda: _states(specimen, model, masks))
        compaction = _said(lambda: _compaction(specimen, model))
        return Row(specimen.name, default, prune, in_torch, search, ticket, states, compaction, export)


def _built(specimen: Specimen, seed: int = 0) -> nn.Module:
    """A model that has seen one batch, so that nothing of it is lazy; large ones in half the memory."""
    if specimen.large:
        return specimen.build(seed).bfloat16()
    try:
        model = copy.deepcopy(_pattern(specimen, seed))  # initialisation takes longer
    except (RuntimeError, ValueError):  # lazy layers and older weight norms cannot be copied
        model = specimen.build(seed)
    if any(nn.parameter.is_lazy(parameter) for parameter in model.parameters()):
        _run(specimen, model)
    return model


def _run(specimen: Specimen, model: nn.Module, seed: int = 0) -> Tensor:
    """The loss on a batch."""
    if not specimen.large:
        return specimen.run(model, seed)
    args, kwargs = specimen.inputs(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return specimen.loss(model(*(each.bfloat16() for each in args), **kwargs)).float()


def _said(do: Callable[[], object]) -> str:
    try:
        do()
    except lthprune.LthpruneError as error:
        return _reason(error)
    return YES


def _reason(error: Exception) -> str:
    """The first sentence of a refusal."""
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")


def _prune(specimen: Specimen, selection: lthprune.Selection, form: str) -> None:
    model = _built(specimen)
    counts = lthprune.prune(model, 0.5, selection=selection, form=form)  # type: ignore[arg-type]
    total, left = (sum(getattr(count, part) for count in counts.values()) for part in ("total", "left"))
    assert left == total // 2, "not half of the weights"
    loss = _run(specimen, model)
    loss.backward()
    masks = lthprune.pruning.state.masks_of(model)
    for name, parameter in live_state(model).items():
        if name in masks and parameter.grad is not None:
            gradient = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
            assert not gradient[~masks[name]].any(), f"{name}: pruned weights have a gradient"
    expected = _run(specimen, _bare(specimen, model))
    assert torch.equal(loss, expected) or torch.allclose(loss, expected), "masks do not act"


def _bare(specimen: Specimen, model: nn.Module) -> nn.Module:
    """A fresh model with the pruned one's weights and the buffers that a fresh one has."""
    fresh = _built(specimen)
    state = snapshot(model)
    for name, tensor in fresh.named_parameters():
        tensor.data.copy_(state[name])
    return fresh


def _search(specimen: Specimen, selection: lthprune.Selection) -> tuple[nn.Module, lthprune.Tickets]:
    model = _built(specimen)
    before = snapshot(model)
    names = [name for name, _ in model.named_parameters()]
    level = iter(range(2))

    def train(model: nn.Module) -> None:
        number, start = next(level), snapshot(model)
        assert [name for name, _ in model.named_parameters()] == names, "parameters were renamed"
        pruned = {name: ~mask for name, mask in lthprune.pruning.state.masks_of(model).items()}
        for name, tensor in start.items():
            wanted = before[name].masked_fill(pruned[name], 0) if name in pruned else before[name]
            assert torch.equal(tensor, wanted), f"{name} is not the initial one at level {number}"
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=0.1)
        reached: set[str] = set()
        for step in range(1 if specimen.large else 2):
            optimizer.zero_grad()
            _run(specimen, model, seed=step).backward()
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    if parameter.grad.is_sparse:
                        parameter.grad = parameter.grad.to_dense()
                    if parameter.grad.any():
                        reached.add(name)
            real = [parameter for parameter in model.parameters() if not parameter.is_complex()]
            torch.nn.utils.clip_grad_value_(real, 1.0)  # batch norms over two samples explode
            optimizer.step()
        for name, parameter in model.named_parameters():
            if name in pruned:
                assert not parameter[pruned[name]].any(), f"{name}: pruned weights came back"
            if name in reached and parameter.dtype != torch.bfloat16:
                assert not torch.equal(parameter, start[name]), f"{name} received a gradient and did not move"

    tickets = lthprune.imp(model, train, levels=1, rate=0.5, selection=selection, progress=False)
    for name, mask in tickets[1].masks.items():
        assert not tickets[1].trained[name][~mask].any(), f"{name}: the ticket holds pruned weights"
    return model, tickets


def _ticket(specimen: Specimen, model: nn.Module, ticket: lthprune.Ticket) -> None:
    fresh = _built(specimen, seed=1)
    if _grows_buffers(specimen):
        _run(specimen, fresh)  # a buffer that the first forward pass registers
    with tempfile.TemporaryDirectory() as folder:
        loaded = lthprune.load_ticket(ticket.save(Path(folder) / "ticket.safetensors"))
    loaded.apply(fresh, "trained")
    _same_outputs(specimen, model, fresh)


@lru_cache(2)
def _pattern(specimen: Specimen, seed: int) -> nn.Module:
    return specimen.build(seed)


@cache
def _grows_buffers(specimen: Specimen) -> bool:
    """Whether the first forward pass registers a buffer, or gives one another shape."""
    model = _built(specimen)
    before = {name: buffer.shape for name, buffer in model.named_buffers()}
    _run(specimen, model)
    return {name: buffer.shape for name, buffer in model.named_buffers()} != before


def _export(specimen: Specimen, model: nn.Module) -> None:
    plain = lthprune.pruning.forms.without_pruning(model)
    fresh = _built(specimen, seed=1)
    if _grows_buffers(specimen):
        _run(specimen, fresh)
    fresh.load_state_dict(plain.state_dict())
    _same_outputs(specimen, model, fresh)


def _same_outputs(specimen: Specimen, one: nn.Module, other: nn.Module) -> None:
    args, kwargs = specimen.inputs(3)
    if specimen.large:
        args = tuple(each.bfloat16() for each in args)
    found = []
    for model in (one, other):
        mode = model.training
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            found.append([leaf.clone() for leaf in leaves(model.eval()(*args, **kwargs))])
        model.train(mode)
    assert len(found[0]) == len(found[1])
    for first, second in zip(*found, strict=True):
        assert torch.allclose(first, second, atol=1e-5, equal_nan=True), "outputs differ"


def _positional(specimen: Specimen) -> tuple[Tensor, ...]:
    args, kwargs = specimen.inputs(0)
    if kwargs or not all(isinstance(each, Tensor) for each in args):
        raise lthprune.PruningError("inputs that are not tensors, given by position")
    return tuple(each.bfloat16() for each in args) if specimen.large else args


def _states(specimen: Specimen, model: nn.Module, masks: dict[str, Tensor]) -> None:
    lthprune.neuron_states(copy.deepcopy(model), inputs=_positional(specimen), masks=masks)


def _compaction(specimen: Specimen, model: nn.Module) -> None:
    args = _positional(specimen)
    model = copy.deepcopy(model).eval()
    compacted = lthprune.compact(model, inputs=args)
    with torch.no_grad():
        outputs = list(leaves(model(*args))), list(leaves(compacted(*args)))
    for first, second in zip(*outputs, strict=True):
        assert torch.allclose(first, second, atol=1e-4), "compaction changed outputs"
