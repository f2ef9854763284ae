import numpy as np

from lthprune.analysis import neuron_lifetimes, parameter_lifetimes, ticket_states
from lthprune.plots.lifetimes import plot_lifetimes
from lthprune.plots.style import COLOURS
from tests.drawn import INPUTS, search


def test_lines_say_how_many_spent_how_many_levels_in_a_state_and_matrices_who_went_where() -> None:
    levels = list(ticket_states(*search(levels=7, bias="together"), INPUTS))
    figure = plot_lifetimes(levels, "a title")
    lines, matrices = figure.axes[:2], figure.axes[2:]
    for spent, flows, own in zip(lines, matrices, (neuron_lifetimes(levels), parameter_lifetimes(levels)), strict=True):
        drawn = {str(line.get_color()): dict(np.transpose(line.get_data()).astype(int)) for line in spent.get_lines()}
        for place, state in enumerate(own.states):
            times = np.concatenate([each[place].ravel() for each in own.spent.values()])
            expected = {time: (times == time).sum() for time in range(1, 9) if (times == time).any()}
            assert drawn[COLOURS[state]] == expected
        written = {tuple(map(int, text.get_position()))[::-1]: text.get_text() for text in flows.texts}
        moved = own.flows.sum(axis=0)
        assert written == {(int(a), int(b)): f"{moved[a, b]:,}" for a, b in np.argwhere(moved)}
        assert [label.get_text() for label in flows.get_yticklabels()] == [state.name.lower() for state in own.states]
    assert figure.get_suptitle() == "a title"
