"""Loops that call parts of the model, wrap it, or feed it from several processes."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import lthprune
from lthprune.pruning.state import masks_of
from lthprune.search.trainings import Train
from tests.loops.checked import FORMS, batch_of, loss_of, replay, same, search
from tests.nets import net


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def adversaries() -> nn.ModuleDict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))
        return nn.ModuleDict({"g": generator, "d": nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))})


def play(model: nn.Module) -> None:
    """A generative adversarial network: two optimisers, and the whole is never called."""
    chance = torch.Generator().manual_seed(0)
    makers = {key: torch.optim.Adam(model[key].parameters(), 0.05, betas=(0.5, 0.9)) for key in ("g", "d")}
    for _ in range(5):
        fake, real = model["g"](torch.randn(8, 4, generator=chance)), torch.randn(8, 6, generator=chance) + 1
        makers["d"].zero_grad()
        scores = torch.cat([model["d"](real), model["d"](fake.detach())])
        binary_cross_entropy_with_logits(scores, torch.cat([torch.ones(8, 1), torch.zeros(8, 1)])).backward()
        makers["d"].step()
        makers["g"].zero_grad()
        binary_cross_entropy_with_logits(model["d"](fake), torch.ones(8, 1)).backward()
        makers["g"].step()


@pytest.mark.parametrize("form", FORMS)
def test_adversaries_of_which_only_parts_are_called_are_pruned_as_torch_prunes_them(form: str) -> None:
    replay(adversaries, play, search(adversaries(), play, form=form, scope="layerwise"))


class Classifier(nn.Module):
    """As torchvision and timm build them: features and a head, which a loop may call by itself."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten())
            self.head = nn.Linear(64, 3)

    def forward_features(self, inputs: Tensor) -> Tensor:
        features = self.features(inputs)
        assert isinstance(features, Tensor)
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        return nn.functional.linear(features, self.head.weight, self.head.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(inputs))


def by_parts(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for step in range(5):
        optimizer.zero_grad()
        inputs, labels = batch_of(step)
        cross_entropy(model.forward_head(model.forward_features(inputs)), labels).backward()
        optimizer.step()


def whole(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for step in range(5):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def test_methods_that_read_weights_train_as_forward_does() -> None:
    same(search(Classifier(), by_parts), search(Classifier(), whole))


def test_weights_read_by_a_method_are_refused_in_torchs_form() -> None:
    with pytest.raises(lthprune.PruningError, match=r"a gradient reached 'head\.weight'.*form=\"plain\""):
        lthprune.imp(Classifier(), by_parts, levels=1, rate=0.5, form="torch")


def features_by_hand(model: nn.Module) -> None:
    """Only the features are called, and the steps are written by hand, with a momentum that lives on in the model."""
    buffers = getattr(model, "momenta", {})
    model.momenta = buffers
    for step in range(5):
        model.zero_grad()
        inputs, labels = batch_of(step)
        cross_entropy(model.features(inputs) @ torch.ones(64, 3) * torch.tensor([0.1, 0.2, 0.3]), labels).backward()
        for name, parameter in model.features.named_parameters():
            name = name.removesuffix("_orig")
            buffers[name] = 0.9 * buffers.get(name, 0) + parameter.grad
            parameter.data.sub_(0.1 * buffers[name])


def test_features_alone_are_kept_at_zero_through_steps_by_hand() -> None:
    selection = lthprune.Selection(include=("features.*",))
    tickets = search(Classifier(), features_by_hand, selection=selection, spied=True)
    replay(Classifier, features_by_hand, tickets)


@pytest.mark.parametrize("form", FORMS)
def test_a_data_loader_with_workers_feeds_the_same_batches(form: str) -> None:
    inputs, labels = batch_of(0, size=24)

    def train(workers: int) -> Train:
        def loop(model: nn.Module) -> None:
            loader = DataLoader(TensorDataset(inputs, labels), batch_size=6, num_workers=workers)
            optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
            for x, y in loader:
                optimizer.zero_grad()
                cross_entropy(model(x), y).backward()
                optimizer.step()

        return loop

    same(search(net(), train(2), form=form), search(net(), train(0), form=form))


def test_a_model_in_data_parallel_on_the_cpu_finds_tickets_that_fit_the_plain_one() -> None:
    tickets = lthprune.imp(nn.DataParallel(net()), whole, levels=2, rate=0.5)
    same(tickets, search(net(), whole))
    plain = tickets[2].apply(net(seed=4), "trained")
    assert {name: int(mask.sum()) for name, mask in masks_of(plain).items()} == {
        name: count.left for name, count in tickets[2].counts.items()
    }


def test_a_model_wrapped_in_data_parallel_by_the_loop_finds_the_same_tickets() -> None:
    same(search(net(), lambda model: whole(nn.DataParallel(model))), search(net(), whole))
