"""Parameters and multiply-adds of tickets."""

import pytest
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from lthprune import PruningError, imp
from lthprune.analysis import layer_positions, ticket_costs
from lthprune.search import Ticket


def dense_and_half(model):
    """A ticket that prunes nothing, and one without every second weight."""
    layers = {name: each for name, each in model.named_modules() if isinstance(each, nn.Linear | _ConvNd)}
    masks = {f"{name}.weight": torch.ones_like(each.weight, dtype=torch.bool) for name, each in layers.items()}
    halves = {name: (torch.arange(mask.numel()) % 2 == 0).view(mask.shape) for name, mask in masks.items()}
    return [Ticket(level, own, {}, {}) for level, own in enumerate((masks, halves))]


class Twice(nn.Module):
    """A layer called twice, an unused one, and an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.unused, self.table = nn.Linear(6, 6), nn.Linear(6, 3), nn.Embedding(5, 6)

    def forward(self, x):
        return self.own(self.own(x))


NETWORKS = {
    "perceptron": (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), (6,)),
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, groups=2), nn.AvgPool2d(2)
        ),
        (2, 12, 12),
    ),
    "transposed": (nn.Sequential(nn.ConvTranspose2d(3, 2, 4, stride=2), nn.Conv1d(10, 4, 3)), (3, 4, 4)),
    "sequences": (nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3)), (7, 6)),
    "twice": (Twice(), (6,)),
}
NETWORKS["transposed"][0].insert(1, nn.Flatten(1, 2))
NETWORKS["transposed"][0][2] = nn.Conv1d(20, 4, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_dense_network_has_half_the_operations_that_torch_counts_and_all_parameters(name):
    model, shape = NETWORKS[name]
    example = torch.zeros(1, *shape)
    dense, _ = ticket_costs(model, dense_and_half(model), example)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(example)
    assert 2 * dense.multiply_adds == counter.get_total_flops()
    assert dense.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_weights_are_not_counted(name):
    model, shape = NETWORKS[name]
    tickets = dense_and_half(model)
    dense, half = ticket_costs(model, tickets, torch.zeros(1, *shape))
    positions = layer_positions(model.eval(), [torch.zeros(1, *shape)])
    counts = tickets[1].counts
    assert half.multiply_adds == sum(own * counts[f"{layer}.weight"].left for layer, own in positions.items())
    pruned = sum(total - left for left, total in counts.values())
    assert half.parameters == dense.parameters - pruned


def test_a_tied_weight_is_one_parameter_and_counts_at_all_its_positions():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    tickets = imp(model, lambda model: None, levels=1, rate=0.5)
    assert [*ticket_costs(model, tickets)] == [(16, 32), (8, 16)]


def test_the_model_keeps_its_mode_and_its_buffers():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    [*ticket_costs(model, dense_and_half(model))]
    assert model.training
    assert model[1].num_batches_tracked == 0


def test_pruned_matrices_of_other_layers_are_refused():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.GRU(4, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, x):
            return self.out(self.cell(x)[0])

    model = Recurrent()
    kept = Ticket(0, {"out.weight": torch.ones(2, 3, dtype=torch.bool)}, {}, {})
    ticket = Ticket(0, {"cell.weight_hh_l0": torch.ones(9, 3, dtype=torch.bool)}, {}, {})
    example = torch.zeros(1, 5, 4)
    assert next(ticket_costs(model, [kept], example)).multiply_adds == 30
    with pytest.raises(PruningError, match=r"cannot count the multiply-adds of cell\.weight_hh_l0: only"):
        [*ticket_costs(model, [ticket], example)]
    attention = nn.TransformerEncoderLayer(4, 1, 8, batch_first=True)
    projection = Ticket(0, {"self_attn.out_proj.weight": torch.ones(4, 4, dtype=torch.bool)}, {}, {})
    with pytest.raises(PruningError, match=r"self_attn\.out_proj\.weight"):
        [*ticket_costs(attention, [projection], example)]


def test_a_ticket_of_another_model_is_refused():
    (ticket, _) = dense_and_half(nn.Sequential(nn.Linear(4, 4)))
    with pytest.raises(PruningError, match="the ticket of level 0 does not fit the model"):
        [*ticket_costs(nn.Sequential(nn.Linear(4, 5)), [ticket])]
