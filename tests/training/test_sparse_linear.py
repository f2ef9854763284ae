"""Sparse layers compute what dense layers with the same masks do, and change nothing else about a model."""

import copy
import io
import pickle
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune as torchs

import lthprune
from lthprune import convert, imp, prune, strip
from lthprune.pruning import live_state, masks_of, write_masks
from lthprune.training import SparseLinear, use_dense_layers, use_sparse_layers
from lthprune.training.sparse_product import Pattern, sparse_product
from tests.nets import all_bits
from tests.strategies import seeds

FORMS = ("plain", "torch")
forms = st.sampled_from(FORMS)


def pruned(density: float = 0.05, form: str = "plain", dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 200), nn.ReLU(), nn.Linear(200, 10)).to(dtype)
    prune(model, 1 - density, scope="layerwise", form=form)
    return model


def sparse(layer: nn.Linear) -> nn.Linear:
    """The layer as a sparse one, of whatever size and density."""
    layer.__class__ = SparseLinear
    return layer


def masked(shape: tuple[int, int], mask: Tensor, form: str, dtype: torch.dtype, *, bias: bool) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(shape[1], shape[0], bias=bias, dtype=dtype))
    write_masks(model, {"0.weight": mask}, form)
    return model


def step(model: nn.Module, x: Tensor, deltas: Tensor) -> list[Tensor | None]:
    """The outputs of a model and all gradients."""
    x = x.detach().requires_grad_()
    y = model(x)
    y.backward(deltas)
    return [y.detach(), x.grad, *(parameter.grad for parameter in model.parameters())]


@given(
    seed=seeds,
    leading=st.sampled_from([(0,), (1,), (3,), (16,), (17,), (64,), (130,), (), (2, 0), (2, 3, 5), (5, 1, 13)]),
    shape=st.tuples(st.sampled_from([1, 3, 64, 70]), st.sampled_from([1, 5, 64, 67])),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    form=forms,
    dtype=st.sampled_from([torch.float32, torch.float64]),
    bias=st.booleans(),
    strided=st.booleans(),
)
def test_a_sparse_layer_computes_what_a_masked_dense_layer_does(
    seed, leading, shape, density, form, dtype, bias, strided
):
    torch.manual_seed(seed)
    out, into = shape
    model = masked(shape, torch.rand(shape) < density, form, dtype, bias=bias)
    twin = copy.deepcopy(model)
    sparse(twin[0])
    x, deltas = torch.randn(*leading, into, dtype=dtype), torch.randn(*leading, out, dtype=dtype)
    if strided:
        x, deltas = (torch.stack([each, each], dim=-1)[..., 0] for each in (x, deltas))
    for found, expected in zip(step(twin, x, deltas), step(model, x, deltas), strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    gradient = next(twin.parameters()).grad if form == "plain" else twin[0].weight_orig.grad
    assert not gradient[~masks_of(twin)["0.weight"]].any()


def test_only_the_gradients_that_are_needed_are_computed():
    model = pruned()
    use_sparse_layers(model)
    x = torch.randn(70, 256, requires_grad=True)
    model[0].weight.requires_grad_(False)
    model(x).sum().backward()
    assert model[0].weight.grad is None
    assert model[0].bias.grad is not None
    assert x.grad is not None
    model.requires_grad_(False)
    assert not model(x.detach()).requires_grad


@pytest.mark.parametrize("biased", [False, True])
def test_derivatives_and_second_derivatives_are_right(biased):
    torch.manual_seed(0)
    mask = torch.rand(6, 5) < 0.4
    x, weight, bias = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((3, 5), (6, 5), (6,)))
    pattern, tensors = Pattern.of(mask), (x, weight, bias) if biased else (x, weight)

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return sparse_product(x, weight, bias, pattern)

    assert torch.autograd.gradcheck(product, tensors)
    assert torch.autograd.gradgradcheck(product, tensors)


def test_bits_do_not_depend_on_the_number_of_threads():
    model, x, deltas = pruned(), torch.randn(1000, 256), torch.randn(1000, 10)
    for layer in (model[0], model[2]):
        sparse(layer)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3, 16):
            torch.set_num_threads(number)
            model.zero_grad()
            results.append(step(model, x, deltas))
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_notices_that_its_mask_was_changed(form):
    model, x = pruned(form=form), torch.randn(20, 256)
    assert use_sparse_layers(model) == ["0"]

    def check() -> None:
        twin = copy.deepcopy(model)
        use_dense_layers(twin)
        torch.testing.assert_close(model(x), twin(x))

    check()
    ticket = imp(pruned(1, form="plain"), lambda model: None, levels=1, schedule=[0.02])[1]
    prune(model, 0.5, scope="layerwise", form=form)
    check()
    ticket.apply(model)
    check()
    convert(model, "torch" if form == "plain" else "plain")
    check()
    write_masks(model, {"0.weight": torch.eye(200, 256, dtype=torch.bool)}, "plain")
    check()
    with torch.no_grad():
        model[0].weight[0, 0] += 1
        model[0].weight.data[0, 0] += 1
    check()
    strip(model)
    with torch.no_grad():
        model[0].weight += 1
    check()


def test_a_layer_notices_that_its_mask_was_replaced():
    (model, twin), x = (pruned(form="torch") for _ in range(2)), torch.randn(20, 256)
    use_sparse_layers(model)
    for shift in (0, 1):
        for each in (model, twin):
            each[0].weight_mask = each[0].weight_mask.roll(shift, dims=0)
        torch.testing.assert_close(model(x), twin(x))


