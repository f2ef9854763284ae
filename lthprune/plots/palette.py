"""The colours of the states, the same in all figures and distinct for colour-blind readers."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lthprune.analysis import NeuronState

# Of Okabe and Ito's palette (https://jfly.uni-koeln.de/color), and grey for pruned.
COLOURS: dict[NeuronState, str] = {
    NeuronState.ALIVE: "#009E73",
    NeuronState.AUDIENCE: "#56B4E9",
    NeuronState.ZOMBIE: "#D55E00",
    NeuronState.UNPRODUCTIVE: "#F0E442",
    NeuronState.COMATOSE: "#CC79A7",
    NeuronState.PRUNED: "#C8C8C8",
}


def explain_colours(figure: Figure) -> None:
    """Add a legend of all states below a figure."""
    handles = [
        Patch(facecolor=colour, edgecolor="#444444", lw=0.3, label=state.name.lower())
        for state, colour in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
