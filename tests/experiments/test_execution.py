import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lthprune.analysis.neurons import neuron_states
from lthprune.analysis.splitting import find_splitting
from lthprune.data.loading import tasks_of
from lthprune.errors import DataError, LthpruneError, RecipeError, StorageError
from lthprune.experiments.environment import find_device
from lthprune.experiments.execution import resume_run, run_recipe
from lthprune.experiments.experiment import Watcher, prepare
from lthprune.experiments.recipe import Recipe
from lthprune.experiments.run import Run
from lthprune.pruning.masks import Masks
from lthprune.pruning.state import State, restore, snapshot
from lthprune.search.tickets import Ticket
from lthprune.seeds import Seeds
from lthprune.training.loop import evaluate, train
from lthprune.training.record import HISTORIES, Evaluation
from tests.nets import all_bits
from tests.tiny import REWINDS, contents, copied_before_writes, joined, tiny, toys, write_npz

METHODS = ["imp", "osp"]
PLAIN = "train.engine=reference"  # the same bits as the plain loop, and whoever else is trained
VARIED = ("run.keep_early_stop=true", "train.optimizer=sgd", "train.momentum=0.9", "train.weight_decay=0.1")
NORMED = ("model.kind=plan", 'model.conv=["2B", "M"]', "train.steps=3", "prune.rate=0.3")


def tickets(run: Run) -> list[tuple[Ticket, ...]]:
    return [run.tickets.level(level) for level in range(run.tickets.finished)]


def masked(state: State, masks: Masks) -> State:
    return {name: tensor * masks[name] if name in masks else tensor for name, tensor in state.items()}


def trained_by_hand(recipe: Recipe, trial: int, steps: int) -> State:
    """The dense network of one trial after some steps."""
    experiment = prepare(recipe)
    model = experiment.models[trial]
    plan = recipe.train.model_copy(update={"steps": steps})
    train(model, experiment.data, plan, Seeds(recipe.run.seed).generator("order", trial=trial))
    return snapshot(model)


@pytest.mark.parametrize("rewind", REWINDS)
@pytest.mark.parametrize("method", METHODS)
def test_every_ticket_begins_where_its_rewinding_says(tmp_path: Path, method: str, rewind: str) -> None:
    recipe = tiny(PLAIN, f"prune.rewind={rewind}", f"prune.method={method}", *VARIED)
    levels = tickets(run_recipe(recipe, "tiny", out=tmp_path))
    for trial in range(2):
        initial = snapshot(prepare(recipe).models[trial])
        assert all_bits(levels[0][trial].trained) == all_bits(trained_by_hand(recipe, trial, 6))
        at_three = trained_by_hand(recipe, trial, 3)
        for before, level in pairwise(levels):
            ticket, source = level[trial], before if method == "imp" else levels[0]
            last = source[trial].trained
            start = {"init": initial, "3": at_three, "lr": last, "none": last}[rewind]
            begun = masked(start, ticket.masks)
            assert all(torch.equal(masked(ticket.weights, ticket.masks)[name], begun[name]) for name in begun)
            for name, mask in ticket.masks.items():
                assert not (mask & ~before[trial].masks[name]).any()
                assert not ticket.trained[name][~mask].any()


@pytest.mark.parametrize("method", METHODS)
def test_one_shot_pruning_chooses_from_the_dense_network_and_iterative_from_the_level_before(
    tmp_path: Path, method: str
) -> None:
    levels = tickets(run_recipe(tiny(f"prune.method={method}"), "tiny", out=tmp_path))
    for trial in range(2):
        source = levels[0 if method == "osp" else 1][trial]
        for name, mask in levels[2][trial].masks.items():
            scores = source.trained[name].abs().masked_fill(~source.masks[name], -1)
            assert set(scores[mask].tolist()) == set(scores.flatten().topk(int(mask.sum())).values.tolist())


