"""The claims that the page on reproductions lists, in its order.

A claim's ``result`` names the file ``NAME.json`` beside this one, which ``record.py`` writes. The page changes as soon
as the file is there.
"""

from dataclasses import dataclass
from typing import Literal

from results.measures import (
    Measure,
    at,
    below_barrier,
    beside_control,
    dense_accuracy,
    earlier,
    information_gained,
    least_ahead,
    least_of_gaussians,
    more_accurate,
    separated,
    throughout,
    times_earlier,
    untrained_accuracy,
)
from results.separation import more_active, more_at_low_rates, more_with_uniform_biases, share_separated

FRANKLE = "Frankle & Carbin 2019"
LMC = "Frankle et al. 2020"
AT_INIT = "Frankle et al. 2021"
ZHOU = "Zhou et al. 2019"
MINE = "Belghazi et al. 2018"


@dataclass(frozen=True)
class Claim:
    """A claim of a paper or another project.

    Attributes:
        text: what is claimed.
        source: who claims it.
        reported: the source's figure, in words.
        result: the name of the result file that shows it.
        cost: what it takes to run, for as long as there is no result.
        bound: the number that our figure is compared with, a fraction for accuracies.
        measure: our figure; None if a result file could not show it yet.
        sense: whether our figure must be at least the bound, equal to it, or reach it in every trial.
        unit: of our figure.
    """

    text: str
    source: str
    reported: str
    result: str
    cost: str
    bound: float = 0.0
    measure: Measure | None = None
    sense: Literal["least", "equal", "all"] = "least"
    unit: Literal["points", "%", "times", "weights", "nats"] = "points"


_LENET = "`lthprune run lenet-mnist`: 77 min for 20,000 steps, on two busy cores"  # the run's seconds per level
_CONTROL = "the control, about as long as its run: 77 min for 20,000 steps, on two busy cores"
_CONV2 = "`lthprune run conv2-cifar10`: 83 h in fp32, 41 h in bf16"
_CONV4 = "`lthprune run conv4-cifar10`: not measured; longer than Conv-2, with two more convolutions and 25,000 steps"
_CONV6 = "`lthprune run conv6-cifar10`: not measured; longer than Conv-4, with two more convolutions and 30,000 steps"

_CRITERIA = (
    "`lthprune run lenet-mnist --set train.steps=5000 --set train.evaluate_every=250 --set prune.levels=4 "
    "--set 'prune.rate={dense=0.536,output=0.3}' --trials 3` and its controls: a minute of a core each"
)
_GAUSSIANS = "`python -m results.gaussians`: ten minutes of a busy core for each trial"
_INFORMATION = (
    "`lthprune run lenet-mnist-information`: a minute of a core for each trial; then `lthprune information --precise`"
)
_EARLY = (0.2, 0.1, 0.05)  # densities
_SIZES = "the sweeps of the page on separation: 31 and 19 minutes of a busy core"
_RATES = "the sweep of the page on separation: 13 minutes of a busy core"

