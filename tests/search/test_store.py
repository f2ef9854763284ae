"""Searches on disk: interrupted, resumed, damaged, mistaken for others."""

import gc
import hashlib
import json
import pickle
import shutil
from types import FunctionType, ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lthprune.errors import LthpruneError, StorageError
from lthprune.files import read_tensors
from lthprune.pruning.pruner import Pruning
from lthprune.pruning.selection import Selection
from lthprune.pruning.state import snapshot
from lthprune.search.drivers import imp, osp
from lthprune.search.generators import imp_levels
from lthprune.search.rewinding import Rewinder
from lthprune.search.settings import Search
from lthprune.search.store import TicketStore
from lthprune.search.tickets import load_ticket
from tests import strategies
from tests.nets import OPTIMIZERS, Architecture, all_bits, net, refused, train

pytestmark = pytest.mark.filterwarnings("ignore::lthprune.errors.LayerCollapseWarning")
DRIVERS = {"imp": imp, "osp": osp}
LEVELS = 3


class KilledError(Exception):
    """The process ends here."""


def search(driver, architecture, seed, rewind, *, trials=None, store=None, dies_at=None, **words):
    """Run a search in a process of its own, as it were; return its tickets, and its models as they end."""
    rewinder = Rewinder(at=rewind) if isinstance(rewind, int) else None
    models = [architecture.build(seed + trial) for trial in range(trials or 1)]
    sessions = []

    def training(model):
        trained = [train(each, rewinder=rewinder) for each in (model if trials else [model])]
        sessions.append(trained)
        if len(sessions) - 1 == dies_at:
            raise KilledError
        return trained if trials else trained[0]

    subject = models if trials else models[0]
    words = {"levels": LEVELS, "rate": 0.4} | words
    tickets = DRIVERS[driver](subject, training, rewind=rewinder or rewind, store=store, **words)
    return (tickets if trials else [tickets]), models, len(sessions)