def test_trials_are_independent_of_one_another_and_differ(tmp_path: Path) -> None:
    two, one = (run_recipe(tiny(PLAIN, f"run.trials={trials}"), "tiny", out=tmp_path) for trials in (2, 1))
    for both, (alone,) in zip(tickets(two), tickets(one), strict=True):
        assert all_bits(both[0].trained) == all_bits(alone.trained) != all_bits(both[1].trained)
        assert all_bits(both[0].masks) == all_bits(alone.masks)
        assert all_bits(both[0].weights) == all_bits(alone.weights) != all_bits(both[1].weights)


def test_the_same_seed_gives_the_same_run_and_another_gives_another(tmp_path: Path) -> None:
    first, again, other = (run_recipe(tiny(f"run.seed={seed}"), "tiny", out=tmp_path) for seed in (5, 5, 6))
    assert contents(first.folder) == contents(again.folder)
    assert contents(first.folder) != contents(other.folder)


def test_a_trial_of_a_listed_seed_is_the_only_trial_of_a_run_with_that_seed(tmp_path: Path) -> None:

    listed = run_recipe(tiny(PLAIN, "run.trials=3", "run.seed=[5, 2, 9]"), "tiny", out=tmp_path)
    alone = run_recipe(tiny(PLAIN, "run.trials=1", "run.seed=5"), "tiny", out=tmp_path)
    for both, (ticket,) in zip(tickets(listed), tickets(alone), strict=True):
        assert all_bits(both[0].trained) == all_bits(ticket.trained)
        assert all_bits(both[0].masks) == all_bits(ticket.masks)
    for trial, seed in enumerate((5, 2, 9)):
        one = prepare(tiny("run.trials=1", f"run.seed={seed}")).models[0]
        assert all_bits(listed.tickets.load().initial[trial]) == all_bits(snapshot(one))
        assert all_bits(snapshot(listed.model(trial))) == all_bits(snapshot(one))


def test_the_listed_seeds_decide_a_trials_order_and_the_first_of_them_the_data_split(tmp_path: Path) -> None:
    listed = tiny(PLAIN, "run.trials=2", "run.seed=[5, 2]")
    ticket = run_recipe(listed, "tiny", out=tmp_path).tickets.level(0)[1]
    model, data = prepare(listed).models[1], prepare(tiny("run.seed=5")).data
    assert torch.equal(prepare(listed).data.x_val, data.x_val)
    train(model, data, listed.train, Seeds(2).generator("order"))
    assert all_bits(ticket.trained) == all_bits(snapshot(model))


@pytest.mark.parametrize("method", METHODS)
def test_fine_tuning_keeps_to_the_last_learning_rate_and_learning_rate_rewinding_starts_again(
    tmp_path: Path, method: str
) -> None:
    words = (f"prune.method={method}", "train.lr_milestones=[3]", "train.lr_gamma=1e-30", "train.optimizer=sgd")
    tuned, again = (
        tickets(run_recipe(tiny(f"prune.rewind={rewind}", *words), "tiny", out=tmp_path)) for rewind in ("none", "lr")
    )
    for level in (1, 2):
        for trial in range(2):
            begun, done = tuned[level][trial].weights, tuned[level][trial].trained
            assert all(torch.equal(masked(begun, tuned[level][trial].masks)[name], done[name]) for name in done)
            assert all_bits(again[level][trial].weights) != all_bits(again[level][trial].trained)


@pytest.mark.parametrize(
    ("bias", "names"),
    [("false", {"weight"}), ("separate", {"weight", "bias"}), ("together", {"weight", "bias"})],
)
def test_biases_are_pruned_on_request(tmp_path: Path, bias: str, names: set[str]) -> None:
    recipe = tiny(f"prune.bias={bias}", "prune.rate=0.5", "run.trials=1")
    *_, (last,) = tickets(run_recipe(recipe, "tiny", out=tmp_path))
    assert {name.rpartition(".")[2] for name in last.masks} == names
    if "bias" in names:
        assert 0 < sum(int(mask.sum()) for name, mask in last.masks.items() if "bias" in name) < 18


