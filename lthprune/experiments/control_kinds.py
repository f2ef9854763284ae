"""The kinds of controls, and which of them apply to a run."""

from collections.abc import Sequence

from lthprune.arguments import check_word
from lthprune.errors import RecipeError, StorageError
from lthprune.experiments.run import Run
from lthprune.pruning import Densities

CONTROLS: dict[str, str] = {
    "reinitialised": "the tickets' masks, weights and biases drawn anew by the recipe's initialiser",
    "signs-kept": "as reinitialised, but every weight keeps the sign of its initial value",
    "constant": "the tickets' masks; each weight has its sign and one magnitude per layer",
    "shuffled": "the initial weights; each layer's mask shuffled, so random masks with the run's densities",
    "shuffled-globally": "the initial weights; all masks shuffled as one",
    "random-uniform": "the initial weights; random masks with the same density in all layers",
    "random-erk": "the initial weights; random masks with Erdős-Rényi-Kernel densities",
    "snip": "the initial weights; masks by SNIP before any training, as many weights in total",
    "grasp": "the initial weights; masks by GraSP before any training, as many weights in total",
    "synflow": "the initial weights; masks by SynFlow in 100 rounds, as many weights in total",
    "inverted": "a search from the same dense network that prunes the highest scores",
    "one-shot": "one-shot pruning of the same dense network",
    "small-dense": "a narrower dense network with about as many weights",
    "dense-longer": "the dense network, trained on with as many steps as the search has made",
}
"""The kinds of controls, and what each trains."""

DENSITIES: dict[str, Densities] = {
    "shuffled": "layers",
    "shuffled-globally": "global",
    "random-uniform": "uniform",
    "random-erk": "erk",
}
BEFORE_TRAINING = ("snip", "grasp", "synflow")
OWN_DENSE = ("reinitialised", "signs-kept", "constant")  # the kinds that change the dense network, too
WITHOUT_CHANCE = ("constant", "synflow", "inverted", "one-shot")  # a second repetition would equal the first
FROM_NOTHING = ("reinitialised", "signs-kept", "small-dense")  # the kinds that train from step 0 in every run


def plan_controls(run: Run, kinds: Sequence[str], repeats: int = 1) -> list[tuple[str, int]]:
    """Return the kinds and repetitions to train for a run; trains nothing.

    Args:
        run: the run to control.
        kinds: keys of ``CONTROLS``, or ``"all"`` for all that apply to the run.
        repeats: how many of each kind for every trial; kinds that draw nothing at random have one.

    Raises:
        PruningError: a kind is unknown.
        RecipeError: a kind that was named does not apply to the run.
        StorageError: the run is itself a control, or no level of it is finished.
    """
    for kind in kinds:
        check_word("control", kind, (*CONTROLS, "all"))
        if kind != "all":
            refuse_control(run, kind)
    chosen = [kind for kind in CONTROLS if kind in kinds or ("all" in kinds and _reason_against(run, kind) is None)]
    return [(kind, repeat) for kind in chosen for repeat in range(1 if kind in WITHOUT_CHANCE else repeats)]


def refuse_control(run: Run, kind: str) -> None:
    """Raise an error if the control does not apply to the run."""
    if run.control is not None:
        raise StorageError(f"{run.folder} is itself a control. Name the run that it controls: {run.folder.parents[1]}")
    run.check_started()
    reason = _reason_against(run, kind)
    if reason is not None:
        raise RecipeError(f"{reason} Choose another control, such as reinitialised.")


def _reason_against(run: Run, kind: str) -> str | None:
    """Return why a kind of control does not apply to a run; None if it does."""
    recipe = run.recipe()
    rewind = recipe.prune.rewind if run.transfer is None else run.transfer["rewind"]
    if kind in ("one-shot", "inverted") and run.transfer is not None:
        return f"the control {kind!r} searches, and the tickets of this run were found by another run on its own data."
    if kind in (*DENSITIES, *BEFORE_TRAINING) and rewind in ("lr", "none"):
        return (
            f"the control {kind!r} gives other masks to the weights that a run rewinds to, and this run keeps its "
            f"trained weights (prune.rewind = {rewind!r})."
        )
    if kind == "one-shot" and recipe.prune.method == "osp":
        return "the control 'one-shot' prunes in one shot, as this run does itself."
    if kind == "small-dense" and not recipe.model.listed:
        return (
            f"the control 'small-dense' builds narrower networks, and lthprune does not list the layers of "
            f"{recipe.model.name or recipe.model.kind}."
        )
    return None
