"""What goes back, and when it was captured."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import PruningError
from lthprune.pruning.pruner import prune
from lthprune.pruning.state import live_state, snapshot
from lthprune.search.rewinding import Rewinder, rewinder_for
from tests import strategies
from tests.nets import OPTIMIZERS, all_bits, anatomy, batch, net, refused, steps, train


@given(strategies.architectures(), st.integers(0, 5), strategies.biases)
def test_the_third_rewind_still_brings_back_every_bit_of_the_captured_step(architecture, at, bias):
    model, twin = architecture.build(), architecture.build()
    train(twin, number=at) if at else None
    captured = all_bits(live_state(twin))  # weights, biases and batch-norm statistics
    identities = {name: id(tensor) for name, tensor in live_state(model).items()}
    rewinder = Rewinder(at=at)
    rewinder.watch(model)
    for _ in range(3):
        train(model, rewinder=rewinder, number=7)
        prune(model, 1, bias=bias)
        rewinder.rewind(model)
        assert all_bits(live_state(model)) == captured == all_bits(rewinder.captured(model))
        assert {name: id(tensor) for name, tensor in live_state(model).items()} == identities


@given(strategies.architectures())
def test_what_is_captured_shares_no_memory_with_the_model(architecture):
    model = architecture.build()
    rewinder = Rewinder()
    rewinder.watch(model)
    captured = all_bits(rewinder.captured(model))
    with torch.no_grad():
        for tensor in live_state(model).values():
            tensor.add_(1)
    assert all_bits(rewinder.captured(model)) == captured
    rewinder.rewind(model)
    with torch.no_grad():
        for tensor in live_state(model).values():
            tensor.add_(1)
    assert all_bits(rewinder.captured(model)) == captured


def test_each_model_of_a_population_is_captured_at_its_own_step():
    models = [net("dense", seed) for seed in range(2)]
    rewinder = Rewinder(at=2)
    rewinder.watch(*models)
    train(models[0], rewinder=rewinder, number=2)
    first = all_bits(snapshot(models[0]))
    with pytest.raises(PruningError, match="step 2 was never reached: the training loop made 0 steps"):
        rewinder.captured(models[1])
    train(models[1], rewinder=rewinder, number=3)
    rewinder.step()
    assert all_bits(rewinder.captured(models[0])) == first
    assert all_bits(rewinder.captured(models[1])) != all_bits(snapshot(models[1]))


def test_watching_again_starts_again():
    model = net("dense")
    rewinder = Rewinder(at=1)
    rewinder.watch(model)
    train(model, rewinder=rewinder)
    first = all_bits(rewinder.captured(model))
    rewinder.watch(model)
    train(model, rewinder=rewinder)
    assert all_bits(rewinder.captured(model)) != first


def test_learning_rate_rewinding_leaves_the_weights_and_fine_tuning_needs_no_rewinder():
    model = net("normalised")
    rewinder = rewinder_for("lr")
    rewinder.watch(model)
    train(model)
    before = anatomy(model)
    rewinder.rewind(model)
    assert anatomy(model) == before
    assert rewinder_for("none") is None
    assert (rewinder_for("init").at, rewinder_for("init").weights) == (0, True)
    assert rewinder_for(rewinder) is rewinder


def optimizer_state(model, optimizer):
    names = {id(tensor): name for name, tensor in live_state(model).items()}
    return {
        (names[id(parameter)], key): value.tolist() if isinstance(value, torch.Tensor) else value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimiser_scheduler_and_generators_go_back_by_name_after_pruning_has_reordered_parameters(
    optimizer, at, weights
):
    model, generator = net("dense"), torch.Generator().manual_seed(1)
    stepper = OPTIMIZERS[optimizer](model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(stepper, 2, 0.5)
    rewinder = Rewinder(at, weights=weights, optimizer=stepper, scheduler=scheduler, generators=[generator])

    def advance(number):
        for _ in steps(model, stepper, number):
            scheduler.step()
            torch.rand(3, generator=generator)
            rewinder.step()

    def extras():
        rates = [group["lr"] for group in stepper.param_groups]
        return optimizer_state(model, stepper), rates, scheduler.state_dict(), generator.get_state().tolist()

    rewinder.watch(model)
    advance(at) if at else None
    captured = extras()
    for _ in range(3):
        advance(4)
        assert extras() != captured
        prune(model, 0.2)
        rewinder.rewind(model)
        assert extras() == captured
    advance(1)


def test_a_rewound_optimiser_takes_the_same_steps_again():
    model = net("normalised")
    stepper = OPTIMIZERS["adam"](model.parameters())
    rewinder = Rewinder(2, optimizer=stepper)
    rewinder.watch(model)
    list(steps(model, stepper, 2, rewinder))
    ends = []
    for _ in range(3):
        list(steps(model, stepper, 3))
        ends.append(all_bits(snapshot(model)))
        rewinder.rewind(model)
    assert ends[0] == ends[1] == ends[2]


def test_a_rewinder_is_shown_as_it_was_made():
    for shown in ("Rewinder(at=0)", "Rewinder(at=7)", "Rewinder(at=0, weights=False)"):
        assert repr(eval(shown)) == shown


def test_an_adopted_state_is_what_a_model_goes_back_to():
    model, other = net("dense"), net("dense", seed=1)
    rewinder = Rewinder()
    rewinder.watch(model)
    rewinder.adopt(model, snapshot(other))
    train(model)
    rewinder.rewind(model)
    assert all_bits(live_state(model)) == all_bits(live_state(other))


def test_a_model_that_is_not_watched_is_refused():
    model, stranger = net("dense"), net("dense")
    rewinder = Rewinder()
    rewinder.watch(model)
    with refused("does not watch that model", stranger, error=PruningError):
        rewinder.rewind(stranger)


def test_an_optimiser_of_another_model_is_refused_from_the_start():
    model, stranger = net("dense"), net("dense")
    rewinder = Rewinder(optimizer=OPTIMIZERS["sgd"](stranger.parameters()))
    with refused("optimi[sz]er", model, stranger, error=PruningError):
        rewinder.watch(model)


def test_a_model_that_has_changed_its_architecture_is_not_rewound():
    model = net("dense")
    rewinder = Rewinder()
    rewinder.watch(model)
    model.append(torch.nn.Linear(3, 3))
    with refused("the captured state does not fit", model):
        rewinder.rewind(model)
    assert model(batch(model)[0]).shape == (6, 3)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: Rewinder(-1), "at = -1"),
        (lambda: Rewinder(at="20"), "at = '20': this must be a whole number, 0 or more"),
        (lambda: Rewinder(at=0.5), r"at = 0\.5: this must be a whole number"),
        (lambda: Rewinder(at=True), "at = True: this must be a whole number"),
        (lambda: rewinder_for("inti"), "unknown rewind 'inti'"),
    ],
)
def test_a_rewind_that_does_not_exist_is_refused(build, complaint):
    with pytest.raises(PruningError, match=complaint):
        build()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"optimizer": "adam"}, "the optimizer of a Rewinder must be a torch Optimizer; this is a str"),
        ({"scheduler": 3}, "the scheduler of a Rewinder must be a torch LRScheduler; this is an int"),
        ({"generators": [0]}, "the generators of a Rewinder must be a torch Generator; this is an int"),
    ],
)
def test_a_rewinder_refuses_what_it_cannot_rewind_when_it_is_made(arguments, complaint):
    with pytest.raises(PruningError, match=complaint):
        Rewinder(**arguments)


def test_a_single_generator_may_be_given_without_a_list():
    generator = torch.Generator().manual_seed(3)
    rewinder = Rewinder(generators=generator)
    rewinder.watch(model := net("dense"))
    drawn = torch.rand(2, generator=generator)
    rewinder.rewind(model)
    assert torch.equal(torch.rand(2, generator=generator), drawn)