@pytest.mark.parametrize("form", FORMS)
def test_a_model_comes_back_as_it_was(form):
    model = pruned(form=form).eval()
    model[0].train()
    model[0].register_forward_hook(lambda *_: None)
    layer, parameters = model[0], {name: id(each) for name, each in model.named_parameters()}
    state, kept = copy.deepcopy(model.state_dict()), set(vars(layer))
    hooks = list(layer._forward_pre_hooks), list(layer._forward_hooks)
    assert use_sparse_layers(model) == use_sparse_layers(model) == ["0"]
    assert isinstance(model[0], SparseLinear)
    assert "left=2560" in repr(model)
    model(torch.randn(20, 256))
    assert use_dense_layers(model) == ["0"]
    assert use_dense_layers(model) == []
    assert model[0] is layer
    assert type(layer) is nn.Linear
    assert set(vars(layer)) == kept
    assert {name: id(each) for name, each in model.named_parameters()} == parameters
    assert (list(layer._forward_pre_hooks), list(layer._forward_hooks)) == hooks
    assert (model.training, layer.training, model[2].training) == (False, True, False)
    assert all_bits(model.state_dict()) == all_bits(state)


def test_only_large_layers_with_few_weights_left_on_a_cpu_are_swapped():
    assert use_sparse_layers(pruned(0.2)) == []
    assert use_sparse_layers(pruned(dtype=torch.bfloat16)) == []
    assert use_sparse_layers(pruned(dtype=torch.float64)) == ["0"]
    assert use_sparse_layers(strip(pruned())) == []
    attention = nn.MultiheadAttention(256, 4)
    prune(attention, 0.95, scope="layerwise", form="plain")
    assert use_sparse_layers(attention) == []
    with pytest.raises(lthprune.PruningError, match="model"):
        use_sparse_layers("model")


def test_copies_and_pickles_of_a_model_with_sparse_layers_work_alone():
    model, x = pruned(), torch.randn(20, 256)
    use_sparse_layers(model)
    expected = model(x)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
        assert isinstance(other[0], SparseLinear)
        assert vars(other[0]).keys() == vars(pruned()[0]).keys()
        assert torch.equal(other(x), expected)
        prune(other, 0.5, scope="layerwise", form="plain")
        assert not torch.equal(other(x), expected)
        assert torch.equal(model(x), expected)
        further = copy.deepcopy(other)
        use_dense_layers(further)
        torch.testing.assert_close(other(x), further(x))


@pytest.mark.parametrize("form", FORMS)
def test_what_the_kernels_cannot_do_is_computed_as_by_a_dense_layer(form):
    model, twin, x = pruned(form=form), pruned(form=form), torch.randn(20, 256)
    use_sparse_layers(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(x), twin(x))
    torch.testing.assert_close(torch.func.vmap(model)(x[:, None]), torch.func.vmap(twin)(x[:, None]))
    values = {name: torch.randn_like(each) for name, each in model.named_parameters()}
    call = torch.func.functional_call
    torch.testing.assert_close(call(model, values, (x,)), call(twin, values, (x,)))
    torch.testing.assert_close(torch.func.jacrev(model)(x[0]), torch.func.jacrev(twin)(x[0]))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(x[:, 1:])
    with pytest.raises(RuntimeError, match="dtype"):
        model(x.double())
    with torch.inference_mode():
        torch.testing.assert_close(model(x), twin(x))
    assert torch.equal(model.bfloat16()(x.bfloat16()), twin.bfloat16()(x.bfloat16()))


def test_a_layer_pruned_by_torchs_own_functions_is_sparse_too():
    model = nn.Sequential(nn.Linear(256, 200))
    torchs.l1_unstructured(model[0], "weight", 0.95)
    expected = model(x := torch.randn(20, 256))
    assert use_sparse_layers(model) == ["0"]
    torch.testing.assert_close(model(x), expected)
    torchs.remove(model[0], "weight")
    torch.testing.assert_close(model(x), expected)


def training(*, swapped: bool) -> Iterator[list[Tensor]]:
    """A search with a loop of one's own; yields the masks and weights of every ticket."""
    torch.manual_seed(0)
    x, y = torch.randn(100, 256, dtype=torch.float64), torch.randint(10, (100,))
    model = nn.Sequential(nn.Linear(256, 200), nn.ReLU(), nn.Linear(200, 10)).double()
    found = []

    def train(model: nn.Module) -> dict[str, int]:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        if swapped:
            found.append(use_sparse_layers(model))
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        return {"swapped": len(use_dense_layers(model))}

    for ticket in imp(model, train, levels=3, schedule=[0.3, 0.09, 0.05]):
        assert ticket.metrics["swapped"] == (swapped and ticket.density < 0.1)
        yield [*ticket.masks.values(), *ticket.trained.values()]
    assert type(model[0]) is nn.Linear


def test_a_search_whose_loop_uses_sparse_layers_finds_the_same_tickets():
    for dense, own in zip(training(swapped=False), training(swapped=True), strict=True):
        for expected, found in zip(dense, own, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_states_analyses_and_compaction_read_a_model_with_sparse_layers():
    model = pruned()
    expected = lthprune.neuron_states(model), live_state(model).keys()
    use_sparse_layers(model)
    states = lthprune.neuron_states(model)
    assert repr(states) == repr(expected[0])
    assert live_state(model).keys() == expected[1]
    smaller = lthprune.compact(model).model
    assert {type(layer) for layer in smaller} == {nn.Linear, nn.ReLU}
    assert isinstance(model[0], SparseLinear)
