import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lthprune.errors import PruningError
from lthprune.pruning.schedules import Geometric, Pool, Target, counts_per_level
from lthprune.pruning.trajectories import Trajectory, count_parameters, extend, shared_counts

weights = st.integers(100, 10**7)
levels = st.integers(1, 30)
rates = st.floats(0.05, 0.9).map(lambda rate: round(rate, 3))


@given(weights, levels, rates)
def test_each_of_the_four_follows_from_the_others(weights: int, levels: int, rate: float) -> None:
    whole = Trajectory.through(weights=weights, levels=levels, rate=rate)
    assert abs(whole.target - weights * (1 - rate) ** levels) < 0.5 + 1e-6  # halves round either way
    assume(whole.target > 200)  # where a whole number of weights says little of the rate
    back = Trajectory.through(levels=levels, rate=rate, target=whole.target)
    assert back.weights == pytest.approx(weights, rel=1 / whole.target)
    again = Trajectory.through(weights=weights, levels=levels, target=whole.target)
    assert again.rate == pytest.approx(rate, abs=0.01)
    assert Trajectory.through(weights=weights, rate=rate, target=whole.target).levels == levels


@given(weights, rates, st.floats(0.001, 1))
def test_levels_are_the_fewest_that_reach_the_target(weights: int, rate: float, density: float) -> None:
    target = max(1, round(weights * density))
    found = Trajectory.through(weights=weights, rate=rate, target=target).levels
    reached = [Trajectory.through(weights=weights, rate=rate, levels=level).target for level in range(found + 1)]
    assert reached[-1] <= target
    assert all(left > target for left in reached[:-1])


@given(weights, levels, rates)
def test_a_trajectory_ends_where_pruning_by_its_rate_or_to_its_target_ends(
    weights: int, levels: int, rate: float
) -> None:
    pools = [Pool(("weight",), ("dense",), weights, weights)]
    target = Trajectory.through(weights=weights, levels=levels, rate=rate).target
    assert counts_per_level(Geometric(rate), pools, levels)[-1] == (target,)
    if target:
        assert counts_per_level(Target(target), pools, levels)[-1] == (target,)


def test_the_published_family_of_networks_is_the_extension_of_4_8_8_2() -> None:
    family = [extend((4, 8, 8, 2), rate=0.32, times=times) for times in range(8)]
    assert [sizes[1] for sizes in family] == [8, 10, 13, 16, 20, 25, 31, 38]
    assert [count_parameters(sizes) for sizes in family] == [112, 160, 247, 352, 520, 775, 1147, 1672]


@given(
    inputs=st.integers(1, 50),
    hidden=st.integers(5, 200),
    layers=st.integers(1, 5),
    outputs=st.integers(1, 20),
    rate=rates,
    times=st.integers(0, 5),
    bias=st.booleans(),
)
def test_an_extended_network_shares_the_trajectory_as_nearly_as_whole_neurons_can(
    inputs: int, hidden: int, layers: int, outputs: int, rate: float, times: int, bias: bool
) -> None:
    sizes = (inputs, *[hidden] * layers, outputs)
    larger = extend(sizes, rate=rate, times=times, bias=bias)
    wanted = count_parameters(sizes, bias=bias) / (1 - rate) ** times
    assert (larger[0], larger[-1], len(larger)) == (inputs, outputs, len(sizes))
    assert times or larger == sizes
    miss = abs(count_parameters(larger, bias=bias) - wanted)
    for other in (larger[1] - 1, larger[1] + 1):
        neighbour = count_parameters((inputs, *[other] * layers, outputs), bias=bias)
        assert miss <= abs(neighbour - wanted) + layers  # rounding h is not quite rounding the count


def test_an_extended_trajectory_follows_the_one_it_extends() -> None:
    first = Trajectory.through(weights=112, levels=6, rate=0.32)
    longer = first.extended(3)
    assert (longer.levels, longer.rate, longer.target) == (9, 0.32, first.target)
    assert Trajectory.through(weights=longer.weights, levels=3, rate=0.32).target == 112


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"weights": 10, "levels": 2}, "missing: rate, target"),
        ({"weights": 10, "levels": 2, "rate": 0.5, "target": 3}, "all given"),
        ({"weights": 10, "levels": 2, "target": 11}, "at most all"),
        ({"weights": 10, "levels": 2, "target": 0}, "at least 1"),
        ({"weights": 10, "levels": 0, "target": 5}, "levels = 0"),
        ({"weights": 10, "rate": 0.0, "target": 5}, "never prunes"),
        ({"weights": 10, "rate": 1.5, "levels": 5}, "less than 1"),
        ({"weights": 10, "rate": {"dense": 0.2}, "levels": 5}, "one rate for all weights, a number as in rate=0.2"),
        ({"weights": 10.5, "rate": 0.5, "levels": 5}, "whole number"),
    ],
)
def test_what_no_trajectory_goes_through_is_refused(words: dict[str, float], says: str) -> None:
    with pytest.raises(PruningError, match=says):
        Trajectory.through(**words)  # type: ignore[arg-type]


def test_a_network_is_extended_by_one_rate() -> None:
    with pytest.raises(PruningError, match="one rate for all weights"):
        extend((4, 8, 2), rate={"dense": 0.2})  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(4, 2), (4, 8, 9, 2), (4, 0, 2), (), (4, 8.5, 2)])
def test_networks_that_cannot_be_extended_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(PruningError):
        extend(sizes, rate=0.2)


def counts_of(hidden: int, target: int = 12, **words: object) -> tuple[int, ...]:
    return shared_counts((4, hidden, hidden, 2), hidden=8, rate=0.32, target=target, **words)  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [False, True])
def test_networks_of_a_family_share_every_count_and_those_are_the_sizes_of_the_smaller_ones(bias: bool) -> None:
    family = [extend((4, 8, 8, 2), rate=0.32, times=times, bias=bias) for times in range(8)]
    sizes = [count_parameters(each, bias=bias) for each in family]
    below = counts_of(8, bias=bias)
    for times, each in enumerate(family):
        assert counts_of(each[1], bias=bias) == (*reversed(sizes[:times]), *below)
    pools = [Pool(("weight",), ("dense",), sizes[0], sizes[0])]
    assert below == tuple(left for (left,) in counts_per_level(Geometric(0.32), pools, len(below))[1:])
    assert below[-1] <= 12 < below[-2]


def test_shared_counts_end_at_the_first_that_reaches_the_target() -> None:
    assert counts_of(38, 112) == (1147, 775, 520, 352, 247, 160, 112)
    assert counts_of(38, 113) == (1147, 775, 520, 352, 247, 160, 112)
    assert counts_of(38, 500) == (1147, 775, 520, 352)
    assert counts_of(8, 112) == ()
    assert counts_of(8, 111) == (76,)


@pytest.mark.parametrize(
    ("sizes", "hidden", "rate", "says"),
    [
        ((4, 48, 48, 2), 8, 0.32, "have other hidden layers: 8, 10, 13, 16, 20, 25, 31, 38, 47, 57"),
        ((4, 7, 7, 2), 8, 0.32, "have other hidden layers: 8"),
        ((4, 10, 13, 2), 8, 0.32, "have other hidden layers"),
        ((4, 2), 8, 0.32, "one or more hidden layers"),
        ((4, 9, 9, 2), 8, 0.01, "too small to extend a network with 8 hidden units by one unit"),
    ],
)
def test_networks_outside_the_family_are_refused(sizes: tuple[int, ...], hidden: int, rate: float, says: str) -> None:
    with pytest.raises(PruningError, match=says):
        shared_counts(sizes, hidden=hidden, rate=rate, target=5)