def test_the_state_at_early_stopping_is_kept_on_request_and_scores_as_the_history_says(tmp_path: Path) -> None:
    recipe = tiny(*VARIED, "train.lr=0.5", "train.steps=12")
    run, experiment = run_recipe(recipe, "tiny", out=tmp_path), prepare(recipe)
    for level in tickets(run):
        for trial, ticket in enumerate(level):
            model = experiment.models[trial]
            restore(model, {name: torch.as_tensor(each) for name, each in ticket.metrics["early_stop_state"].items()})
            data = experiment.data
            score = evaluate(model, data.x_val, data.y_val, data.tasks)
            assert (score.loss, score.acc) == pytest.approx(
                (ticket.metrics["val_loss"], ticket.metrics["val_acc"]), rel=1e-5
            )
    assert "early_stop_state" not in tickets(run_recipe(tiny(), "tiny", out=tmp_path))[0][0].metrics


@pytest.mark.parametrize(("words", "made"), [(("train.patience=1", "train.min_delta=9"), 2), (("prune.rewind=3",), 3)])
def test_what_was_not_measured_is_nan(tmp_path: Path, words: tuple[str, ...], made: int) -> None:
    histories = run_recipe(tiny(*words), "tiny", out=tmp_path).histories()
    for curve in histories.curves.values():
        assert np.isnan(curve[:, 0]).sum() == 2 * (3 - made)
        assert (np.isnan(curve[:, 1:, 0])).all() == ("rewind" in words[0])


def test_the_watcher_sees_the_directory_every_evaluation_and_every_level(tmp_path: Path) -> None:
    begun, seen, levels = [], [], []

    def look(level: int, trial: int, evaluation: Evaluation) -> None:
        seen.append((level, trial, evaluation.step))

    def count(found: Sequence[Ticket]) -> None:
        levels.append(([ticket.level for ticket in found], begun[0].tickets.finished))

    run_recipe(tiny(), "tiny", out=tmp_path, watcher=Watcher(begun.append, look, on_level=count))
    assert len(begun) == 1
    assert seen == [(level, trial, step) for level in range(3) for step in (2, 4, 6) for trial in range(2)]
    assert levels == [([level] * 2, level + 1) for level in range(3)]


