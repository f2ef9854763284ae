"""Corners: writes inside of a forward pass, parts of models, modes, masks that a search did not choose."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.utils import prune as torch_prune

import lthprune
from lthprune.errors import PruningError, StorageError
from lthprune.pruning.forms import convert, strip
from lthprune.pruning.prunable import select
from lthprune.pruning.pruner import prune
from lthprune.pruning.selection import Selection
from lthprune.pruning.state import masks_of, snapshot
from tests.nets import all_bits, net, outputs, train


class Written(nn.Module):
    """Writes to the weight of a child, or replaces it by another tensor, inside its own forward pass."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.seen = how, []
        self.body, self.head = nn.Linear(16, 8), nn.Linear(8, 3)
        self.body.register_forward_hook(lambda module, *_: self.seen.append(int((module.weight != 0).sum())))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.how == "swapped":
            return self.head(functional_call(self.body, {"weight": self.body.weight + 1}, (x,)))
        with torch.no_grad():
            self.body.weight.add_(0.01)
        return self.head(self.body(x))


@pytest.mark.parametrize("how", ["swapped", "written"])
def test_tensors_that_a_forward_pass_writes_or_replaces_are_masked_when_they_are_read(how: str) -> None:
    model = Written(how)
    ticket = lthprune.imp(model, train, levels=1, rate=0.5)[1]
    assert set(model.seen[-4:]) == {ticket.counts["body.weight"].left}


@pytest.mark.parametrize("take_off", [strip, lambda part: convert(part, "torch")])
def test_a_part_of_a_plain_model_that_is_stripped_or_converted_stays_so(take_off) -> None:
    model = net("dense")
    prune(model, 0.5, form="plain")
    computed = outputs(model)
    take_off(model[1])
    before = masks_of(model).keys()
    assert outputs(model).equal(computed)
    assert masks_of(model).keys() == before
    with torch.no_grad():
        next(model[1].parameters()).fill_(1.0)
    outputs(model)
    assert next(model[1].parameters()).all()


def test_a_loss_without_a_gradient_at_zero_is_named() -> None:
    def training(model: nn.Module) -> None:
        (outputs_of := model(torch.ones(2, 1, 4, 4))).sum().backward()
        (model[1].weight.abs().sqrt().sum() + outputs_of.detach().sum()).backward()
        torch.optim.SGD(model.parameters(), 0.01).step()

    with pytest.raises(PruningError, match=r"weights of '1\.weight' are NaN.*gradient of the loss does not exist"):
        lthprune.imp(net("dense"), training, levels=1)


def test_a_population_whose_models_have_different_numbers_of_remaining_weights_is_refused_before_training() -> None:
    models = [net("dense"), net("dense")]
    prune(models[0], 0.5, form="plain")
    with pytest.raises(PruningError, match="same numbers of remaining weights"):
        lthprune.imp(models, lambda models: pytest.fail("was trained"), levels=1)


def test_a_model_that_torch_prunes_in_the_plain_form_is_refused_before_it_is_trained() -> None:
    model = net("dense")
    prune(model, 0.5, form="plain")
    torch_prune.l1_unstructured(model[1], "weight", 0.5)
    for call in (
        lambda: convert(model, "torch"),
        lambda: lthprune.imp(model, lambda model: pytest.fail("was trained"), levels=1),
    ):
        with pytest.raises(PruningError, match=r"'1\.weight' is pruned in the plain form, and torch"):
            call()


def tied_net() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 3))
    model[3].weight = model[1].weight
    return model


def test_a_tied_ticket_masks_an_untied_model_in_all_places_and_an_untied_one_fits_no_tied_model(tmp_path: Path) -> None:
    ticket = lthprune.imp(tied_net(), train, levels=1, rate=0.5)[1]
    untied = copy.deepcopy(tied_net())
    untied[3].weight = nn.Parameter(untied[3].weight.detach().clone())
    loaded = lthprune.load_ticket(ticket.save(tmp_path / "ticket.safetensors"))
    for each in (ticket, loaded):
        masks = masks_of(each.apply(untied))
        assert masks["1.weight"].equal(masks["3.weight"])
    other = lthprune.imp(strip(untied), train, levels=1, rate=0.5)[1]
    with pytest.raises(StorageError, match=r"the model ties '1\.weight' and '3\.weight'"):
        other.apply(tied_net())


def test_a_shared_module_is_left_out_under_any_of_its_names() -> None:
    encoder = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model = nn.ModuleDict({"encoder": encoder, "decoder": nn.Sequential(encoder[0], nn.Linear(4, 4))})

    def names(selection: Selection) -> list[str]:
        return [tensor.name for tensor in select(model, selection)]

    assert names(Selection(exclude=("decoder*",))) == ["encoder.1.weight"]
    assert names(Selection(include=("decoder.0",))) == ["encoder.0.weight"]


def test_zero_biases_of_attention_with_keys_of_another_width_are_not_pruned_first() -> None:
    model = nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
    nn.init.zeros_(model.in_proj_bias)
    left = prune(model, 0.3, bias="together", form="plain")
    assert left["in_proj_bias"].left > 0


def test_biases_of_norms_are_pruned_only_where_biases_are() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    kinds = (*Selection.kinds, "vector")
    assert [each.name for each in select(model, Selection(kinds=kinds))] == ["0.weight", "1.weight"]
    assert "1.bias" in [each.name for each in select(model, Selection(kinds=kinds), bias=True)]


