"""The searches for tickets: iterative magnitude pruning (IMP) and one-shot pruning (OSP).

Both are one descent over the levels. They differ in the ticket that the next masks are chosen from: IMP takes
the one before, OSP always the dense network, which it prunes to the very counts that IMP reaches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack, overload

from torch import nn

from lthprune.errors import PruningError, StorageError
from lthprune.masks import Masks
from lthprune.progress import levels_with_progress
from lthprune.pruning import BiasPruning, Pruning, Scope, choose_masks, current_masks, write_masks
from lthprune.rewinding import Rewind, Rewinder, rewinder_for
from lthprune.schedules import Explicit, Geometric, Rate, Schedule, Target
from lthprune.scores import Score, magnitude, score_named
from lthprune.seeds import Seeds
from lthprune.selection import Selection
from lthprune.state import State, check_fit, live_state, refresh, restore, snapshot
from lthprune.store import Stored, TicketStore
from lthprune.tickets import Metrics, Ticket, Tickets, check_metrics

Train = Callable[[Any], Any]


@dataclass(frozen=True)
class Search:
    """What to search for: how many levels, on which schedule, how to prune and how to rewind.

    ``seed`` is the root seed of scores that draw.
    """

    levels: int
    schedule: Schedule = field(default_factory=lambda: Geometric(0.2))
    pruning: Pruning = field(default_factory=Pruning)
    rewind: Rewind | Rewinder = "init"
    seed: int = 0

    def __post_init__(self) -> None:
        rewinder_for(self.rewind)
        Seeds(self.seed)

    def provenance(self, driver: str) -> dict[str, Any]:
        """Return where this search's tickets come from, in words fit for a file."""
        return {
            "driver": driver,
            "levels": self.levels,
            "schedule": repr(self.schedule),
            "scope": self.pruning.scope,
            "score": getattr(score_named(self.pruning.score), "__name__", repr(self.pruning.score)),
            "bias": self.pruning.bias,
            "min_survivors": self.pruning.min_survivors,
            "selection": self.pruning.selection.describe(),
            "rewind": str(self.rewind),
            "seed": self.seed,
        }


@overload
def imp_levels(model: nn.Module, train: Train, search: Search, stored: Stored | None = None) -> Iterator[Ticket]: ...
@overload
def imp_levels(
    model: Sequence[nn.Module], train: Train, search: Search, stored: Stored | None = None
) -> Iterator[tuple[Ticket, ...]]: ...
def imp_levels(
    model: nn.Module | Sequence[nn.Module], train: Train, search: Search, stored: Stored | None = None
) -> Iterator[Ticket] | Iterator[tuple[Ticket, ...]]:
    """Search by iterative magnitude pruning and yield each level's ticket as it is found.

    Args:
        model: the dense model, or a list of models of one architecture (a population).
        train: trains the model, or the list, in place; may return metrics, for a list one dict for each.
        search: levels, schedule, pruning, rewinding.
        stored: where to go on, of a search that was broken off.

    Yields:
        The ticket of level 0, 1, ...; for a population a tuple of tickets, one for each model.
    """
    return _levels("imp", model, train, search, stored)


@overload
def osp_levels(model: nn.Module, train: Train, search: Search, stored: Stored | None = None) -> Iterator[Ticket]: ...
@overload
def osp_levels(
    model: Sequence[nn.Module], train: Train, search: Search, stored: Stored | None = None
) -> Iterator[tuple[Ticket, ...]]: ...
def osp_levels(
    model: nn.Module | Sequence[nn.Module], train: Train, search: Search, stored: Stored | None = None
) -> Iterator[Ticket] | Iterator[tuple[Ticket, ...]]:
    """Search by one-shot pruning; as ``imp_levels``, but every level is pruned from the dense network."""
    return _levels("osp", model, train, search, stored)


class SearchWords(TypedDict, total=False):
    """The keyword arguments of ``imp`` and ``osp``."""

    levels: Required[int]
    rate: Rate
    target: float | int
    schedule: Schedule | Sequence[float | int]
    scope: Scope
    bias: BiasPruning | bool
    score: Score | str
    selection: Selection | None
    min_survivors: int
    rewind: Rewind | Rewinder
    store: str | Path | None
    on_level: Callable[[Any], object] | None
    seed: int
    progress: bool | None


