"""``imp`` and ``osp``: whole searches in one call, with a store to continue from and a progress bar."""

from __future__ import annotations  # help() then shows annotations as they are written

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from torch import nn

from lthprune.pruning import (
    BiasPruning,
    Form,
    Pruning,
    Rate,
    Schedule,
    Scope,
    Score,
    Selection,
    convert,
    warn_of_gaps,
)
from lthprune.search.collection import Tickets
from lthprune.search.findings import FoundTickets
from lthprune.search.generators import imp_levels, osp_levels
from lthprune.search.progress import levels_with_progress
from lthprune.search.ranks import ranks_of
from lthprune.search.rewinding import Rewind, Rewinder
from lthprune.search.settings import Search, schedule_from
from lthprune.search.trainings import Train, models_of


@overload
def imp(
    model: nn.Module,
    train: Train,
    *,
    levels: int,
    rate: Rate | None = None,
    target: float | int | None = None,
    schedule: Schedule | Sequence[float | int] | None = None,
    scope: Scope = "global",
    score: Score | str = "magnitude",
    bias: BiasPruning = False,
    selection: Selection | None = None,
    min_survivors: int = 0,
    rewind: Rewind | Rewinder = "init",
    seed: int = 0,
    form: Form = "plain",
    final_form: Form = "torch",
    store: str | Path | None = None,
    on_level: Callable[[Any], object] | None = None,
    progress: bool | None = None,
) -> Tickets: ...
@overload
def imp(
    model: Sequence[nn.Module],
    train: Train,
    *,
    levels: int,
    rate: Rate | None = None,
    target: float | int | None = None,
    schedule: Schedule | Sequence[float | int] | None = None,
    scope: Scope = "global",
    score: Score | str = "magnitude",
    bias: BiasPruning = False,
    selection: Selection | None = None,
    min_survivors: int = 0,
    rewind: Rewind | Rewinder = "init",
    seed: int = 0,
    form: Form = "plain",
    final_form: Form = "torch",
    store: str | Path | None = None,
    on_level: Callable[[Any], object] | None = None,
    progress: bool | None = None,
) -> list[Tickets]: ...
def imp(
    model: nn.Module | Sequence[nn.Module],
    train: Train,
    *,
    levels: int,
    rate: Rate | None = None,
    target: float | int | None = None,
    schedule: Schedule | Sequence[float | int] | None = None,
    scope: Scope = "global",
    score: Score | str = "magnitude",
    bias: BiasPruning = False,
    selection: Selection | None = None,
    min_survivors: int = 0,
    rewind: Rewind | Rewinder = "init",
    seed: int = 0,
    form: Form = "plain",
    final_form: Form = "torch",
    store: str | Path | None = None,
    on_level: Callable[[Any], object] | None = None,
    progress: bool | None = None,
) -> Tickets | list[Tickets]:
    """Find lottery tickets by iterative magnitude pruning (Frankle & Carbin 2019, section 2).

    Trains the model, prunes the weights with the lowest scores, rewinds the remaining weights, and repeats. The model
    ends as the last ticket, trained. A model that is already pruned is pruned further.

    Args:
        model: any module, changed in place; or a list of modules of one architecture (a population), which ``train``
            then receives as a list.
        train: your training loop, ``train(model)`` or ``train(model, level)``; see
            [`Level`][lthprune.search.Level]. Trains the model in place; may return a dict of metrics to keep.
        levels: the number of pruning rounds after the dense training.
        rate: the fraction of the remaining weights that each level prunes, in [0, 1]: a number, or a dict by layer
            kind or name pattern. 0.2 by default.
        target: instead of ``rate``, what the last level keeps: a density (float) or a number of weights (int).
        schedule: instead of ``rate``, a [`Geometric`][lthprune.Geometric], [`Target`][lthprune.Target] or
            [`Explicit`][lthprune.Explicit], or a list with what each level keeps: densities or numbers of weights.
        scope: ``"global"`` (all weights compete) or ``"layerwise"`` (each layer separately).
        score: the criterion: a function from a [`Candidate`][lthprune.pruning.Candidate] to scores, or the name of a
            built-in one; the lowest scores are pruned.
        bias: ``False`` leaves biases unpruned; ``"separate"`` (or ``True``) prunes them in scopes of their own, at the
            same rate; ``"together"`` lets them compete with the weights.
        selection: which parameters are prunable; by default those of [`Selection()`][lthprune.Selection].
        min_survivors: the smallest number of weights that every tensor keeps.
        rewind: ``"init"``, ``Rewinder(at=step)``, ``"lr"`` or ``"none"``; see [`Rewinder`][lthprune.Rewinder].
        seed: the root seed of random scores.
        form: how masks act while ``train`` runs: ``"plain"`` (``weight`` stays the parameter) or ``"torch"``
            (``weight_orig``, ``weight_mask`` and a hook); see [`convert`][lthprune.convert].
        final_form: the form that the model ends in.
        store: a folder that keeps every ticket; the same search continues after the tickets that it finds there.
        on_level: called with each level's ticket (a tuple of them for a list of models).
        progress: whether to show a progress bar; None shows one on a terminal.

    Returns:
        The tickets, level by level; for a list of models one ``Tickets`` for each.

    Raises:
        PruningError: the model, schedule or score is refused before anything is trained.
        StorageError: the store holds another search or is damaged.

    Examples:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> def train(model):
        ...     return {"val_acc": 0.5}  # your loop, your data
        >>> tickets = imp(model, train, levels=3, rate=0.5, scope="layerwise")
        >>> [ticket.left for ticket in tickets]
        [160, 80, 40, 20]
    """
    models = models_of(model, train)
    search = Search(
        levels=levels,
        schedule=schedule_from(rate, target, schedule),
        pruning=Pruning(scope, score, bias, selection or Selection(), min_survivors),
        rewind=rewind,
        seed=seed,
        form=form,
        final_form=final_form,
    )
    if models and selection is None:
        warn_of_gaps(models[0])
    return _run("imp", model, models, train, search, store, on_level, progress)


