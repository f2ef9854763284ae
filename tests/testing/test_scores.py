"""Planted faults in scores: each is caught, and told in words."""

import functools
import random
import sys

import numpy as np
import pytest
import torch

from lthprune.errors import PruningError
from lthprune.testing import check_score
from tests.testing.caught import message


def nan_for_constant_weights(candidate):
    return (candidate.final - candidate.final.mean()) / candidate.final.std(correction=0)


def a_score_for_each_row(candidate):
    return candidate.final.abs().sum(-1)


def in_place(candidate):
    return candidate.final.abs_()


def in_place_on_the_initial_weights(candidate):
    return candidate.final - candidate.initial.abs_()


def from_torchs_generator(candidate):
    return torch.rand(candidate.final.shape)


def from_numpys_generator(candidate):
    return torch.from_numpy(np.random.random(tuple(candidate.final.shape)))


def from_the_candidates_generator(candidate):
    return torch.rand(candidate.final.shape, generator=candidate.generator)


def from_a_generator_of_its_own(candidate, generator=torch.Generator().manual_seed(0)):  # noqa: B008
    return torch.rand(candidate.final.shape, generator=generator)


def relative_to_the_largest_so_far(candidate, largest=[1.0]):  # noqa: B006
    largest[0] = max(largest[0], float(candidate.final.abs().max()))
    return candidate.final.abs() / largest[0]


def reciprocal(candidate):
    return 1 / candidate.final


def a_list(candidate):
    return candidate.final.tolist()


def complex_numbers(candidate):
    return torch.complex(candidate.final.double(), candidate.final.double())


def through_numpy(candidate):
    return torch.from_numpy(np.abs(candidate.final.numpy()))


def as_one_row(candidate):
    return candidate.final.view(-1).abs().view(candidate.final.shape)


FAULTS = {
    nan_for_constant_weights: ("not finite", "final weights [0.0]", "the scores [nan] of the weights [0.0]"),
    a_score_for_each_row: ("one number for each weight", "shape () for weights of the shape (1,)"),
    in_place: ("writes to candidate.final", "[-0.25] became [0.25]"),
    in_place_on_the_initial_weights: ("writes to candidate.initial", "[-0.25] became [0.25]"),
    from_torchs_generator: ("draws from the global random generator of torch", "final weights [0.0]"),
    from_numpys_generator: ("draws from the global random generator of numpy",),
    from_the_candidates_generator: ("gives other scores when it is called again with the same weights",),
    from_a_generator_of_its_own: ("gives other scores",),
    relative_to_the_largest_so_far: ("gives other scores",),
    reciprocal: ("the scores [inf] of the weights [0.0]",),
    a_list: ("must return a tensor", "Seen: a list"),
    complex_numbers: ("real numbers", "complex128"),
    through_numpy: ("raises TypeError", "BFloat16", "[0.0] (bfloat16)"),
    as_one_row: ("raises RuntimeError: view size", "not contiguous in memory"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_told_with_the_smallest_case(fault):
    told = message(check_score, fault)
    assert told.startswith(f"{fault.__name__!r} ")
    assert "\nSmallest failing case: the final weights" in told
    for words in FAULTS[fault]:
        assert words in told


def test_random_scores_come_from_the_candidates_generator_alone():
    check_score(from_the_candidates_generator, random=True)
    assert "global random generator of torch" in message(check_score, from_torchs_generator, random=True)
    assert "a generator of the same seed" in message(check_score, from_a_generator_of_its_own, random=True)


def test_dimensions_that_a_score_does_not_know_are_left_out_on_request():
    rows = lambda candidate: candidate.final.abs() / (1 + candidate.final.norm(dim=1, keepdim=True))  # noqa: E731
    assert "raises IndexError" in message(check_score, rows)
    check_score(rows, dims=(2, 4))


def test_the_same_function_gets_the_same_message_every_time():
    assert message(check_score, nan_for_constant_weights) == message(check_score, nan_for_constant_weights)


def test_the_error_of_the_function_is_the_cause_of_the_message():
    with pytest.raises(AssertionError) as caught:
        check_score(lambda candidate: candidate.require_initial() @ "x")
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(AssertionError) as caught:
        check_score(in_place)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_global_generators_are_left_as_they_are():
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    check_score("magnitude")
    message(check_score, from_torchs_generator)
    assert torch.get_rng_state().equal(states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]


def test_a_function_with_settings_is_called_by_its_own_name():
    assert message(check_score, functools.partial(in_place)).startswith("'in_place' writes")


def test_wrong_arguments_and_a_missing_hypothesis_are_refused_in_one_sentence(monkeypatch):
    with pytest.raises(PruningError, match="unknown score 'magnitud'; did you mean"):
        check_score("magnitud")
    for dims in ((), (0, 2)):
        with pytest.raises(PruningError, match="dimensions from 1 to 5"):
            check_score("magnitude", dims=dims)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(PruningError, match=r"pip install 'lthprune\[testing\]'"):
        check_score("magnitude")
