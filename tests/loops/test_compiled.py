"""Compiled loops: the model, a part of it, the step, the optimiser; compiled in ``train`` or before the search."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import lthprune
from lthprune.errors import PruningError
from lthprune.pruning.state import masks_of
from tests.loops.checked import FORMS, batch_of, replay, same, search
from tests.nets import net

EAGER = "aot_eager"
BACKENDS = [EAGER, pytest.param("inductor", marks=pytest.mark.heavy)]
# torch's own, while it compiles a function of tensors that are computed.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)


def fit(model: nn.Module, forward: Callable[[Tensor], Tensor] | None = None) -> None:
    optimizer = sgd(model)
    for step in range(5):
        optimizer.zero_grad()
        inputs, labels = batch_of(step)
        cross_entropy((forward or model)(inputs), labels).backward()
        optimizer.step()


def compiled_model(model: nn.Module, backend: str) -> None:
    fit(model, torch.compile(model, backend=backend))


def compiled_whole(model: nn.Module, backend: str) -> None:
    fit(model, torch.compile(model, backend=backend, fullgraph=True))


def compiled_in_place(model: nn.Module, backend: str) -> None:
    model.compile(backend=backend)
    fit(model)
    model._compiled_call_impl = None


def compiled_parts(model: nn.Module, backend: str) -> None:
    first, rest = torch.compile(model[:3], backend=backend), torch.compile(model[3:], backend=backend)
    fit(model, lambda inputs: rest(first(inputs)))


def compiled_loss(model: nn.Module, backend: str) -> None:
    def loss_of(inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(model(inputs), labels)

    quick, optimizer = torch.compile(loss_of, backend=backend), sgd(model)
    for step in range(5):
        optimizer.zero_grad()
        quick(*batch_of(step)).backward()
        optimizer.step()


def compiled_optimizer(model: nn.Module, backend: str) -> None:
    optimizer = sgd(model)
    step_compiled = torch.compile(lambda: optimizer.step(), backend=backend)
    for step in range(5):
        optimizer.zero_grad()
        inputs, labels = batch_of(step)
        cross_entropy(model(inputs), labels).backward()
        step_compiled()


def compiled_step(model: nn.Module, backend: str) -> None:
    optimizer = sgd(model)

    def whole_step(inputs: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    quick = torch.compile(whole_step, backend=backend)
    for step in range(5):
        quick(*batch_of(step))


WAYS = (compiled_model, compiled_whole, compiled_in_place, compiled_parts, compiled_loss)
SLOW = (compiled_optimizer, compiled_step)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", [*WAYS, *(pytest.param(way, marks=pytest.mark.heavy) for way in SLOW)])
def test_a_compiled_loop_finds_the_tickets_of_the_loop_as_it_is_written(
    way: Callable[[nn.Module, str], None], backend: str, form: str
) -> None:
    tickets = search(net(), lambda model: way(model, backend), form=form, spied=False)
    same(tickets, search(net(), fit), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_model_compiled_once_before_the_search_is_reused_over_levels(in_place: bool, used: bool) -> None:
    model = net()
    compiled = model if in_place else torch.compile(model, backend=EAGER)
    if in_place:
        model.compile(backend=EAGER)
    if used:
        compiled(batch_of(0)[0])
    tickets = search(model, lambda model: fit(model, compiled), spied=False, levels=4, rate=0.3)
    same(tickets, search(net(), fit, levels=4, rate=0.3), rtol=1e-4, atol=1e-5)


def test_a_step_compiled_once_is_not_compiled_again_at_every_level() -> None:
    compiled: list[Callable[[Tensor], Tensor]] = []
    counter = torch._dynamo.testing.CompileCounter()

    def train(model: nn.Module) -> None:
        if not compiled:
            compiled.append(torch.compile(model, backend=counter))
        fit(model, compiled[0])

    search(net(), train, spied=False, levels=4, rate=0.3)
    assert counter.frame_count <= 2


def by_hand(model: nn.Module, forward: Callable[[Tensor], Tensor], momenta: dict[nn.Parameter, Tensor]) -> None:
    """Steps without an optimiser, whose momentum lives on: only the forward pass can set weights to zero."""
    for step in range(5):
        model.zero_grad()
        inputs, labels = batch_of(step)
        cross_entropy(forward(inputs), labels).backward()
        for parameter in model.parameters():
            momentum = momenta.setdefault(parameter, torch.zeros_like(parameter))
            momentum.mul_(0.9).add_(parameter.grad)
            parameter.data.sub_(0.1 * momentum)


def layers_compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return compiled(lambda x: model[5](model[3](model[1](x.flatten(1)).tanh()).relu()))


def layer_compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    first = compiled(model[1])
    return lambda x: model[5](model[3](first(x.flatten(1)).tanh()).relu())


def compiled(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return torch.compile(forward, backend=EAGER)


FORWARDS: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "model": compiled,
    "function": lambda model: compiled(lambda inputs: model(inputs)),
    "parts": lambda model: compiled(lambda inputs: model[3:](model[:3](inputs))),
    "layers": layers_compiled,
    "layer": layer_compiled,
}


@pytest.mark.parametrize(("what", "early"), [*((what, False) for what in FORWARDS), ("model", True), ("layers", True)])
def test_steps_by_hand_through_compiled_forward_passes_are_right(what: str, early: bool) -> None:
    model, momenta = net(), {}
    before = FORWARDS[what](model)
    tickets = search(
        model,
        lambda model: by_hand(model, before if early else FORWARDS[what](model), momenta),
        spied=False,
    )
    expected: dict[nn.Parameter, Tensor] = {}
    same(tickets, search(net(), lambda model: by_hand(model, model, expected)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["model", "layers"])
def test_steps_by_hand_through_a_model_compiled_before_the_search_are_refused_with_advice(what: str) -> None:
    """torch.compile does not notice hooks that come after the first call."""
    model, momenta = net(), {}
    forward = FORWARDS[what](model)
    forward(batch_of(0)[0])
    with pytest.raises(PruningError, match=r"pruned weights .* not zero in a forward pass.*torch\._dynamo\.reset\(\)"):
        lthprune.imp(model, lambda model: by_hand(model, forward, momenta), levels=2, rate=0.5)
    torch._dynamo.reset()
    again, momenta = net(), {}
    forward = FORWARDS[what](again)
    tickets = search(again, lambda model: by_hand(model, forward, momenta), spied=False)
    expected: dict[nn.Parameter, Tensor] = {}
    same(tickets, search(net(), lambda model: by_hand(model, model, expected)), rtol=1e-4, atol=1e-5)


def test_a_compiled_model_may_be_called_twice_before_the_backward_pass() -> None:
    def train(model: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        optimizer = sgd(model)
        for step in range(4):
            optimizer.zero_grad()
            (one, labels), (other, others) = batch_of(step), batch_of(step + 10)
            (cross_entropy(forward(one), labels) + cross_entropy(forward(other), others)).backward()
            optimizer.step()

    tickets = search(net(), lambda model: train(model, torch.compile(model, backend=EAGER)), spied=False)
    same(tickets, search(net(), lambda model: train(model, model)), rtol=1e-4, atol=1e-5)


def test_compiled_evaluation_with_and_without_gradients_reads_zeros() -> None:
    def train(model: nn.Module) -> None:
        compiled = torch.compile(model, backend=EAGER)
        for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            fit(model, compiled)
            masks = masks_of(model)
            expected = lthprune.strip(net())
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1)
            expected.load_state_dict({n: t * masks.get(n, 1) for n, t in model.state_dict().items()})
            with context():
                assert torch.allclose(compiled(batch_of(0)[0]), expected(batch_of(0)[0]), atol=1e-6)

    search(net(), train, spied=False)


def test_a_ticket_of_a_compiled_model_fits_the_plain_one() -> None:
    tickets = lthprune.imp(torch.compile(net(), backend=EAGER), fit, levels=2, rate=0.5)
    assert list(tickets[2].masks) == ["1.weight", "3.weight", "5.weight"]
    replay(net, fit, tickets)
    fit(tickets[2].apply(net(seed=2)))
