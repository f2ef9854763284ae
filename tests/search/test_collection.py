"""The tickets of a search together."""

import pytest

from lthprune.errors import PruningError
from lthprune.search.collection import Tickets
from lthprune.search.drivers import imp
from tests.nets import net, train


def test_tickets_are_a_sequence_that_says_what_is_in_it():
    tickets = imp(net("dense"), train, levels=3, rate=0.5, scope="layerwise")
    assert (len(tickets), tickets[-1].level, [ticket.level for ticket in tickets[1:]]) == (4, 3, [1, 2, 3])
    assert isinstance(tickets[:2], Tickets)
    assert repr(tickets).splitlines()[1:3] == [
        f"level  {level}  density {tickets[level].density:7.2%}  sum {tickets[level].metrics['sum']:.4g}"
        for level in (0, 1)
    ]


def test_the_smallest_ticket_is_the_one_of_fewest_weights_that_fulfils_the_condition():
    tickets = imp(net("dense"), train, levels=4, rate=0.3)
    assert tickets.smallest() is tickets[4]
    assert tickets.smallest(lambda ticket: ticket.level % 2 == 1) is tickets[3]
    assert tickets.smallest(lambda ticket: ticket.metrics["sum"] == tickets[0].metrics["sum"]) is tickets[0]
    with pytest.raises(PruningError, match="none of the 5 tickets"):
        tickets.smallest(lambda ticket: ticket.density > 1)