CLAIMS = (
    Claim(
        "LeNet-300-100: the lowest validation loss comes earlier than the dense network's, at 21.1 %",
        f"{FRANKLE}, section 2", "38 % earlier", "lenet-mnist-relu", _LENET,
        0.38, at(0.211, earlier), unit="%",
    ),
    Claim(
        "LeNet-300-100: tickets are more accurate than the dense network, at 13.5 %",
        f"{FRANKLE}, section 2", "more than +0.3 points", "lenet-mnist-relu", _LENET,
        0.003, at(0.135, more_accurate),
    ),
    Claim(
        "LeNet-300-100: tickets are no less accurate than the dense network, at every level down to 3.6 %",
        f"{FRANKLE}, section 2", "0 points or more", "lenet-mnist-relu", _LENET,
        0.0, throughout(1.0, 0.0355, more_accurate),
    ),
    Claim(
        "LeNet-300-100: the accuracy is back at the dense network's, at 3.6 %",
        f"{FRANKLE}, section 2", "0 points", "lenet-mnist-relu", _LENET,
        0.0, at(0.036, more_accurate), sense="equal",
    ),
    Claim(
        "LeNet-300-100, masks reinitialised at random: the ticket reaches its lowest validation loss faster, at 21.1 %",
        f"{FRANKLE}, section 2", "2.51 times as fast", "lenet-mnist-relu", _CONTROL,
        2.51, beside_control(0.211, "reinitialised", times_earlier), unit="times",
    ),
    Claim(
        "LeNet-300-100, masks reinitialised at random: the ticket is more accurate, at 21.1 %",
        f"{FRANKLE}, section 2", "+0.5 points", "lenet-mnist-relu", _CONTROL,
        0.005, beside_control(0.211, "reinitialised", more_accurate),
    ),
    Claim(
        "LeNet-300-100, one-shot: the lowest validation loss comes earlier than the dense network's, at every level "
        "from 67.5 to 17.6 %",
        f"{FRANKLE}, section 2", "earlier", "lenet-mnist-relu", _CONTROL,
        0.0, throughout(0.675, 0.176, earlier, "one-shot"), unit="%",
    ),
    Claim(
        "LeNet-300-100, one-shot: tickets are more accurate than the dense network, at every level from 95 to 5.17 %",
        f"{FRANKLE}, section 2", "more accurate", "lenet-mnist-relu", _CONTROL,
        0.0, throughout(0.95, 0.0517, more_accurate, "one-shot"),
    ),
    Claim(
        "LeNet-300-100: tickets are more accurate than random masks, at 21.1 %",
        f"{FRANKLE}, figure 1 (seed 004)", "more accurate", "lenet-mnist-relu", _CONTROL,
        0.0, beside_control(0.211, "shuffled", more_accurate),
    ),
    Claim(
        "LeNet-300-100, masks by SNIP: tickets are more accurate, at 20, 10 and 5 %",
        f"{AT_INIT}, on other networks", "more accurate", "lenet-mnist-criteria", _CRITERIA,
        0.0, least_ahead(_EARLY, "snip"),
    ),
    Claim(
        "LeNet-300-100, masks by GraSP: tickets are more accurate, at 20, 10 and 5 %",
        f"{AT_INIT}, on other networks", "more accurate", "lenet-mnist-criteria", _CRITERIA,
        0.0, least_ahead(_EARLY, "grasp"),
    ),
    Claim(
        "LeNet-300-100, masks by SynFlow: tickets are more accurate, at 20, 10 and 5 %",
        f"{AT_INIT}, on other networks", "more accurate", "lenet-mnist-criteria", _CRITERIA,
        0.0, least_ahead(_EARLY, "synflow"),
    ),
    Claim(
        "LeNet-300-100: masks by SNIP are more accurate than random ones, at 20, 10 and 5 %",
        f"{AT_INIT}, on other networks", "more accurate", "lenet-mnist-criteria", _CRITERIA,
        0.0, least_ahead(_EARLY, "random-uniform", "snip"),
    ),
    Claim(
        "LeNet-300-100: masks by GraSP are more accurate than random ones, at 20, 10 and 5 %",
        f"{AT_INIT}, on other networks", "more accurate", "lenet-mnist-criteria", _CRITERIA,
        0.0, least_ahead(_EARLY, "random-uniform", "grasp"),
    ),
    Claim(
        "LeNet-300-100: masks by SynFlow are more accurate than random ones, at 20, 10 and 5 %",
        f"{AT_INIT}, on other networks", "more accurate", "lenet-mnist-criteria", _CRITERIA,
        0.0, least_ahead(_EARLY, "random-uniform", "synflow"),
    ),
    Claim(
        "LeNet-300-100, not trained: test accuracy with masks of large weights that kept their sign, and constant "
        "weights, at the best density",
        f"{ZHOU}, abstract", "86 %", "lenet-mnist-untrained", "`lthprune untrained`: a few minutes, after the run",
        0.86, untrained_accuracy("large_final_same_sign", "constant"), unit="%",
    ),
    Claim(
        "LeNet-300-100, masks trained and weights not, without rescaling: test accuracy",
        f"{ZHOU}, section 5", "95.3 %", "lenet-mnist-supermask",
        "`python -m results.supermask`: six minutes of a busy core",
        0.953, dense_accuracy, unit="%",
    ),
    Claim(
        "LeNet-300-100, dense: copies made at step 0 end in one basin; 2 points of error less the barrier between them",
        f"{LMC}, section 3", "stable", "lenet-mnist-stability", "five minutes of a core, after the run",
        0.0, below_barrier(0),
    ),
    Claim(
        "A ResNet, dense: copies made at step 0 do not end in one basin; the barrier between them less 2 points of "
        "error",
        f"{LMC}, section 3, for ResNet-20", "unstable", "resnet8-cifar10-stability",
        "twelve minutes of a core, for a small one",
        0.0, below_barrier(0, above=True),
    ),
    Claim(
        "A ResNet, dense: copies made early in training end in one basin; 2 points of error less the barrier between "
        "them",
        f"{LMC}, section 3, for ResNet-20 from step 2,000", "stable", "resnet8-cifar10-stability",
        "twelve minutes of a core, for a small one, from step 50 of 400",
        0.0, below_barrier(50),
    ),
    Claim(
        "Gaussians of 10 and 20 features, correlations of 0.3 to 0.7: the estimate of MINE as a share of the mutual "
        "information, where it is lowest",
        f"{MINE}, section 4.1", "near the truth: 90 % or more", "gaussians-mine", _GAUSSIANS,
        0.9, least_of_gaussians("mine", "truth", (10, 20)), unit="%",
    ),
    Claim(
        "Gaussians of 20 features, correlations of 0.3 to 0.7: MINE finds more than nearest neighbours do, where the "
        "ratio is lowest",
        f"{MINE}, section 4.1", "more", "gaussians-mine", _GAUSSIANS,
        1.0, least_of_gaussians("mine", "neighbours", (20,)), unit="times",
    ),
    Claim(
        "LeNet-300-100, at 3.5 %: `dense1` has as much mutual information with the inputs as in the dense network",
        "seed 000, which asks", "a question", "lenet-mnist-information", _INFORMATION,
        0.0, information_gained("input:dense1"), sense="equal", unit="nats",
    ),
    Claim(
        "LeNet-300-100, at 3.5 %: `dense1` and `dense2` have as much mutual information as in the dense network",
        "seed 000, which asks", "a question", "lenet-mnist-information", _INFORMATION,
        0.0, information_gained("dense1:dense2"), sense="equal", unit="nats",
    ),
    Claim(
        "LeNet-300-100, at 3.5 %: `dense1` has as much mutual information with the labels as in the dense network",
        "seed 000, which asks", "a question", "lenet-mnist-information", _INFORMATION,
        0.0, information_gained("dense1:labels"), sense="equal", unit="nats",
    ),
    Claim(
        "Conv-2: the lowest validation loss comes earlier than the dense network's, at 8.8 %",
        f"{FRANKLE}, section 3", "3.5 times earlier", "conv2-cifar10", _CONV2,
        3.5, at(0.088, times_earlier), unit="times",
    ),
    Claim(
        "Conv-2: tickets are more accurate than the dense network, at 4.6 %",
        f"{FRANKLE}, section 3", "+3.4 points", "conv2-cifar10", _CONV2,
        0.034, at(0.046, more_accurate),
    ),
    Claim(
        "Conv-2, shortened to 300 steps: tickets are more accurate than reinitialised ones, at 17 %",
        f"{FRANKLE}, section 3", "more accurate", "conv2-cifar10-short", "an hour on two busy cores",
        0.0, beside_control(0.17, "reinitialised", more_accurate),
    ),
    Claim(
        "Conv-4: the lowest validation loss comes earlier than the dense network's, at 9.2 %",
        f"{FRANKLE}, section 3", "3.5 times earlier", "conv4-cifar10", _CONV4,
        3.5, at(0.092, times_earlier), unit="times",
    ),
    Claim(
        "Conv-4: tickets are more accurate than the dense network, at 11.1 %",
        f"{FRANKLE}, section 3", "+3.5 points", "conv4-cifar10", _CONV4,
        0.035, at(0.111, more_accurate),
    ),
    Claim(
        "Conv-6: the lowest validation loss comes earlier than the dense network's, at 15.1 %",
        f"{FRANKLE}, section 3", "2.5 times earlier", "conv6-cifar10", _CONV6,
        2.5, at(0.151, times_earlier), unit="times",
    ),
    Claim(
        "Conv-6: tickets are more accurate than the dense network, at 26.4 %",
        f"{FRANKLE}, section 3", "+3.3 points", "conv6-cifar10", _CONV6,
        0.033, at(0.264, more_accurate),
    ),
    Claim(
        "ResNet-18 (20 layers) with warm-up: tickets are at 90.5 % test accuracy, at 27.1 %",
        f"{FRANKLE}, section 5", "90.5 %", "resnet18-cifar10",
        "`lthprune run resnet18-cifar10`: 4 h a level and trial on one core",
    ),
    Claim(
        "VGG-19 with warm-up: tickets win down to 1.5 %",
        f"{FRANKLE}, section 5", "winning", "vgg19-cifar10",
        "`lthprune run vgg19-cifar10`: 49 h a level and trial on one core",
    ),
    Claim(
        "ResNet-20, rewound to an early step: tickets match the dense network down to 16.8 %",
        f"{LMC}, table 1", "matching", "resnet20-cifar10",
        "`lthprune run resnet20-cifar10`: 9 h a level and trial on one core",
    ),
    Claim(
        "VGG-16, rewound to an early step: tickets match the dense network down to 1.5 %",
        f"{LMC}, table 1", "matching", "vgg16-cifar10",
        "`lthprune run vgg16-cifar10`: 43 h a level and trial on one core",
    ),
    Claim(
        "A LeNet-5-like network on MNIST, dense: test accuracy",
        "seed 004", "98.62 %", "lenet5-mnist",
        "`lthprune run lenet5-mnist --trials 2 --set prune.levels=0 --set train.steps=3000`: 2 min on a busy core",
        0.9862, dense_accuracy, unit="%",
    ),
    Claim(
        "LeNet-300-100 layerwise over 25 rounds, down to 0.2 % of the weights: accuracies and percentages pruned",
        "seed 002", "tables", "lenet-mnist-layerwise",
        "`lthprune run lenet-mnist --set prune.levels=25 "
        "--set prune.rate.dense=0.22 --set prune.rate.output=0.11`: 77 min or more for 20,000 steps, on two busy cores",
    ),
    Claim(
        "Two moons beside two circles: pruning separates the network into one for each task, share of the networks",
        "seed 001; the recipe", "4 of 4", "moons-circles", "`lthprune run moons-circles`: four minutes on a core",
        1.0, separated, sense="all", unit="%",
    ),
    Claim(
        "Moons beside circles, zero biases, fewer than 38 hidden units: no network separates, share of those that do",
        "seed 001", "separate from about 38 on", "moons-circles-sizes", _SIZES,
        0.0, share_separated(range(38)), sense="equal", unit="%",
    ),
    Claim(
        "Moons beside circles, zero biases, 38 hidden units or more: at least half of the networks separate",
        "seed 001", "separate from about 38 on", "moons-circles-sizes", _SIZES,
        0.5, share_separated(range(38, 128)), unit="%",
    ),
    Claim(
        "Moons beside circles, zero biases, 47 hidden units or more: at least half of the networks separate",
        "seed 001", "separate from about 38 on", "moons-circles-sizes", _SIZES,
        0.5, share_separated(range(47, 128)), unit="%",
    ),
    Claim(
        "Moons beside circles: more networks separate with uniform biases than with zero biases",
        "seed 001", "more", "moons-circles-sizes", _SIZES,
        0.0, more_with_uniform_biases,
    ),
    Claim(
        "Moons beside circles, zero biases, 48 hidden units: more networks separate at 18 to 47 % a level than "
        "at 54 to 96 %",
        "seed 001", "a question", "moons-circles-rates", _RATES,
        0.0, more_at_low_rates(5),
    ),
    Claim(
        "Moons beside circles, zero biases: as many weights are active at separation with 38 hidden units or more as "
        "with fewer",
        "seed 001", "a question", "moons-circles-sizes", _SIZES,
        0.0, more_active(38), sense="equal", unit="weights",
    ),
)  # fmt: skip
"""All claims."""
