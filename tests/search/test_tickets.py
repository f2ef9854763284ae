"""Tickets: saved, loaded, applied."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import PruningError, StorageError
from lthprune.files import read_tensors, write_tensors
from lthprune.pruning.prunable import select
from lthprune.pruning.pruner import current_masks, prune
from lthprune.pruning.selection import Selection
from lthprune.pruning.state import live_state, masks_of, snapshot
from lthprune.search.drivers import imp, osp
from lthprune.search.tickets import Ticket, load_ticket
from tests import strategies
from tests.nets import Architecture, all_bits, net, outputs, refused, train


def ticket_of(architecture, bias=False, seed=0):
    """The last ticket of a short search."""
    return imp(architecture.build(seed), train, levels=1, rate=0.5, scope="layerwise", bias=bias, min_survivors=1)[-1]


def parts(ticket):
    return all_bits(ticket.masks), all_bits(ticket.weights), all_bits(ticket.trained)


@given(strategies.architectures(), strategies.biases, st.sampled_from(["rewound", "trained"]))
def test_a_ticket_gives_the_same_outputs_on_any_model_before_and_after_saving(
    tmp_path_factory, architecture, bias, weights
):
    ticket = ticket_of(architecture, bias)
    loaded = load_ticket(ticket.save(tmp_path_factory.mktemp("tickets") / "ticket.safetensors"))
    assert parts(loaded) == parts(ticket)
    pruned = architecture.build(2)
    prune(pruned, 0.7, bias="together", min_survivors=1)  # biases too, which the ticket may leave alone
    trained = architecture.build(3)
    train(trained)
    expected = None
    for each in (ticket, loaded):
        for model in (architecture.build(1), pruned, trained):
            assert each.apply(model, weights) is model
            computed = outputs(model)
            expected = computed if expected is None else expected
            assert computed.equal(expected)
            masks = masks_of(model)
            assert all(masks[name].bool().equal(mask) for name, mask in ticket.masks.items())
            assert all(masks[name].all() for name in masks.keys() - ticket.masks.keys())


@given(strategies.architectures(), strategies.biases)
def test_counts_and_densities_are_those_of_the_masks_on_disk(tmp_path_factory, architecture, bias):
    ticket = ticket_of(architecture, bias)
    path = ticket.save(tmp_path_factory.mktemp("tickets") / "ticket.safetensors")
    packed = {name[6:]: tensor for name, tensor in read_tensors(path)[0].items() if name.startswith("masks/")}
    sizes = {name: ticket.weights[name].numel() for name in packed}
    ones = {name: int(np.unpackbits(bits.numpy()).sum()) for name, bits in packed.items()}
    assert ones == {name: count.left for name, count in ticket.counts.items()}
    assert sizes == {name: count.total for name, count in ticket.counts.items()}
    assert ticket.left == sum(ones.values())
    assert ticket.density == sum(ones.values()) / sum(sizes.values())
    assert ticket.sparsity == 1 - ticket.density


def test_applying_shares_no_memory_and_leaves_the_ticket_as_it_was():
    model = net("normalised")
    ticket = imp(net("normalised"), train, levels=1)[1]
    before = parts(ticket)
    ticket.apply(model)
    train(model)
    prune(model, 0.5)
    with torch.no_grad():
        for tensor in (*live_state(model).values(), *masks_of(model).values()):
            tensor.zero_()
    assert parts(ticket) == before


def test_a_rewound_ticket_trains_to_the_weights_it_was_trained_to():
    ticket = imp(net("normalised"), train, levels=2, rate=0.5)[2]
    model = ticket.apply(net("normalised", seed=1))
    train(model)
    assert all_bits(snapshot(model)) == all_bits(ticket.trained)


@pytest.mark.parametrize("form", ["plain", "torch"])
@pytest.mark.parametrize("rewind", ["lr", "none"])
@pytest.mark.parametrize(("driver", "source"), [(imp, 1), (osp, 0)])
def test_a_ticket_without_rewinding_holds_the_weights_that_training_started_from_and_copies_none(
    tmp_path, driver, source, rewind, form
):
    started = []

    def training(model):
        started.append(all_bits(snapshot(model)))
        return train(model)

    tickets = driver(net("normalised"), training, levels=2, rate=0.5, rewind=rewind, form=form)
    assert [all_bits(ticket.weights) for ticket in tickets] == started
    unpruned = tickets[2].weights.keys() - tickets[2].masks.keys()
    assert {"1.running_mean", "1.weight"} <= unpruned
    for name in unpruned:
        assert tickets[2].weights[name].data_ptr() == tickets[source].trained[name].data_ptr()
    saved = load_ticket(tickets[2].save(tmp_path / "ticket"))
    for again in (pickle.loads(pickle.dumps(tickets))[2], copy.deepcopy(tickets[2]), saved):
        assert parts(again) == parts(tickets[2])


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("form", ["convolutional", "normalised"])
def test_a_model_of_another_architecture_is_refused_and_stays_whole(form, pruned):
    ticket = imp(net("dense"), train, levels=1)[1]
    model = net(form)
    if pruned:
        prune(model, 0.5)
    with refused("the ticket of level 1 does not fit this Sequential", model, error=StorageError):
        ticket.apply(model)


def test_other_weights_than_a_tickets_own_two_are_refused_and_the_model_stays_as_it_was():
    model, ticket = net("dense"), bare()
    with refused(
        "unknown weights 'traind'; did you mean 'trained'.*Known: rewound, trained", model, error=PruningError
    ):
        ticket.apply(model, "traind")
    with refused("unknown weights 'init'", model, error=PruningError):
        ticket.apply(model, "init")


arrays = st.sampled_from([np.float32, np.float64, np.int64, np.uint8, bool]).flatmap(
    lambda dtype: st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), max_size=3).map(
        lambda rows: np.array(rows, dtype=dtype).reshape(-1, 2)
    )
)
plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()
metrics = st.recursive(
    st.dictionaries(st.text(), plain | arrays | arrays.map(torch.from_numpy)),
    lambda nested: st.dictionaries(st.text() | st.just("val/acc.0"), nested | plain, max_size=3),
    max_leaves=5,
)


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, np.ndarray | torch.Tensor):
        return np.asarray(first).dtype == second.dtype and np.array_equal(np.asarray(first), second)
    return first == second and type(first) is type(second)


def bare(**words):
    tensor = {"weight": torch.ones(2)}
    masks = {"weight": torch.tensor([True, False])}
    return Ticket(0, masks, tensor, {"weight": torch.zeros(2)}, **words)


@given(metrics)
def test_metrics_of_any_nesting_and_name_come_back_with_their_types(tmp_path_factory, metrics):
    path = bare(metrics=metrics).save(tmp_path_factory.mktemp("tickets") / "ticket.safetensors")
    assert same(metrics, load_ticket(path).metrics)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (torch.tensor(3), 3),
        (np.array(2.5), 2.5),
        (torch.tensor(0.25, requires_grad=True), 0.25),
        (-math.inf, -math.inf),
        (torch.tensor([1.5, 2.5], dtype=torch.bfloat16), [1.5, 2.5]),
        (torch.ones(2, 3).t(), [[1, 1]] * 3),
        (np.arange(6.0)[::-2], [5, 3, 1]),
    ],
)
def test_scalars_and_arrays_of_every_sort_are_kept(tmp_path, value, expected):
    loaded = load_ticket(bare(metrics={"x": value}).save(tmp_path / "ticket")).metrics["x"]
    assert (loaded.tolist() if isinstance(loaded, np.ndarray) else loaded) == expected


def test_metrics_that_share_memory_are_kept_apart(tmp_path):
    history = np.arange(4.0)
    loaded = load_ticket(bare(metrics={"all": history, "again": history, "late": history[2:]}).save(tmp_path / "t"))
    assert same({"all": history, "again": history, "late": history[2:]}, loaded.metrics)


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (0.98, "returned a float; return a dict"),
        ([{"acc": 0.9}], "returned a list"),
        ({"acc": ["a", "b"]}, "'acc' as a list; metrics are real numbers"),
        ({"nested": {"acc": object()}}, "'acc' as an object"),
        ({3: 0.5}, "a metric named 3; names are strings"),
        ({"nested": {None: 0.5}}, "a metric named None"),
        ({"words": np.array(["a", "b"])}, "'words'"),
        ({"things": np.array([None])}, "'things'"),
        ({"nested": {"$array": "0"}}, r"'\$array'"),
        ({"z": 1j}, "'z' as a complex"),
        (3, "returned an int; return a dict"),
        ({"words": np.array(["a"])}, "'words' as an ndarray of"),
        ({"z": np.complex128(1)}, "'z'"),
    ],
)
def test_metrics_that_cannot_be_kept_are_refused_when_they_are_returned(returned, complaint):
    with pytest.raises(PruningError, match=complaint):
        imp(net("dense"), lambda model: returned, levels=0)


def test_a_ticket_keeps_what_the_metrics_were_when_they_were_returned():
    history = np.zeros(3)

    def training(model):
        history[:] += 1
        return {"history": history, "nested": {"history": history}}

    tickets = imp(net("dense"), training, levels=2)
    assert [ticket.metrics["history"].tolist() for ticket in tickets] == [[1] * 3, [2] * 3, [3] * 3]
    assert [ticket.metrics["nested"]["history"][0] for ticket in tickets] == [1, 2, 3]


@given(st.data())
def test_a_ticket_cut_short_anywhere_is_refused(tmp_path_factory, data):
    path = bare().save(tmp_path_factory.mktemp("tickets") / "ticket.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(StorageError, match="is damaged"):
        load_ticket(path)


@pytest.mark.parametrize(
    "header",
    ["", "no json", "[]", "{}", '{"format": 1}', '{"format": 2, "masked": []}', '{"format": 1, "masked": ["w"]}'],
)
def test_a_file_of_ours_that_is_no_ticket_is_refused(tmp_path, header):
    write_tensors(tmp_path / "file", {"tensor": torch.ones(1)}, header)
    with pytest.raises(StorageError, match="is not a ticket"):
        load_ticket(tmp_path / "file")


def test_initial_weights_are_no_ticket_and_the_error_says_where_the_tickets_are(tmp_path):
    imp(net("dense"), train, levels=0, store=tmp_path)
    with pytest.raises(StorageError, match=r"holds the initial weights of a trial\. The tickets are beside it"):
        load_ticket(tmp_path / "trial-0" / "initial.safetensors")
    with pytest.raises(StorageError, match="trial-0: it is a folder"):
        load_ticket(tmp_path / "trial-0")


def test_a_ticket_is_shown_by_its_level_what_is_left_and_its_metrics_names_alone():
    ticket = imp(net("dense"), train, levels=1, rate=0.5)[1]
    assert repr(ticket) == "<Ticket of level 1: density 49.69%, 79 weights left, metrics: sum, history>"
    assert repr(bare()) == "<Ticket of level 0: density 50.00%, 1 weights left>"


def test_a_ticket_holds_the_tensors_that_were_selected_and_no_others():
    selection = Selection(kinds=("conv",))
    model = net("convolutional")
    (ticket,) = imp(model, train, levels=0, selection=selection, bias=True)
    assert all_bits(ticket.masks) == all_bits(current_masks(select(model, selection, bias=True)))
    assert ticket.masks.keys() == {"0.weight", "0.bias", "3.weight", "3.bias"}


@pytest.mark.parametrize("path", [None, 3])
def test_a_path_that_is_none_is_named(path):
    with pytest.raises(StorageError, match="a ticket is read from a file; name its path"):
        load_ticket(path)


def forged(path, header, tensors):
    """A ticket's file with another header and other tensors; None removes an entry."""
    ticket = ticket_of(Architecture("normalised"))
    held, text = read_tensors(ticket.save(path))
    entries = {name: value for name, value in (json.loads(text) | header).items() if value is not ...}
    held = {name: tensor for name, tensor in (held | tensors).items() if tensor is not None}
    write_tensors(path, held, json.dumps(entries))
    return path


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ({"metrics": None}, "metrics: Input should be a valid dictionary"),
        ({"metrics": {"loss": {"$array": "7"}}}, "refer to an array that it lacks"),
        ({"metrics": {"loss": {"$array": []}}}, "refer to an array that it lacks"),
        ({"masked": []}, "masked: List should have at least 1 item"),
        ({"masked": ["nowhere"]}, "lacks the trained weights of 'nowhere'"),
        ({"level": -1}, "level: Input should be greater than or equal to 0"),
        ({"level": "1"}, "level: Input should be a valid integer"),
        ({"tied": {"a": "b"}}, "'a' is tied to 'b', which has no mask"),
        ({"late_buffers": "x"}, "late_buffers: Input should be a valid list"),
        ({"provenance": ...}, "provenance: Field required"),
        ({"format": 2, "shared": {"a": {"file": "../../secret.safetensors", "key": "w", "pruned": False}}}, "pattern"),
        ({"format": 2, "shared": {"a": {"file": "/etc/passwd", "key": "w", "pruned": False}}}, "pattern"),
        ({"format": [[9] * 10_000]}, "format"),
    ],
)
def test_a_header_that_no_ticket_has_is_refused(tmp_path, header, complaint):
    with pytest.raises(StorageError, match=complaint) as caught:
        load_ticket(forged(tmp_path / "ticket.safetensors", header, {}))
    assert len(str(caught.value)) < 2000