def test_training_a_copy_that_was_kept_from_the_dense_level_is_refused() -> None:
    kept: list[nn.Module] = []

    def training(model: nn.Module) -> None:
        if not kept:
            train(model)
            kept.append(copy.deepcopy(model))
        train(kept[0])

    with pytest.raises(PruningError, match="received no gradient and did not change"):
        lthprune.imp(net("dense"), training, levels=1)


def test_memory_shared_with_a_parameter_that_is_not_selected_is_refused() -> None:
    model = nn.Module()
    model.layer = nn.Linear(4, 4)
    model.decoder = nn.Parameter(model.layer.weight.data.t())
    with pytest.raises(PruningError, match=r"'(decoder|layer\.weight)' and '(decoder|layer\.weight)' are different"):
        prune(model, 0.5, selection=Selection())


def test_a_search_of_a_compiled_model_ends_in_torchs_form() -> None:
    def training(model: nn.Module) -> None:
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="eager")
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for seed in range(2):
            optimizer.zero_grad()
            inputs = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
            cross_entropy(compiled(inputs), torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()

    model = net("dense")
    lthprune.imp(model, training, levels=1, rate=0.5)
    assert torch_prune.is_pruned(model)
    torch_prune.remove(model[1], "weight")


def test_parameters_whose_own_names_look_like_those_of_pruning_go_through_a_search() -> None:
    model = net("dense")
    model.extra = nn.ParameterDict({"scale_orig": nn.Parameter(torch.ones(2))})
    model.forward = lambda x: nn.Sequential(*list(model)[:6])(x)
    model[1].register_parameter("gain_orig", nn.Parameter(torch.ones(1)))
    model[1].register_buffer("gain_mask", torch.ones(1))
    ticket = lthprune.imp(model, train, levels=1, rate=0.5)[1]
    assert {"extra.scale_orig", "1.gain_orig", "1.gain_mask"} <= ticket.weights.keys()


@pytest.mark.parametrize("number", [1, 2])
def test_parameters_added_in_training_are_named(number: int) -> None:
    def training(model: nn.Module) -> None:
        train(model)
        if number == 1:
            model.register_parameter("scale", nn.Parameter(torch.ones(2)))
        else:
            model[5].extra = nn.Linear(2, 2)

    with pytest.raises(PruningError, match=r"train\(\) added or removed parameters: (scale|5\.extra\.bias)"):
        lthprune.imp(net("dense"), training, levels=1)


def test_expanded_buffers_are_rewound() -> None:
    model = net("dense")
    model.register_buffer("shift", torch.ones(1).expand(4))
    tickets = lthprune.imp(model, train, levels=2)
    assert tickets[2].weights["shift"].tolist() == [1, 1, 1, 1]


def test_every_level_starts_in_the_modes_and_with_the_frozen_parameters_of_the_first() -> None:
    model, seen = net("normalised"), []
    model[1].eval()
    model[4].weight.requires_grad_(False)

    def training(model: nn.Module) -> None:
        seen.append(([each.training for each in model.modules()], [each.requires_grad for each in model.parameters()]))
        train(model)
        model.eval().requires_grad_(True)

    lthprune.imp(model, training, levels=2)
    assert seen[0] == seen[1] == seen[2]


class Interrupted(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("kind", ["other tensors", "pruned before", "searched again"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_resumed_search_has_the_masks_that_were_there_before_it(tmp_path: Path, kind: str, at: int) -> None:
    selection = Selection(include=("3", "5"))

    def begun() -> nn.Module:
        model = net("dense")
        if kind != "searched again":
            prune(model, 0.5, selection=Selection(include=("1",) if kind == "other tensors" else ("*",)), form="plain")
        return model

    calls = []

    def broken(model: nn.Module) -> None:
        calls.append(None)
        if len(calls) == at + 1:
            raise Interrupted
        train(model)

    words = {"levels": 2, "rate": 0.3, "selection": selection}
    whole = lthprune.imp(expected := begun(), train, **words)
    model = begun()
    with pytest.raises(Interrupted):
        lthprune.imp(model, broken, store=tmp_path / "store", **words)
    if kind == "searched again":
        lthprune.imp(model, train, levels=1, rate=0.5)
    fresh = net("dense") if kind != "searched again" else model
    resumed = lthprune.imp(fresh, train, store=tmp_path / "store", **words)
    assert [ticket.left for ticket in resumed] == [ticket.left for ticket in whole]
    assert all_bits(resumed[2].trained) == all_bits(whole[2].trained)
    assert all_bits(snapshot(fresh)) == all_bits(snapshot(expected))


def test_a_search_in_inference_mode_and_a_ticket_onto_a_meta_model_are_refused() -> None:
    with torch.inference_mode(), pytest.raises(PruningError, match="inference_mode"):
        lthprune.imp(net("dense"), train, levels=1)
    ticket = lthprune.imp(net("dense"), train, levels=0)[0]
    with pytest.raises(PruningError, match="on the meta device"):
        ticket.apply(net("dense").to("meta"))


def test_a_state_that_is_assigned_rather_than_copied_is_refused() -> None:
    model = net("dense")
    prune(model, 0.5, form="plain")
    state = net("dense", seed=1).state_dict()
    with pytest.raises(PruningError, match=r"load_state_dict\(assign=True\) replaced the masked parameter 'weight'"):
        model.load_state_dict(state, assign=True)
    strip(model := net("dense")).load_state_dict(state, assign=True)
    assert outputs(model).equal(outputs(net("dense", seed=1)))