@pytest.mark.parametrize(
    "words",
    [
        ("train.batch_size=5000",),
        ("data.validation=1437",),
        ("prune.densities=[0.5]",),
        ("prune.target=100000",),
        ("prune.include=['nope']",),
        ("prune.rate={conv=0.5}",),
        ("model.kind=plan", 'model.conv=["M", "M", "M", "M"]'),
        ("data.name=/nowhere/own.npz",),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_written(tmp_path: Path, words: Sequence[str]) -> None:
    with pytest.raises(LthpruneError):
        run_recipe(tiny(*words), "tiny", out=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_device_and_one_that_is_not_there_are_refused() -> None:
    with pytest.raises(LthpruneError, match="unknown device 'tpu'"):
        find_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(LthpruneError, match="--device cpu"):
            find_device("cuda")


class Killed(BaseException):
    """What no one handles."""


def moments(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, list[Path]]:
    """Run a recipe, and copy what a kill before any of its writes would leave."""
    return copied_before_writes(folder, monkeypatch, lambda out: run_recipe(recipe, "tiny", out=out))


@pytest.mark.parametrize(
    "words",
    [
        (),
        (*VARIED, "prune.rewind=3", "prune.bias=together"),
        ("prune.method=osp", "prune.score=random", *NORMED),
        ("prune.rewind=lr", "prune.score=movement", *NORMED),
        ("prune.method=osp", "prune.rewind=none", "run.trials=1"),
        ("train.engine=sparse", "prune.rate=0.5", "train.optimizer=adamw"),
        ("run.seed=[4, 1]", "prune.score=random"),
    ],
    ids=" ".join,
)
def test_a_run_killed_before_any_of_its_writes_resumes_to_the_same_bits(
    tmp_path: Path, words: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, copies = moments(tiny(*words), tmp_path, monkeypatch)
    resumable = [copy for copy in copies if (copy / "manifest.json").exists()]
    assert len(resumable) == 3 * (4 + whole.recipe().run.trials) + 1
    expected = contents(whole.folder)
    for copy in resumable:
        killed = Run(copy)
        told = [] if not killed.tickets.finished else [killed.histories(), killed.gather_histories()]
        assert not told or all(np.array_equal(told[0].curves[n], told[1].curves[n], equal_nan=True) for n in HISTORIES)
        assert contents(resume_run(Run(copy)).folder) == expected, copy
    for copy in set(copies) - set(resumable):
        with pytest.raises(StorageError, match="holds no run"):
            resume_run(Run(copy))


@settings(max_examples=12)
@given(
    stops=st.lists(st.integers(1, 18), min_size=1, max_size=4),
    rewind=st.sampled_from(REWINDS),
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 9),
)
def test_a_run_broken_off_in_any_training_again_and_again_ends_with_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], rewind: str, method: str, seed: int
) -> None:
    out = tmp_path_factory.mktemp("runs")
    recipe = tiny(f"prune.rewind={rewind}", f"prune.method={method}", f"run.seed={seed}", *VARIED)
    whole = run_recipe(recipe, "tiny", out=out)
    begun: list[Run] = []
    left = 0

    def stop(level: int, trial: int, evaluation: Evaluation) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    for left in stops:  # noqa: B007
        watcher = Watcher(begun.append, stop)
        try:
            broken = (
                resume_run(begun[0], watcher=watcher) if begun else run_recipe(recipe, "t", out=out, watcher=watcher)
            )
        except Killed:
            broken = begun[0]
    assert contents(resume_run(broken).folder) == contents(whole.folder)


def test_resuming_a_finished_run_changes_no_file(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    before = {path: path.read_bytes() for path in run.folder.rglob("*.*")}
    assert resume_run(run).tickets.finished == 3
    assert {path: path.read_bytes() for path in run.folder.rglob("*.*")} == before


def test_missing_histories_are_written_anew_from_the_tickets(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    before = contents(run.folder)
    (run.folder / "histories.npz").unlink()
    assert contents(resume_run(run).folder) == before


def test_a_run_is_not_resumed_on_other_data_and_not_without_data(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz")
    words = ("data.validation=10", "train.batch_size=10")
    run = run_recipe(tiny(f"data.name={path}", *words), "tiny", out=tmp_path / "runs")
    before = contents(run.folder)
    write_npz(path, seed=1)
    with pytest.raises(StorageError, match="are not those that it began with: their files were changed"):
        resume_run(run)
    path.unlink()
    with pytest.raises(DataError, match="no file"):
        resume_run(run)
    assert contents(run.folder) == before


def test_a_run_leaves_torchs_flags_and_random_state_as_they_were(tmp_path: Path) -> None:
    flags = (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.is_grad_enabled())
    before = torch.get_rng_state()
    run_recipe(tiny("prune.score=random"), "tiny", out=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert flags == (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.is_grad_enabled())


@pytest.mark.parametrize("condition", ["separated", "degraded"])
def test_a_run_ends_after_the_level_that_it_waits_for_and_says_why(tmp_path: Path, condition: str) -> None:
    run = run_recipe(toys(f"run.stop_when={condition}"), "toys", out=tmp_path)
    statuses = [
        [
            find_splitting(neuron_states(run.model(trial), masks=ticket.masks), tasks_of(run.recipe().data)).status
            for trial, ticket in enumerate(run.tickets.level(level))
        ]
        for level in range(run.tickets.finished)
    ]
    assert run.tickets.finished < 9
    assert run.complete
    assert set(statuses[-1]) <= {condition, "degraded"}
    assert all("interconnected" in before or not set(before) <= {condition, "degraded"} for before in statuses[:-1])
    assert run.tickets.ended is not None
    assert run.tickets.ended.endswith("degraded")


def test_a_run_that_ended_is_not_gone_on_with(tmp_path: Path) -> None:
    run = run_recipe(toys("run.stop_when=degraded"), "toys", out=tmp_path)
    before = {path: path.read_bytes() for path in run.folder.rglob("*.*")}
    resume_run(run)
    assert {path: path.read_bytes() for path in run.folder.rglob("*.*")} == before


def test_a_run_killed_before_it_noted_its_end_ends_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, copies = moments(toys("run.stop_when=degraded"), tmp_path, monkeypatch)
    unaware = [
        copy
        for copy in map(Run, copies)
        if copy.tickets.finished == whole.tickets.finished and copy.tickets.ended is None
    ]
    assert unaware
    for copy in unaware:
        assert contents(resume_run(copy).folder) == contents(whole.folder)
        assert copy.tickets.ended == whole.tickets.ended


def test_a_run_of_an_earlier_version_that_called_unhooked_stacked_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    run = run_recipe(tiny(*NORMED, "train.engine=unhooked"), "tiny", out=tmp_path)
    expected = [[all_bits(ticket.trained) for ticket in level] for level in tickets(run)]
    manifest = json.loads((run.folder / "manifest.json").read_text())
    manifest["search"]["settings"]["train"]["engine"] = "stacked"
    (run.folder / "manifest.json").write_text(json.dumps(manifest | {"finished": manifest["finished"][:1]}))
    own = (run.folder / "recipe.toml").read_text()
    (run.folder / "recipe.toml").write_text(own.replace('engine = "unhooked"', 'engine = "stacked"'))
    assert run.recipe().train.engine == "stacked"
    resumed = tickets(resume_run(run))
    assert [[all_bits(ticket.trained) for ticket in level] for level in resumed] == expected
    assert {ticket.metrics["engine"] for level in resumed for ticket in level} == {"unhooked"}


def test_a_new_run_of_a_convolutional_network_by_the_stacked_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r'Use engine = "auto".*"unhooked"'):
        run_recipe(tiny(*NORMED, "train.engine=stacked"), "tiny", out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("engine", ["reference", "stacked", "compiled"])
def test_a_run_of_several_tasks_tells_how_each_fares(tmp_path: Path, engine: str) -> None:
    recipe = joined(f"train.engine={engine}", name="moons+digits")
    run, data = run_recipe(recipe, "joined", out=tmp_path), prepare(recipe).data
    histories = run.histories()
    for name in ("val_acc", "test_acc"):
        by_task = histories.curves[f"task_{name}"]
        assert by_task.shape == (2, 3, 3, 2)
        np.testing.assert_allclose(by_task.mean(axis=-1), histories.curves[name], rtol=1e-6)
        at_stop = histories.at_early_stop(f"task_{name}")
        for level, found in enumerate(tickets(run)):
            for trial, ticket in enumerate(found):
                assert list(ticket.metrics["tasks"]) == ["moons", "digits"]
                assert [each[name] for each in ticket.metrics["tasks"].values()] == list(at_stop[trial, level])
    (first, *_), *_ = tickets(run)
    model = first.apply(run.model(), "trained").eval()
    with torch.no_grad():
        outputs = model(data.x_test)
    moons = ((outputs[:, 0] > 0) == data.y_test[:, 0]).double().mean()
    digits = (outputs[:, 1:].argmax(dim=1) == data.y_test[:, 1]).double().mean()
    last = first.metrics["history"]["task_test_acc"][-1]
    assert (float(moons), float(digits)) == pytest.approx(tuple(last), abs=1e-6)


def test_a_run_of_one_task_says_nothing_of_tasks(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    assert set(run.histories().curves) == set(HISTORIES)
    assert "tasks" not in tickets(run)[0][0].metrics


def test_a_run_of_several_tasks_that_was_broken_off_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, copies = moments(joined("prune.levels=1", "run.trials=1"), tmp_path, monkeypatch)
    resumable = [copy for copy in copies if (copy / "manifest.json").exists()]
    assert resumable
    for copy in resumable:
        assert contents(resume_run(Run(copy)).folder) == contents(whole.folder)


def test_a_run_from_before_a_key_was_there_is_read_and_resumed_with_the_keys_default(tmp_path: Path) -> None:
    run = run_recipe(tiny(), "tiny", out=tmp_path)
    expected = contents(run.folder)
    manifest = json.loads((run.folder / "manifest.json").read_text())
    del manifest["search"]["settings"]["data"]["size"], manifest["search"]["settings"]["data"]["classes"]
    del manifest["search"]["settings"]["train"]["l1"]
    (run.folder / "manifest.json").write_text(json.dumps(manifest | {"finished": manifest["finished"][:1]}))
    assert run.recipe() == tiny()
    assert contents(resume_run(run).folder) == expected