@overload
def osp(
    model: nn.Module,
    train: Train,
    *,
    levels: int,
    rate: Rate | None = None,
    target: float | int | None = None,
    schedule: Schedule | Sequence[float | int] | None = None,
    scope: Scope = "global",
    score: Score | str = "magnitude",
    bias: BiasPruning = False,
    selection: Selection | None = None,
    min_survivors: int = 0,
    rewind: Rewind | Rewinder = "init",
    seed: int = 0,
    form: Form = "plain",
    final_form: Form = "torch",
    store: str | Path | None = None,
    on_level: Callable[[Any], object] | None = None,
    progress: bool | None = None,
) -> Tickets: ...
@overload
def osp(
    model: Sequence[nn.Module],
    train: Train,
    *,
    levels: int,
    rate: Rate | None = None,
    target: float | int | None = None,
    schedule: Schedule | Sequence[float | int] | None = None,
    scope: Scope = "global",
    score: Score | str = "magnitude",
    bias: BiasPruning = False,
    selection: Selection | None = None,
    min_survivors: int = 0,
    rewind: Rewind | Rewinder = "init",
    seed: int = 0,
    form: Form = "plain",
    final_form: Form = "torch",
    store: str | Path | None = None,
    on_level: Callable[[Any], object] | None = None,
    progress: bool | None = None,
) -> list[Tickets]: ...
def osp(
    model: nn.Module | Sequence[nn.Module],
    train: Train,
    *,
    levels: int,
    rate: Rate | None = None,
    target: float | int | None = None,
    schedule: Schedule | Sequence[float | int] | None = None,
    scope: Scope = "global",
    score: Score | str = "magnitude",
    bias: BiasPruning = False,
    selection: Selection | None = None,
    min_survivors: int = 0,
    rewind: Rewind | Rewinder = "init",
    seed: int = 0,
    form: Form = "plain",
    final_form: Form = "torch",
    store: str | Path | None = None,
    on_level: Callable[[Any], object] | None = None,
    progress: bool | None = None,
) -> Tickets | list[Tickets]:
    """Find lottery tickets by one-shot pruning; takes the arguments of [`imp`][lthprune.imp].

    Trains the dense network once. Each level then prunes the trained dense network to the counts that IMP reaches at
    that level, rewinds the remaining weights and trains them.

    Examples:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> [ticket.left for ticket in osp(model, lambda model: None, levels=3, rate=0.5, scope="layerwise")]
        [160, 80, 40, 20]
    """
    models = models_of(model, train)
    search = Search(
        levels=levels,
        schedule=schedule_from(rate, target, schedule),
        pruning=Pruning(scope, score, bias, selection or Selection(), min_survivors),
        rewind=rewind,
        seed=seed,
        form=form,
        final_form=final_form,
    )
    if models and selection is None:
        warn_of_gaps(models[0])
    return _run("osp", model, models, train, search, store, on_level, progress)


def _run(
    driver: str,
    model: nn.Module | Sequence[nn.Module],
    models: Sequence[nn.Module],
    train: Train,
    search: Search,
    store: str | Path | None,
    on_level: Callable[[Any], object] | None,
    progress: bool | None,
) -> Tickets | list[Tickets]:
    ranks = ranks_of(models)
    with ranks.together():
        found = FoundTickets(driver, search, store, on_level)
    finished, show = len(found), progress if ranks.first else False
    levels_of = imp_levels if driver == "imp" else osp_levels
    try:
        stored = found.begin(models, ranks)
        if stored is not None and not isinstance(model, nn.Module):
            model = [models[trial] for trial in stored.trials]
        new: Iterator[Any] = levels_of(model, train, search, stored, found.fail) if not found.complete else iter(())
        for level in levels_with_progress(new, total=search.levels + 1, done=finished, title=driver, show=show):
            found.append(level)
        found.give_up()
    finally:
        found.end()
    if len(found) == finished:  # the store had all levels already
        for ticket in found[-1] if found else ():
            convert(ticket.apply(models[ticket.trial], "trained"), search.final_form)
    trials = [Tickets(each for level in found for each in level if each.trial == trial) for trial in range(len(models))]
    return trials[0] if isinstance(model, nn.Module) else trials
