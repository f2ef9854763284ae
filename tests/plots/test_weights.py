import numpy as np
import pytest
import torch

from lthprune import PruningError
from lthprune.plots.weights import plot_weights
from tests.drawn import search


def panels(figure):
    """The images, and the histograms, of a figure."""
    images = [axes for axes in figure.axes if axes.get_images()]
    return images, [axes for axes in figure.axes if axes.get_ylabel() == "number"]


@pytest.mark.parametrize("form", ["dense", "convolutional"])
def test_each_tensor_has_an_image_with_pruned_weights_black_a_colour_bar_and_a_histogram(form) -> None:
    _, tickets = search(form, levels=1)
    ticket = tickets[1]
    figure = plot_weights(ticket.trained, ticket.masks, "a title")
    images, histograms = panels(figure)
    assert len(images) == len(histograms) == len(ticket.masks)
    assert figure.get_suptitle() == "a title (black: pruned)"
    for axes, histogram, (name, mask) in zip(images, histograms, ticket.masks.items(), strict=True):
        (image,) = axes.get_images()
        weights = ticket.trained[name]
        assert axes.get_title().startswith(f"{name.removesuffix('.weight')}: ")
        assert axes.get_title().endswith(f"{int(mask.sum()):,} weights left")
        largest = float(weights[mask].abs().max())
        assert image.get_clim() == (-largest, largest)
        assert image.colorbar is not None
        shown = image.get_array()
        assert np.ma.getmaskarray(shown).sum() == (~mask).sum()
        assert image.cmap.get_bad()[:3].tolist() == [0, 0, 0]
        inside = shown.compressed()[shown.compressed() >= -largest]  # all but the gaps between kernels
        np.testing.assert_allclose(np.sort(inside), np.sort(weights[mask].numpy()))
        if mask.ndim == 2:
            np.testing.assert_array_equal(shown.filled(0), weights.numpy() * mask.numpy())
        assert sum(bar.get_height() for bar in histogram.patches) == mask.sum()


def test_kernels_stand_side_by_side_in_their_order_and_of_many_the_first_512_are_shown() -> None:
    weights = torch.arange(1, 1 + 40 * 20 * 4).reshape(40, 20, 2, 2).float()
    masks = {"c.weight": torch.ones(40, 20, 2, 2, dtype=torch.bool)}
    (axes,), (histogram,) = panels(plot_weights({"c.weight": weights}, masks))
    assert axes.get_title() == "c: 512 of 800 kernels of 2 x 2, 3,200 weights left"
    shown = axes.get_images()[0].get_array()
    np.testing.assert_array_equal(shown[:2, :2], weights[0, 0])
    np.testing.assert_array_equal(shown[:2, 3:5], weights[0, 1])
    assert shown.max() == 512 * 4
    assert (shown[2] < -3200).all()  # gaps, which are grey
    assert sum(bar.get_height() for bar in histogram.patches) == 3200
    few = {"c.weight": weights[:2, :2]}
    (axes,), _ = panels(plot_weights(few, {"c.weight": masks["c.weight"][:2, :2]}))
    assert axes.get_title() == "c: 4 kernels of 2 x 2, 16 weights left"


def test_of_many_tensors_eight_are_shown_and_the_title_says_so() -> None:
    weights = {f"{place}.weight": torch.ones(2, 2) for place in range(20)}
    masks = {name: torch.ones(2, 2, dtype=torch.bool) for name in weights}
    figure = plot_weights(weights, masks, "deep")
    images, _ = panels(figure)
    assert figure.get_suptitle() == "deep, 8 of 20 layers (black: pruned)"
    assert [axes.get_title().partition(":")[0] for axes in (images[0], images[-1])] == ["0", "19"]


def test_an_empty_tensor_is_all_black_and_vectors_and_infinite_weights_are_refused() -> None:
    nothing = {"a.weight": torch.zeros(2, 2, dtype=torch.bool)}
    (axes,), _ = panels(plot_weights({"a.weight": torch.zeros(2, 2)}, nothing))
    assert np.ma.getmaskarray(axes.get_images()[0].get_array()).all()
    for weights in (torch.zeros(2), torch.tensor([[torch.inf]])):
        with pytest.raises(PruningError, match="at least one matrix or kernel, and if all of them are finite"):
            plot_weights({"a": weights}, {"a": torch.ones_like(weights, dtype=torch.bool)})
