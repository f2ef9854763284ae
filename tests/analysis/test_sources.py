"""The ticket that a level's masks are chosen from: the one before for IMP, the dense one for OSP."""

from collections.abc import Callable

import pytest
import torch

from lthprune import Tickets, imp, osp
from lthprune.analysis import with_sources
from lthprune.search import source_level
from tests.nets import net, train


@pytest.fixture(params=[imp, osp])
def tickets(request: pytest.FixtureRequest) -> Tickets:
    search: Callable[..., Tickets] = request.param
    return search(net(), train, levels=4, rate=0.2, scope="global", progress=False)


def test_a_levels_masks_are_the_largest_weights_of_its_source(tickets: Tickets) -> None:
    for level in range(1, 5):
        source = tickets[source_level(tickets[level].provenance["driver"], level)]
        magnitudes, kept = (
            torch.cat([own[name].flatten() for name in source.masks])
            for own in ({name: source.trained[name].abs() for name in source.masks}, tickets[level].masks)
        )
        candidates = torch.cat([mask.flatten() for mask in source.masks.values()])
        assert magnitudes[kept].min() >= magnitudes[candidates & ~kept].max()


def test_each_ticket_comes_with_its_source_and_the_dense_one_without(tickets: Tickets) -> None:
    found = list(with_sources(tickets))
    assert [ticket.level for ticket, _ in found] == [0, 1, 2, 3, 4]
    for ticket, source in found:
        expected = tickets[source_level(ticket.provenance["driver"], ticket.level)] if ticket.level else None
        assert source is expected


def test_a_ticket_whose_source_is_not_among_those_before_it_has_none(tickets: Tickets) -> None:
    imp_found = tickets[0].provenance["driver"] == "imp"
    sources = [source and source.level for _, source in with_sources([tickets[0], tickets[2], tickets[3]])]
    assert sources == ([None, None, 2] if imp_found else [None, 0, 0])
