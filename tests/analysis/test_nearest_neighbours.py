"""Mutual information by nearest neighbours, beside scikit-learn's for scalars and known values."""

import math

import pytest
import torch
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from lthprune.analysis.nearest_neighbours import neighbour_information
from lthprune.errors import PruningError
from results.gaussians import Case
from tests.analysis.test_mine import gaussians, generator


@pytest.mark.parametrize("neighbours", [1, 3, 7])
def test_scalars_have_the_estimates_of_scikit_learn(neighbours: int) -> None:
    x, y = gaussians(1, 0.8, 400)
    (expected,) = mutual_info_regression(x, y[:, 0], n_neighbors=neighbours, random_state=0)
    assert neighbour_information(x, y / y.std() * x.std(), neighbours) == pytest.approx(expected, abs=1e-3)
    labels = (y[:, 0] > 0.3).long() + (y[:, 0] > 1).long()
    (expected,) = mutual_info_classif(x, labels, n_neighbors=neighbours, random_state=0)
    assert neighbour_information(x, labels, neighbours) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("features", "correlation"), [(1, 0.0), (1, 0.9), (2, 0.6), (3, 0.5)])
def test_gaussians_of_few_dimensions_have_about_what_the_formula_says(features: int, correlation: float) -> None:
    found = neighbour_information(*gaussians(features, correlation, 2000))
    assert found == pytest.approx(Case(features, correlation).truth, abs=0.08)


def test_labels_that_a_variable_tells_apart_give_their_entropy() -> None:
    labels = torch.randint(4, (1000,), generator=generator())
    far_apart = 100 * labels[:, None] + torch.randn(1000, 5, generator=generator(1))
    assert neighbour_information(far_apart, labels) == pytest.approx(math.log(4), abs=0.02)
    assert neighbour_information(torch.randn(1000, 5, generator=generator(2)), labels) == pytest.approx(0, abs=0.05)


def test_variables_that_are_constant_or_have_few_values_do_not_mislead() -> None:
    x, y = gaussians(2, 0.5, 500)
    assert neighbour_information(x, torch.ones(500, 3)) == pytest.approx(0, abs=0.01)
    assert neighbour_information(torch.ones(500, 3), torch.ones(500, 2)) == pytest.approx(0, abs=0.01)
    coin = (y[:, :1] > 0).float().repeat(1, 3)  # of two values, each of them many times
    assert neighbour_information(coin, coin) == pytest.approx(math.log(2), abs=0.02)


def test_the_order_of_two_continuous_variables_does_not_matter() -> None:
    x, y = gaussians(3, 0.7, 300)
    assert neighbour_information(x, y) == pytest.approx(neighbour_information(y, x))


def test_a_variable_of_many_features_does_not_outweigh_one_of_few() -> None:
    x, _ = gaussians(1, 0.0, 500)
    assert neighbour_information(x, x.repeat(1, 200)) == pytest.approx(neighbour_information(x, x), abs=0.5)


def test_too_few_samples_are_refused() -> None:
    x = torch.zeros(3, 1)
    with pytest.raises(PruningError, match=r"neighbours = 3 of 3 and 3 samples"):
        neighbour_information(x, x)
    with pytest.raises(PruningError, match=r"both variables need the same number of samples"):
        neighbour_information(x, torch.zeros(4, 1), 1)