def test_a_header_nested_a_hundred_thousand_deep_is_refused(tmp_path):
    write_tensors(tmp_path / "deep", {"w": torch.ones(1)}, "[" * 100_000)
    with refused("its header cannot be read .recursion limit", error=StorageError):
        load_ticket(tmp_path / "deep")


def test_all_tensors_that_do_not_fit_their_masks_are_listed_at_once(tmp_path):
    ticket = ticket_of(Architecture("normalised"))
    first, *rest = ticket.masks
    spoilt = {f"masks/{first}": torch.zeros(1, dtype=torch.uint8), f"trained/{rest[-1]}": None}
    with pytest.raises(StorageError) as caught:
        load_ticket(forged(tmp_path / "ticket.safetensors", {}, spoilt))
    for fault in (f"the mask of {first!r} is no vector of bytes", f"lacks the trained weights of {rest[-1]!r}"):
        assert fault in str(caught.value)


def test_trained_weights_that_a_mask_prunes_must_be_zero(tmp_path):
    ticket = ticket_of(Architecture("normalised"))
    name = next(iter(ticket.masks))
    assert not ticket.masks[name].all()
    spoilt = {f"trained/{name}": torch.ones_like(ticket.trained[name])}
    with refused(f"prunes weights of '{name}' that are not zero", error=StorageError):
        load_ticket(forged(tmp_path / "ticket.safetensors", {}, spoilt))


def test_types_that_numpy_lacks_are_refused_in_masks_and_metrics(tmp_path):
    ticket = ticket_of(Architecture("normalised"))
    name, eighth = next(iter(ticket.masks)), torch.zeros(1, dtype=torch.float8_e4m3fn)
    with refused(f"the mask of '{name}' is no vector of bytes", error=StorageError):
        load_ticket(forged(tmp_path / "masks", {}, {f"masks/{name}": eighth}))
    with refused("refer to an array that it lacks", error=StorageError):
        load_ticket(forged(tmp_path / "metrics", {"metrics": {"a": {"$array": "0"}}}, {"metrics/0": eighth}))
