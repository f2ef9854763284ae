"""Named random streams."""

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import LthpruneError
from lthprune.seeds import Seeds, Stream
from tests import strategies

STREAMS = get_args(Stream)


@given(strategies.seeds, st.sampled_from(STREAMS), st.integers(0, 9), st.integers(0, 30))
def test_a_stream_starts_the_same_however_often_it_is_asked_for(root, stream, trial, level):
    first, again = (Seeds(root).generator(stream, trial=trial, level=level) for _ in range(2))
    torch.rand(7, generator=Seeds(root).generator("order"))
    assert torch.rand(5, generator=first).equal(torch.rand(5, generator=again))


def test_every_stream_trial_level_and_root_has_a_seed_of_its_own():
    drawn = [
        Seeds(root).seed(stream, trial=trial, level=level)
        for root in range(3)
        for stream in STREAMS
        for trial in range(5)
        for level in range(5)
    ]
    assert len(set(drawn)) == len(drawn) == 3 * len(STREAMS) * 25
    assert all(0 <= seed < 2**63 for seed in drawn)


def test_seeds_are_the_same_on_every_machine_and_in_every_version():
    drawn = [Seeds(0).seed(stream, trial=1, level=2) for stream in STREAMS]
    assert drawn == [
        1_597_417_224_433_793_117,
        7_948_772_188_680_933_785,
        8_494_160_947_022_706_839,
        3_206_157_528_097_727_752,
        2_682_218_288_029_005_339,
        4_987_316_781_066_509_088,
    ]


def test_what_is_drawn_for_data_is_the_same_in_every_version():
    drawn = {stream: [Seeds(0).data_seed(stream, place) for place in range(3)] for stream in ("toy", "pairing")}
    assert drawn == {
        "toy": [6_881_829_363_661_931_877, 9_159_876_072_387_051_222, 6_730_287_821_267_588_599],
        "pairing": [5_285_172_823_416_301_242, 846_318_032_209_698_453, 4_928_100_375_161_699_977],
    }
    others = {
        Seeds(0).seed(stream, trial=trial, level=level)
        for stream in STREAMS
        for trial in (0, 1, 2, 5)
        for level in (0, 1)
    }
    assert not others & {seed for seeds in drawn.values() for seed in seeds}


def test_the_streams_of_copies_are_their_own_and_the_same_in_every_version():
    drawn = {
        (stream, trial, copy): Seeds(0).stability(stream, trial=trial, copy=copy).initial_seed()
        for stream in ("order", "noise", "augment")
        for trial in range(3)
        for copy in range(3)
    }
    others = {
        Seeds(0).seed(stream, trial=trial, level=level) for stream in STREAMS for trial in range(9) for level in (0, 1)
    }
    others |= {Seeds(0).control(trial=trial, repeat=repeat).initial_seed() for trial in range(3) for repeat in range(3)}
    assert len({*drawn.values()} | others) == len(drawn) + len(others)
    assert [drawn["order", 1, 2], drawn["augment", 0, 1]] == [6_146_711_135_238_456_343, 459_510_484_994_900_182]


def test_drawing_from_a_stream_leaves_torchs_own_generator_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=Seeds(1).generator("init"))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(("root", "stream"), [(0, "oder"), (-1, "order")])
def test_an_unknown_stream_and_a_negative_root_are_refused(root, stream):
    with pytest.raises(LthpruneError, match=r"oder|-1"):
        Seeds(root).seed(stream)
