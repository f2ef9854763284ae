"""The kinds of controls, and which of them apply to a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
    "snip-layerwise": "as snip, but as many weights in every layer",
    "iterative-snip": "the initial weights; masks by SNIP in 100 rounds, as many weights in total",
    "iterative-snip-layerwise": "as iterative-snip, but as many weights in every layer",
    "grasp": "the initial weights; masks by GraSP before any training, as many weights in total",
    "grasp-layerwise": "as grasp, but as many weights in every layer",
    "synflow": "the initial weights; masks by SynFlow in 100 rounds, as many weights in total",
    "synflow-layerwise": "as synflow, but as many weights in every layer",
    "early-bird": "weights and masks of the first epochs of training, once the masks settle, as many in total",
    "early-bird-layerwise": "as early-bird, but as many weights in every layer",
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


@dataclass(frozen=True)
class BeforeTraining:
    """A criterion that chooses masks before any training.

    Attributes:
        criterion: its name.
        rounds: of pruning, each with new scores.
        layerwise: whether each layer keeps as many weights as the ticket's, rather than all together.
    """

    criterion: Literal["snip", "grasp", "synflow"]
    rounds: int = 1
    layerwise: bool = False


BEFORE_TRAINING: dict[str, BeforeTraining] = {
    "snip": BeforeTraining("snip"),
    "snip-layerwise": BeforeTraining("snip", layerwise=True),
    "iterative-snip": BeforeTraining("snip", rounds=100),
    "iterative-snip-layerwise": BeforeTraining("snip", rounds=100, layerwise=True),
    "grasp": BeforeTraining("grasp"),
    "grasp-layerwise": BeforeTraining("grasp", layerwise=True),
    "synflow": BeforeTraining("synflow", rounds=100),
    "synflow-layerwise": BeforeTraining("synflow", rounds=100, layerwise=True),
}
EARLY_BIRDS: dict[str, bool] = {"early-bird": False, "early-bird-layerwise": True}  # whether each layer has its density
OWN_DENSE = ("reinitialised", "signs-kept", "constant")  # the kinds that change the dense network, too
WITHOUT_CHANCE = (  # a second repetition would equal the first
    "constant",
    "synflow",
    "synflow-layerwise",
    *EARLY_BIRDS,
    "inverted",
    "one-shot",
)
FROM_NOTHING = ("reinitialised", "signs-kept", "small-dense")  # the kinds that train from step 0 in every run

EARLY_BIRD_EPOCHS = 5  # whose masks are compared


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
    run.check_whole("Train controls")
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
    if kind in EARLY_BIRDS:
        return too_short_for_early_birds(recipe.train.steps, run.steps_per_epoch)
    if kind == "one-shot" and recipe.prune.method == "osp":
        return "the control 'one-shot' prunes in one shot, as this run does itself."
    if kind == "small-dense" and not recipe.model.listed:
        return (
            f"the control 'small-dense' builds narrower networks, and lthprune does not list the layers of "
            f"{recipe.model.name or recipe.model.kind}."
        )
    return None


def too_short_for_early_birds(steps: int, per_epoch: int | None) -> str | None:
    """Return why a training is too short for early-bird tickets; None if it is not, or if its epochs are unknown."""
    if per_epoch is None or steps > EARLY_BIRD_EPOCHS * per_epoch:
        return None
    return (
        f"early-bird tickets are drawn once the masks of {EARLY_BIRD_EPOCHS} epochs agree, and then trained further; "
        f"a level of this run has {steps:,} steps, and an epoch {per_epoch:,}. Run it with more steps, or smaller "
        "epochs."
    )
