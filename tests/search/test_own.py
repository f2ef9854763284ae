"""Criteria of one's own, named in the ``[prune]`` table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lthprune.errors import RecipeError
from lthprune.pruning.pruner import Pruning
from lthprune.pruning.scores import Candidate, name_of
from lthprune.search.own import own_score, try_score
from lthprune.search.spec import PruneSpec
from tests.own_parts import imports_restored, write_module

NAME = "my_scores_here"
SCORES = """
    import torch

    def by_power(candidate, *, power=1.0):
        return candidate.final.abs() ** power

    def number(candidate):
        return 3.0

    def transposed(candidate):
        return candidate.final.t()

    def failing(candidate):
        return candidate.nothing
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path, NAME, SCORES)
    with imports_restored(NAME):
        yield


def pruning(score: str, **settings: Any) -> Pruning:
    spec = PruneSpec(levels=1, rate=0.2, score=f"{NAME}:{score}", settings=settings or None)
    return spec.pruning(trust_code=True)


def test_a_score_gets_its_settings_and_the_provenance_names_both() -> None:
    score = own_score(f"{NAME}:by_power", {"power": 2}, trust_code=True)
    assert score(Candidate("w", torch.tensor([-3.0, 2.0]))).tolist() == [9, 4]
    assert name_of(score) == "my_scores_here.by_power(power=2)"
    assert name_of(own_score(f"{NAME}:by_power", None, trust_code=True)) == "my_scores_here.by_power"


@pytest.mark.parametrize(
    ("score", "says"),
    [
        ("number", r"for 0\.weight the function returned float; it must return one number for each weight"),
        ("transposed", r"returned a tensor of shape \(4, 3\).* a tensor of shape \(3, 4\)"),
        ("failing", "the function failed on 0.weight with AttributeError: .*nothing"),
    ],
)
def test_a_faulty_score_is_refused_before_any_training(score: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        try_score(pruning(score), nn.Sequential(nn.Linear(4, 3)))


def test_trying_a_score_leaves_the_model_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    before = model[0].weight.clone()
    try_score(pruning("by_power", power=2), model)
    assert torch.equal(model[0].weight, before)


def test_a_table_of_ones_own_score_imports_it_only_with_consent() -> None:
    spec = PruneSpec(levels=1, rate=0.2, score=f"{NAME}:by_power")
    with pytest.raises(RecipeError, match="--trust-code"):
        spec.search(0)
    assert spec.search(0, trust_code=True).levels == 1


def test_a_table_without_levels_tells_how_to_work_them_out() -> None:
    with pytest.raises(RecipeError, match=r"call preview_recipe\(recipe\)"):
        PruneSpec(rate=0.2, target=10).search(0)
