"""The front door: ``imp`` and ``osp`` in one call, with a store to go on from and a bar to watch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack, overload

from torch import nn

from lthprune.errors import PruningError, suggestion
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
    magnitude,
    warn_of_gaps,
)
from lthprune.search.descent import imp_levels, osp_levels
from lthprune.search.findings import FoundTickets
from lthprune.search.progress import levels_with_progress
from lthprune.search.rewinding import Rewind, Rewinder
from lthprune.search.settings import Search, Train, models_of, schedule_from
from lthprune.search.tickets import Tickets


class SearchOptions(TypedDict, total=False):
    """The keyword arguments of a search, whoever runs its trainings."""

    levels: Required[int]
    rate: Rate
    target: float | int
    schedule: Schedule | Sequence[float | int]
    scope: Scope
    bias: BiasPruning
    score: Score | str
    selection: Selection | None
    min_survivors: int
    rewind: Rewind | Rewinder
    store: str | Path | None
    on_level: Callable[[Any], object] | None
    seed: int


class SearchWords(SearchOptions, total=False):
    """The keyword arguments of ``imp`` and ``osp``."""

    form: Form
    final_form: Form
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
            - ``rate`` (0.2 by default), ``target`` or ``schedule``: the fraction of the remaining weights
              that every level prunes (a number, or by layer kind or name); or what the last level leaves (a density
              as a float, a number of weights as an int); or a schedule, or a list of what each level leaves.
            - ``scope``: ``"global"`` (the default) or ``"layerwise"``.
            - ``bias``, ``score``, ``selection``, ``min_survivors``: see [`Pruning`][lthprune.pruning.Pruning].
            - ``rewind``: ``"init"`` (the default), ``Rewinder(at=step)``, ``"lr"`` or ``"none"``;
              see [`Rewinder`][lthprune.Rewinder].
            - ``store``: a folder that tickets are kept in; a search that finds its own there goes on after them.
            - ``on_level``: called with each level's ticket (a tuple of them for a list of models).
            - ``seed``: the root seed of scores that draw.
            - ``form``: how masks act while ``train`` runs: ``"plain"`` (the default; ``weight`` stays the parameter)
              or ``"torch"`` (``weight_orig``, ``weight_mask`` and a hook); see [`convert`][lthprune.convert].
            - ``final_form``: the form that the model ends in: ``"torch"`` (the default) or ``"plain"``.
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
    return _search("imp", model, train, words)


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
    return _search("osp", model, train, words)


def _search(
    driver: str, model: nn.Module | Sequence[nn.Module], train: Train, words: SearchWords
) -> Tickets | list[Tickets]:
    check_words(f"{driver}()", words, SearchWords, example=f"{driver}(model, train, levels=12)")
    models = models_of(model, train)
    search = search_from(words, form=words.get("form", "plain"), final_form=words.get("final_form", "torch"))
    if models and words.get("selection") is None:
        warn_of_gaps(models[0])
    found = FoundTickets(driver, search, words.get("store"), words.get("on_level"))
    finished, stored = len(found), found.begin(models)
    levels_of = imp_levels if driver == "imp" else osp_levels
    new: Iterator[Any] = levels_of(model, train, search, stored)
    show, total = words.get("progress"), search.levels + 1
    for level in levels_with_progress(new, total=total, done=finished, title=driver, show=show):
        found.append(level)
    if len(found) == finished:  # nothing was left to train
        for each, ticket in zip(models, found[-1], strict=True):
            convert(ticket.apply(each, "trained"), search.final_form)
    trials = [Tickets(trial) for trial in zip(*found, strict=True)]
    return trials[0] if isinstance(model, nn.Module) else trials


def check_words(what: str, words: Mapping[str, object], known: type, *, example: str) -> None:
    """Raise a TypeError if a keyword argument of a search is unknown, a PruningError if ``levels`` is missing."""
    for word in words:
        if word not in known.__annotations__:
            raise TypeError(f"{what} has no argument {word!r}{suggestion(word, known.__annotations__)}")
    if "levels" not in words:
        raise PruningError(
            f"levels= is missing: the number of pruning rounds after the dense training, as in {example}."
        )


def search_from(words: SearchOptions, *, form: Form, final_form: Form) -> Search:
    """Return the search that keyword arguments of ``imp`` stand for."""
    return Search(
        levels=words["levels"],
        schedule=schedule_from(words.get("rate"), words.get("target"), words.get("schedule")),
        pruning=Pruning(
            scope=words.get("scope", "global"),
            score=words.get("score", magnitude),
            bias=words.get("bias", False),
            selection=words.get("selection") or Selection(),
            min_survivors=words.get("min_survivors", 0),
        ),
        rewind=words.get("rewind", "init"),
        seed=words.get("seed", 0),
        form=form,
        final_form=final_form,
    )