def shrink(model):
    """A training that writes to every weight."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)


def same_kibibyte():
    torch.manual_seed(0)
    return of_a_kibibyte()


def result(tickets, models):
    found = [
        [(all_bits(t.masks), all_bits(t.weights), all_bits(t.trained), list(t.metrics["history"])) for t in trial]
        for trial in tickets
    ]
    return found, [all_bits(snapshot(model)) for model in models]


@pytest.mark.parametrize("trials", [None, 2])
@pytest.mark.parametrize("rewind", ["init", 2, "lr", "none"])
@pytest.mark.parametrize("driver", DRIVERS)
@given(
    architecture=strategies.architectures(),
    level=st.integers(0, LEVELS + 1),
    words=st.fixed_dictionaries(
        {
            "scope": strategies.scopes,
            "bias": strategies.biases,
            "score": st.sampled_from(["magnitude", "movement", "random"]),
        }
    ),
)
@settings(max_examples=10)
def test_a_search_broken_off_at_any_level_and_resumed_ends_with_the_same_bits(
    tmp_path_factory, driver, rewind, trials, architecture, level, words
):
    store = tmp_path_factory.mktemp("runs") / "store"
    whole = search(driver, architecture, 0, rewind, trials=trials, **words)
    if level <= LEVELS:
        with pytest.raises(KilledError):
            search(driver, architecture, 0, rewind, trials=trials, store=store, dies_at=level, **words)
    else:
        search(driver, architecture, 0, rewind, trials=trials, store=store, **words)
    # whoever resumes holds a model with other weights: what counts is on disk
    *resumed, sessions = search(driver, architecture, 50, rewind, trials=trials, store=store, **words)
    assert result(*resumed) == result(*whole[:2])
    assert sessions == LEVELS + 1 - level


@pytest.mark.parametrize("level", range(LEVELS + 1))
@pytest.mark.parametrize("driver", DRIVERS)
def test_files_that_the_manifest_does_not_name_are_not_there(tmp_path, driver, level):
    manifests = []
    keep = lambda ticket: manifests.append((tmp_path / "manifest.json").read_bytes())  # noqa: E731
    whole = search(driver, Architecture("mixed"), 0, "init", store=tmp_path, on_level=keep)
    (tmp_path / "manifest.json").write_bytes(manifests[level])  # killed before the next manifest was in place
    for later in range(level + 1, LEVELS + 1):
        (tmp_path / f"trial-0/level-{later:02d}.safetensors").write_bytes(b"half a tick")
    *resumed, sessions = search(driver, Architecture("mixed"), 0, "init", store=tmp_path)
    assert result(*resumed) == result(*whole[:2])
    assert sessions == LEVELS - level


def stored(folder, trials=2):
    tickets, *_ = search("imp", Architecture("normalised"), 0, "init", trials=trials, store=folder)
    return tickets


def as_it_is(candidate):
    return candidate.final


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_store_holds_what_was_found_under_plain_names_and_no_temporary_files(tmp_path):
    found = stored(tmp_path)
    levels = [f"trial-{trial}/level-{level:02d}.safetensors" for level in range(LEVELS + 1) for trial in range(2)]
    initial = [f"trial-{trial}/initial.safetensors" for trial in range(2)]
    assert files(tmp_path).keys() == {*levels, *initial, "manifest.json", "manifest.copy.json", ".lock"}
    store = TicketStore(tmp_path)
    assert (store.exists, store.finished) == (True, LEVELS + 1)
    for level in range(LEVELS + 1):
        for ticket, trial in zip(store.level(level), found, strict=True):
            assert all_bits(ticket.masks) == all_bits(trial[level].masks)
            assert ticket.counts == trial[level].counts
            assert ticket.provenance == trial[level].provenance
            assert ticket.metrics["history"].tolist() == trial[level].metrics["history"].tolist()
    assert [all_bits(state) for state in store.load().initial] == [
        all_bits(snapshot(net("normalised", trial))) for trial in range(2)
    ]


def test_the_same_search_gives_the_same_files(tmp_path):
    stored(tmp_path / "one")
    stored(tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("spoil", ["flip", "cut", "delete"])
@pytest.mark.parametrize(
    "file", ["trial-1/initial", "trial-0/level-00", "trial-1/level-02", f"trial-0/level-{LEVELS:02d}"]
)
def test_a_file_that_is_not_what_was_written_is_refused_and_the_model_stays_whole(tmp_path, file, spoil):
    stored(tmp_path)
    path = tmp_path / f"{file}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink() if spoil == "delete" else path.write_bytes(data if spoil == "flip" else data[:-1])
    models = [net("normalised", seed) for seed in range(2)]
    with refused(f"{path} is (damaged|missing)", *models, error=StorageError):
        imp(models, lambda models: pytest.fail("trained"), levels=LEVELS, rate=0.4, store=tmp_path)


def test_a_search_does_not_begin_again_over_finished_levels_whose_manifest_is_missing(tmp_path):
    stored(tmp_path, trials=None)
    manifest = (tmp_path / "manifest.json").read_bytes()
    (tmp_path / "manifest.json").unlink()
    before, model = files(tmp_path), net("normalised")
    with refused(r"manifest\.json is missing.*cp .*manifest\.copy\.json", model, error=StorageError):
        imp(model, lambda model: pytest.fail("trained"), levels=LEVELS, rate=0.4, store=tmp_path)
    assert files(tmp_path) == before
    assert (tmp_path / "manifest.copy.json").read_bytes() == manifest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"format": 9, "finished": []}',
        b'{"format": 1, "finished": []}',
        b'{"format": 1, "search": {}, "initial": {}, "finished": 3}',
        b'{"format": 1, "search": {}, "initial": [], "finished": []}',
        b'{"format": 1, "search": {}, "initial": {}, "finished": [], "ended": {}}',
        b'{"format": 1, "search": ' + b"[" * 100_000,
    ],
)
def test_a_damaged_manifest_is_refused_and_kept_as_it_is(tmp_path, data):
    stored(tmp_path, trials=None)
    (tmp_path / "manifest.json").write_bytes(data)
    before, model = files(tmp_path), net("normalised")
    with refused(r"manifest\.json", model, error=StorageError):
        imp(model, lambda model: pytest.fail("trained"), levels=LEVELS, rate=0.4, store=tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("spoil", ["cut", "delete"])
def test_the_copy_of_a_manifest_takes_its_place_as_the_error_says(tmp_path, spoil):
    stored(tmp_path)
    before, manifest = files(tmp_path), tmp_path / "manifest.json"
    manifest.unlink() if spoil == "delete" else manifest.write_bytes(manifest.read_bytes()[:-9])
    with pytest.raises(StorageError, match=rf"cp {tmp_path}/manifest\.copy\.json {manifest}$") as refused_for:
        TicketStore(tmp_path).manifest()
    shutil.copy(*str(refused_for.value).split()[-2:])
    assert files(tmp_path) == before


def test_a_manifest_without_a_copy_is_to_be_restored(tmp_path):
    stored(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"{")
    (tmp_path / "manifest.copy.json").unlink()
    with pytest.raises(StorageError, match=r"Restore it from a copy.*lthprune\.load_ticket\.$"):
        TicketStore(tmp_path).manifest()


@pytest.mark.parametrize("level", [0, 1, LEVELS])
def test_a_store_goes_back_to_a_damaged_level_as_the_error_says_and_ends_with_the_same_files(tmp_path, level):
    stored(tmp_path)
    before, store = files(tmp_path), TicketStore(tmp_path)
    (tmp_path / f"trial-1/level-{level:02d}.safetensors").write_bytes(b"")
    with pytest.raises(StorageError, match=rf"level-{level:02d}\.safetensors is damaged.*\.go_back\({level}\)"):
        store.level(level)
    store.go_back(level)
    assert store.finished == level
    stored(tmp_path)
    assert files(tmp_path) == before


def test_a_store_goes_back_to_finished_levels_after_whole_ones_only(tmp_path):
    stored(tmp_path)
    (tmp_path / "trial-0/level-01.safetensors").unlink()
    before, store = files(tmp_path), TicketStore(tmp_path)
    with pytest.raises(StorageError, match=r"level-01\.safetensors is missing.*\.go_back\(1\)"):
        store.go_back(2)
    for level in (-1, LEVELS + 1):
        with pytest.raises(StorageError, match=f"there is no level {level}"):
            store.go_back(level)
    assert files(tmp_path) == before
    with pytest.raises(StorageError, match="does not exist"):
        TicketStore(tmp_path / "none").go_back(0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "trial-0/../../level-00.safetensors", "trial-0/level-00.pt"]
)
def test_a_manifest_that_names_other_files_than_those_of_a_store_is_refused(tmp_path, name):
    stored(tmp_path, trials=None)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["finished"][0] = {name: "0" * 64}
    path.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=r"finished\.0.*should match pattern"):
        TicketStore(tmp_path).level(0)


@pytest.mark.parametrize(
    "other",
    [
        {"rate": 0.5},
        {"levels": LEVELS + 1},
        {"scope": "layerwise"},
        {"score": "movement"},
        {"score": as_it_is},
        {"bias": "together"},
        {"min_survivors": 1},
        {"seed": 1},
        {"rewind": "lr"},
        {"rewind": Rewinder(1)},
        {"selection": Selection(kinds=("dense", "output"))},
    ],
    ids=lambda other: next(iter(other)),
)
def test_the_store_of_another_search_is_refused_and_the_error_says_what_differs(tmp_path, other):
    imp(net("normalised"), train, levels=LEVELS, rate=0.4, store=tmp_path)
    before, model = files(tmp_path), net("normalised")
    (word,) = (word if word != "rate" else "schedule" for word in other)
    with refused(f"holds another search: {word} was .* and is now", model, error=StorageError):
        imp(model, lambda model: pytest.fail("trained"), **({"levels": LEVELS, "rate": 0.4, "store": tmp_path} | other))
    assert files(tmp_path) == before


def test_rewinding_weights_is_another_search_than_leaving_them(tmp_path):
    imp(net("dense"), train, levels=1, store=tmp_path, rewind=Rewinder(0))
    with refused("rewind was .* and is now", model := net("dense"), error=StorageError):
        imp(model, lambda model: pytest.fail("trained"), levels=1, store=tmp_path, rewind=Rewinder(0, weights=False))


def test_one_shot_does_not_go_on_with_an_iterative_search(tmp_path):
    imp(net("dense"), train, levels=1, store=tmp_path)
    with refused("driver was 'imp' and is now 'osp'", model := net("dense"), error=StorageError):
        osp(model, lambda model: pytest.fail("trained"), levels=1, store=tmp_path)


@pytest.mark.parametrize("rewind", ["init", "none"])
@pytest.mark.parametrize("finished", [1, LEVELS, LEVELS + 1])
@pytest.mark.parametrize("forms", [["dense"] * 2, ["normalised"] * 3, ["normalised"]])
def test_a_store_of_other_models_or_another_number_of_them_is_refused(tmp_path, forms, finished, rewind):
    def until(tickets):
        if tickets[0].level + 1 == finished:
            raise KilledError

    words = {"levels": LEVELS, "rate": 0.4, "rewind": rewind, "store": tmp_path}
    with pytest.raises(KilledError):
        imp(
            [net("normalised", seed) for seed in range(2)],
            lambda models: [train(each) for each in models],
            on_level=until,
            **words,
        )
    models = [net(form) for form in forms]
    with refused("fit|models", *models, error=LthpruneError):
        imp(models, lambda models: pytest.fail("trained"), **words)


@pytest.mark.parametrize("weights", [True, False])
def test_a_run_whose_optimiser_goes_back_to_a_later_step_is_not_resumed(tmp_path, weights):
    def session(seed):
        model = net("dense", seed)
        stepper = OPTIMIZERS["adam"](model.parameters())
        rewinder = Rewinder(2, weights=weights, optimizer=stepper)
        return model, {"levels": 2, "store": tmp_path, "rewind": rewinder}

    def dies(ticket):
        raise KilledError

    model, words = session(0)
    with pytest.raises(KilledError):
        imp(model, lambda model: train(model, rewinder=words["rewind"]), on_level=dies, **words)
    model, words = session(1)
    with refused("cannot be resumed", model):
        imp(model, lambda model: pytest.fail("trained"), **words)


def test_a_store_is_begun_once_and_read_up_to_where_it_is_finished(tmp_path):
    store = TicketStore(tmp_path / "store")
    assert (store.exists, store.finished) == (False, 0)
    with pytest.raises(StorageError, match="holds no run"):
        store.manifest()
    store.begin({"driver": "imp"}, [snapshot(net("dense"))], [{}])
    assert (store.exists, store.finished, store.load().last) == (True, 0, ())
    with pytest.raises(StorageError, match="already holds a run"):
        store.begin({"driver": "imp"}, [], [])
    with pytest.raises(StorageError, match=f"{tmp_path} holds no run.*inside it: {tmp_path}/store"):
        TicketStore(tmp_path).manifest()
    with pytest.raises(StorageError, match="0 finished levels; there is no level 0"):
        store.level(0)
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["search"] == {"driver": "imp"}


def test_one_trials_ticket_is_read_without_those_of_the_others(tmp_path):
    models = [net("dense", seed) for seed in (0, 1)]
    trials = imp(models, lambda models: None, levels=1, store=tmp_path)
    store = TicketStore(tmp_path)
    (tmp_path / "trial-0" / "level-01.safetensors").unlink()
    ticket = store.ticket(1, trial=1)
    assert (ticket.level, ticket.provenance["trial"]) == (1, 1)
    assert all_bits(ticket.trained) == all_bits(trials[1][1].trained)
    with pytest.raises(StorageError, match="missing, though the manifest names it"):
        store.ticket(1)
    for trial in (2, -1):
        with pytest.raises(StorageError, match=f"has no trial {trial}; it has: 0, 1"):
            store.ticket(0, trial)
    with pytest.raises(StorageError, match="there is no level 2"):
        store.ticket(2)


def shrink_each(models):
    """Write to every weight of every model."""
    for each in models:
        shrink(each)


def test_a_level_with_tickets_of_some_trials_goes_on_with_these_to_the_bits_of_all(tmp_path):
    def dense():
        return [net("dense", seed=seed) for seed in range(3)]

    settings = Search(levels=2, pruning=Pruning(score="random"))
    every = list(imp_levels(dense(), shrink_each, settings))
    store, later = TicketStore(tmp_path), (0, 2)
    store.begin({}, [snapshot(model) for model in dense()], [{}] * 3)
    assert store.load().trials == (0, 1, 2)
    store.append(every[0])
    store.append([every[1][trial] for trial in later])
    assert (store.trials(), store.trials(1)) == ((0, 1, 2), later)
    assert [ticket.trial for ticket in store.level(1)] == [0, 2]
    with pytest.raises(StorageError, match=r"level 1 of .* has no trial 1; it has: 0, 2"):
        store.ticket(1, 1)
    with pytest.raises(StorageError, match=r"of the trials \(1,\), and .* goes on with \(0, 2\)"):
        store.append([every[2][1]])
    assert store.finished == 2
    stored = store.load()
    (last,) = imp_levels([dense()[trial] for trial in stored.trials], shrink_each, settings, stored)
    for ticket, trial in zip(last, later, strict=True):
        assert all_bits(ticket.masks) == all_bits(every[2][trial].masks)
        assert all_bits(ticket.trained) == all_bits(every[2][trial].trained)


def storages(held):
    """The memory of the tensors that these objects hold, in bytes: of each storage once."""
    seen, found, todo = set(), {}, [held]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, type | ModuleType | FunctionType):
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            storage = each.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        else:
            todo += gc.get_referents(each)
    return sum(found.values())


def of_a_kibibyte():
    return nn.Sequential(nn.Linear(16, 16, bias=False))  # 256 weights, 1,024 bytes


@pytest.mark.parametrize("rewind", ["init", "lr", "none"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_tickets_without_a_store_hold_their_masks_packed_and_weights_that_others_hold_once(driver, rewind):
    tickets = DRIVERS[driver](of_a_kibibyte(), shrink, levels=9, rewind=rewind)
    rewound, trained, masks = 1024, 10 * 1024, 10 * 32
    assert storages(tickets) == rewound + trained + masks


@pytest.mark.parametrize("rewind", ["init", "lr", "none"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_tickets_of_a_store_hold_no_tensors_and_are_read_when_asked_for(tmp_path, driver, rewind):
    alone = DRIVERS[driver](same_kibibyte(), shrink, levels=4, rewind=rewind)
    tickets = DRIVERS[driver](same_kibibyte(), shrink, levels=4, rewind=rewind, store=tmp_path)
    again = DRIVERS[driver](of_a_kibibyte(), shrink, levels=4, rewind=rewind, store=tmp_path)
    for found in (tickets, again):
        assert [all_bits(t.masks) for t in found] == [all_bits(t.masks) for t in alone]
        assert [all_bits(t.weights) for t in found] == [all_bits(t.weights) for t in alone]
        assert [all_bits(t.trained) for t in found] == [all_bits(t.trained) for t in alone]
        assert (found[2].counts, found[2].density) == (alone[2].counts, alone[2].density)
        assert storages(found) == 0
    masks = tickets[1].masks
    assert tickets[1].masks is masks  # read once while somebody uses them


@pytest.mark.parametrize("part", ["masks", "weights", "trained"])
def test_a_stored_ticket_that_was_damaged_since_is_refused_when_it_is_read(tmp_path, part):
    tickets = imp(of_a_kibibyte(), shrink, levels=2, store=tmp_path)
    path = tmp_path / "trial-0" / "level-01.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert tickets[1].left == 205
    with pytest.raises(StorageError, match=f"{path} is damaged: its contents are not those that were written"):
        getattr(tickets[1], part)
    getattr(tickets[2], part)


@pytest.mark.parametrize("rewind", ["init", 2, "lr", "none"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_store_writes_weights_that_another_of_its_files_holds_only_once(tmp_path, driver, rewind):
    tickets, *_ = search(driver, Architecture("normalised"), 0, rewind, store=tmp_path)
    written = [read_tensors(tmp_path / f"trial-0/level-{level:02d}.safetensors")[0] for level in range(LEVELS + 1)]
    again = [[name for name in tensors if name.startswith("weights/")] for tensors in written]
    assert not any(again[1:])
    assert bool(again[0]) == (rewind == 2)  # step 2 is in no earlier file
    for level, ticket in enumerate(tickets[0]):
        alone = load_ticket(tmp_path / f"trial-0/level-{level:02d}.safetensors")
        assert all_bits(alone.weights) == all_bits(ticket.weights)
        moved = load_ticket(alone.save(tmp_path / "elsewhere" / "ticket.safetensors"))
        assert all_bits(moved.weights) == all_bits(ticket.weights)


def test_a_ticket_without_the_file_that_it_refers_to_is_refused_and_the_error_names_both(tmp_path):
    imp(of_a_kibibyte(), shrink, levels=1, store=tmp_path)
    (tmp_path / "trial-0/initial.safetensors").unlink()
    with pytest.raises(
        StorageError, match=r"initial\.safetensors is missing, which holds the rewound weights of level-01"
    ):
        load_ticket(tmp_path / "trial-0/level-01.safetensors")


@pytest.mark.parametrize("other", ["trial-0/level-01", "trial-1/level-02"])
def test_a_ticket_under_the_name_of_another_one_is_refused(tmp_path, other):
    stored(tmp_path)
    path, manifest = tmp_path / "manifest.json", json.loads((tmp_path / "manifest.json").read_text())
    file = "trial-1/level-01.safetensors"
    data = (tmp_path / f"{other}.safetensors").read_bytes()
    (tmp_path / file).write_bytes(data)
    manifest["finished"][1][file] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=rf"{file} is the ticket of level {other[-1]} of trial {other[6]}\."):
        TicketStore(tmp_path).ticket(1, 1)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_store_whose_tickets_hold_all_their_weights_as_once_written_is_resumed(tmp_path, driver):
    whole = search(driver, Architecture("normalised"), 0, "init")
    with pytest.raises(KilledError):
        search(driver, Architecture("normalised"), 0, "init", store=tmp_path, dies_at=2)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for files in manifest["finished"]:
        for file in files:
            load_ticket(tmp_path / file).save(tmp_path / file)  # the format before references
            files[file] = hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    *resumed, sessions = search(driver, Architecture("normalised"), 50, "init", store=tmp_path)
    assert result(*resumed) == result(*whole[:2])
    assert sessions == LEVELS - 1


def test_tickets_can_be_pickled_with_a_store_and_without(tmp_path):
    for store in (None, tmp_path):
        ticket = imp(of_a_kibibyte(), shrink, levels=1, store=store)[1]
        ticket.masks  # noqa: B018
        assert all_bits(pickle.loads(pickle.dumps(ticket)).masks) == all_bits(ticket.masks)
