import numpy as np

from lthprune.analysis import NeuronState, neuron_lifetimes, parameter_lifetimes, ticket_states
from lthprune.plots.lifetimes import plot_lifetimes
from lthprune.plots.style import COLOURS
from tests.drawn import INPUTS, search


def test_markers_say_how_many_spent_how_many_levels_in_a_state_and_matrices_who_went_where() -> None:
    levels = list(ticket_states(*search(levels=7, bias="together"), INPUTS))
    figure = plot_lifetimes(levels, "a title")
    lines, matrices = figure.axes[:2], figure.axes[2:]
    finals = (levels[-1].neurons, levels[-1].parameters)
    followed = (neuron_lifetimes(levels), parameter_lifetimes(levels))
    for spent, flows, own, final in zip(lines, matrices, followed, finals, strict=True):
        drawn: dict[tuple[str, bool], dict[int, int]] = {}
        for line in spent.get_lines():
            open_marker = line.get_markerfacecolor() == "white"
            assert bool(line.get_linewidth()) != open_marker  # lines join those that left the state
            own_points = {int(time): int(number) for time, number in np.transpose(line.get_data()) if number > 0}
            drawn[str(line.get_color()), open_marker] = own_points
            assert np.isnan(line.get_ydata()).sum() == len(levels) - len(own_points)  # no line across zero
        for place, state in enumerate(own.states):
            times = np.concatenate([each[place].ravel() for each in own.spent.values()])
            still = np.concatenate([final[name].ravel() == state for name in own.spent])
            for at_last, chosen in ((True, still), (False, ~still)):
                numbers = [(time, int((times[chosen] == time).sum())) for time in range(1, 9)]
                assert drawn.get((COLOURS[state], at_last), {}) == {time: number for time, number in numbers if number}
        written = {tuple(map(int, text.get_position()))[::-1]: text.get_text() for text in flows.texts}
        moved = own.flows.sum(axis=0)
        assert written == {(int(a), int(b)): f"{moved[a, b]:,}" for a, b in np.argwhere(moved)}
        assert [label.get_text() for label in flows.get_yticklabels()] == [state.name.lower() for state in own.states]
    assert any(open_marker for _, open_marker in drawn)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*(state.name.lower() for state in NeuronState), "left the state", "still in it at the last level"]
    assert figure.get_suptitle() == "a title"