@overload
def imp(model: nn.Module, train: Train, **words: Unpack[SearchWords]) -> Tickets: ...
@overload
def imp(model: Sequence[nn.Module], train: Train, **words: Unpack[SearchWords]) -> list[Tickets]: ...
def imp(model: nn.Module | Sequence[nn.Module], train: Train, **words: Unpack[SearchWords]) -> Tickets | list[Tickets]:
    """Find lottery tickets by iterative magnitude pruning (Frankle & Carbin 2019, section 2).

    Train; prune the lowest scores; rewind what is left; again. The model ends as the last ticket, trained; one that
    is pruned already goes on from what it has left.

    Args:
        model: any module, changed in place; or a list of modules of one architecture, which ``train`` then
            receives as a list.
        train: your training loop. Trains the model in place; may return a dict of metrics to keep.
        **words: what to search for:

            - ``levels``: the number of pruning rounds after the dense training.
            - ``rate`` (0.2 where nothing is said), ``target`` or ``schedule``: the fraction of the remaining weights
              that every level prunes (a number, or by layer kind or name); or what the last level leaves (a density
              as a float, a number of weights as an int); or a schedule, or a list of what each level leaves.
            - ``scope``: ``"global"`` (the default) or ``"layerwise"``.
            - ``bias``, ``score``, ``selection``, ``min_survivors``: see [`Pruning`][lthprune.Pruning].
            - ``rewind``: ``"init"`` (the default), ``Rewinder(at=step)``, ``"lr"`` or ``"none"``;
              see [`Rewinder`][lthprune.Rewinder].
            - ``store``: a folder that tickets are kept in; a search that finds its own there goes on after them.
            - ``on_level``: called with each level's ticket (a tuple of them for a list of models).
            - ``seed``: the root seed of scores that draw.
            - ``progress``: whether to show a progress bar; None shows one where there is a terminal.

    Returns:
        The tickets, level by level; for a list of models a list of these.

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
    return _search("imp", model, train, **words)


@overload
def osp(model: nn.Module, train: Train, **words: Unpack[SearchWords]) -> Tickets: ...
@overload
def osp(model: Sequence[nn.Module], train: Train, **words: Unpack[SearchWords]) -> list[Tickets]: ...
def osp(model: nn.Module | Sequence[nn.Module], train: Train, **words: Unpack[SearchWords]) -> Tickets | list[Tickets]:
    """Find lottery tickets by one-shot pruning; takes the words of ``imp``.

    The dense network is trained once. Every level prunes it anew, to the counts that IMP reaches at that level,
    rewinds what is left and trains it.

    Examples:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> [ticket.left for ticket in osp(model, lambda model: None, levels=3, rate=0.5, scope="layerwise")]
        [160, 80, 40, 20]
    """
    return _search("osp", model, train, **words)


def _search(
    driver: str,
    model: nn.Module | Sequence[nn.Module],
    train: Train,
    *,
    levels: int,
    rate: Rate | None = None,
    target: float | int | None = None,
    schedule: Schedule | Sequence[float | int] | None = None,
    scope: Scope = "global",
    bias: BiasPruning | bool = False,
    score: Score | str = magnitude,
    selection: Selection | None = None,
    min_survivors: int = 0,
    rewind: Rewind | Rewinder = "init",
    store: str | Path | None = None,
    on_level: Callable[[Any], object] | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Tickets | list[Tickets]:
    search = Search(
        levels=levels,
        schedule=schedule_from(rate, target, schedule),
        pruning=Pruning(scope, score, bias, selection or Selection(), min_survivors),
        rewind=rewind,
        seed=seed,
    )
    models = [model] if isinstance(model, nn.Module) else list(model)
    found: list[tuple[Ticket, ...]] = []
    keep = None if store is None else TicketStore(store)
    stored = None
    if keep is not None:
        if keep.exists:
            keep.check(search.provenance(driver))
            stored = keep.load()
        else:
            _plan(models, search)  # refuses what it refuses before anything is written
            keep.begin(search.provenance(driver), [snapshot(each) for each in models])
        found = [keep.level(level) for level in range(keep.finished)]
    finished = len(found)
    new = _levels(driver, model, train, search, stored)
    for level in levels_with_progress(new, total=levels + 1, done=finished, title=driver, show=progress):
        tickets = (level,) if isinstance(level, Ticket) else level
        if keep is not None:
            keep.append(tickets)
        found.append(tickets)
        if on_level is not None:
            on_level(level)
    if len(found) == finished:  # nothing was left to train
        for each, ticket in zip(models, found[-1], strict=True):
            ticket.apply(each, "trained")
    trials = [Tickets(trial) for trial in zip(*found, strict=True)]
    return trials[0] if isinstance(model, nn.Module) else trials


def schedule_from(
    rate: Rate | None, target: float | int | None, schedule: Schedule | Sequence[float | int] | None
) -> Schedule:
    """Return the schedule that one of three words stands for; 20 % per level where none is given."""
    given = [word for word in (rate, target, schedule) if word is not None]
    if len(given) > 1:
        raise PruningError("give one of rate, target and schedule, not several: each alone decides the counts.")
    if target is not None:
        return Target(target)
    if isinstance(schedule, Geometric | Target | Explicit):
        return schedule
    if schedule is not None:
        return Explicit(tuple(schedule))
    return Geometric(0.2 if rate is None else rate)


def _levels(
    driver: str,
    model: nn.Module | Sequence[nn.Module],
    train: Train,
    search: Search,
    stored: Stored | None,
) -> Iterator[Any]:
    if isinstance(model, nn.Module):
        for (ticket,) in _descend(driver, [model], lambda models: [train(models[0])], search, stored):
            yield ticket
    else:
        yield from _descend(driver, list(model), train, search, stored)


def _descend(
    driver: str, models: list[nn.Module], train: Train, search: Search, stored: Stored | None
) -> Iterator[tuple[Ticket, ...]]:
    plan = _plan(models, search)
    dense, last = (stored.dense, stored.last) if stored else ((), ())
    rewinder = rewinder_for(search.rewind)
    if rewinder is not None:
        rewinder.watch(*models)
    if stored is not None:
        _take_up(models, stored, rewinder)
    initial = [snapshot(model) for model in models]
    for level in range(last[0].level + 1 if last else 0, search.levels + 1):
        if dense and last:
            sources = last if driver == "imp" else dense
            for trial, model in enumerate(models):
                masks = _masks_after(search, model, sources[trial], plan[level], initial[trial], trial)
                restore(model, sources[trial].trained)  # the state that a resumed search starts from, too
                write_masks(search.pruning.tensors(model), masks)
            for model in models:
                if rewinder is not None:
                    rewinder.rewind(model)
        last = _trained(driver, models, train, search, rewinder, level)
        dense = dense or last
        yield last


def _take_up(models: Sequence[nn.Module], stored: Stored, rewinder: Rewinder | None) -> None:
    """Bring fresh models and a rewinder to where the stored search began; refuse before any of them is changed."""
    if len(stored.initial) != len(models):
        raise StorageError(f"the stored search has {len(stored.initial)} models; this one is given {len(models)}.")
    for model, state in zip(models, stored.initial, strict=True):
        check_fit(model, state, what="the stored initial state")
    origins = tuple(ticket.weights for ticket in stored.dense)
    if rewinder is not None and (origins or rewinder.at == 0):
        for model, state in zip(models, origins or stored.initial, strict=True):
            rewinder.adopt(model, state)
    for model, state in zip(models, stored.initial, strict=True):
        restore(model, state)


def _plan(models: Sequence[nn.Module], search: Search) -> list[tuple[int, ...]]:
    """Return the counts per level and pool; refuses a population that is none."""
    if not models:
        raise PruningError("there is no model to prune: the list is empty.")
    for model in models:
        search.pruning.tensors(model)
    states = [live_state(model) for model in models]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise PruningError("the models of a population share one architecture; these differ in names or shapes.")
    tensors = {id(tensor) for state in states for tensor in state.values()}
    if len(tensors) < sum(len({id(tensor) for tensor in state.values()}) for state in states):
        raise PruningError("models of the population share parameters; each needs parameters of its own.")
    return search.pruning.plan(models[0], search.schedule, search.levels)


def _masks_after(
    search: Search, model: nn.Module, source: Ticket, left: Sequence[int], initial: State, trial: int
) -> Masks:
    return choose_masks(
        search.pruning,
        search.pruning.pools(model),
        left,
        masks=source.masks,
        final=source.trained,
        initial=initial,
        generator=Seeds(search.seed).generator("mask", trial=trial, level=source.level),
    )


def _trained(
    driver: str, models: list[nn.Module], train: Train, search: Search, rewinder: Rewinder | None, level: int
) -> tuple[Ticket, ...]:
    rewinds = rewinder is not None and rewinder.weights
    starts = [] if rewinds else [snapshot(model) for model in models]
    metrics = _metrics(train(models), len(models))
    for model in models:
        refresh(model)
    return tuple(
        Ticket(
            level=level,
            masks=current_masks(search.pruning.tensors(model)),
            weights=rewinder.captured(model) if rewinder is not None and rewinds else starts[trial],
            trained=snapshot(model),
            metrics=metrics[trial],
            provenance=search.provenance(driver) | {"trial": trial},
        )
        for trial, model in enumerate(models)
    )


def _metrics(returned: object, trials: int) -> list[Metrics]:
    if returned is None:
        return [{} for _ in range(trials)]
    if not isinstance(returned, Sequence) or len(returned) != trials:
        raise PruningError(
            f"train() was given a list of {trials} models and returned a {type(returned).__name__}; "
            "return one dict of metrics for each model, or None."
        )
    return [check_metrics(metrics) for metrics in returned]
