"""Exports of tickets of one's own: what is read back computes what the ticket does, or nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lthprune import PruningError, Ticket, imp
from lthprune.compaction import export_ticket, load_export


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


def convolutional() -> nn.Module:
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(24, 3))


class OwnCode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


def ticket_of(build: Callable[[], nn.Module]) -> Ticket:
    torch.manual_seed(0)
    return imp(build(), lambda model: None, levels=3, rate=0.5, min_survivors=1, progress=False)[3]


@pytest.mark.parametrize("build", [dense, convolutional])
@pytest.mark.parametrize("compact", [True, False])
def test_an_export_of_ones_own_model_computes_what_its_ticket_does(
    build: Callable[[], nn.Module], compact: bool, tmp_path: Path
) -> None:
    ticket, inputs = ticket_of(build), torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    export = export_ticket(ticket, build(), (1, 4, 4), tmp_path / "out", compact=compact, source={"found": "here"})
    expected = ticket.apply(build(), "trained").eval()(inputs)
    torch.testing.assert_close(load_export(export.folder)(inputs), expected)
    described = json.loads((export.folder / "architecture.json").read_bytes())
    assert described["outputs"] == 3
    assert described["ticket"] == json.loads(json.dumps(export.ticket))
    assert (export.ticket["found"], export.ticket["level"], export.ticket["density"]) == ("here", 3, ticket.density)
    assert (export.compacted is not None) == compact


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (OwnCode, "this model is or has OwnCode"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(16, 3))), "is or has Sequential"),
        (lambda: nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.Flatten(), nn.Linear(3, 3)), "a layer with other"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.LeakyReLU(0.5), nn.Linear(5, 3)), "a layer with"),
    ],
)
def test_a_model_that_its_description_could_not_build_again_is_refused_and_nothing_written(
    build: Callable[[], nn.Module], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PruningError, match=message):
        export_ticket(ticket_of(build), build(), (1, 4, 4), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_sample_of_another_shape_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(PruningError, match=r"cannot read a sample of the shape \(1, 5, 5\)"):
        export_ticket(ticket_of(dense), dense(), (1, 5, 5), tmp_path)
    assert not list(tmp_path.iterdir())
