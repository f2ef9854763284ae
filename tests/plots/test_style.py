import itertools

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from lthprune.plots.style import evenly, save, shades, styled


@styled
def small() -> Figure:
    figure = Figure()
    figure.add_subplot().set_title("a title")
    return figure


def test_a_figure_has_the_style_whatever_matplotlibs_settings_are_and_leaves_them_alone() -> None:
    before = dict(mpl.rcParams)
    plain = small()
    with mpl.rc_context({"font.size": 20, "xtick.labelsize": 30, "axes.titlesize": 40}):
        own = small()
        own.draw_without_rendering()
    plain.draw_without_rendering()
    for figure in (plain, own):
        (axes,) = figure.axes
        assert axes.title.get_fontsize() == 8
        assert {label.get_fontsize() for label in axes.get_xticklabels()} == {7}
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_figure_is_saved_in_the_format_of_the_ending(tmp_path, ending: str, begins: bytes) -> None:
    save(small(), tmp_path / f"figure.{ending}")
    assert (tmp_path / f"figure.{ending}").read_bytes().startswith(begins)


def test_a_figure_that_cannot_be_drawn_leaves_the_earlier_file(tmp_path) -> None:
    save(small(), tmp_path / "figure.png")
    before, figure = (tmp_path / "figure.png").read_bytes(), small()
    figure.text(0.5, 0.5, "$\\unknown$")
    with pytest.raises(ValueError, match="unknown"):
        save(figure, tmp_path / "figure.png")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("figure.png", before)]


def test_the_text_of_a_pdf_is_text(tmp_path) -> None:
    save(small(), tmp_path / "figure.pdf")
    assert (
        b"/TrueType" in (tmp_path / "figure.pdf").read_bytes()
        or b"/CIDFontType2" in (tmp_path / "figure.pdf").read_bytes()
    )


def test_shades_grow_lighter_in_steps_that_greyscale_shows() -> None:
    grey = [
        sum(weight * value for weight, value in zip((0.299, 0.587, 0.114), mpl.colors.to_rgb(each), strict=True))
        for each in shades(6)
    ]
    steps = [after - before for before, after in itertools.pairwise(grey)]
    assert min(steps) > 0.05


@pytest.mark.parametrize(("number", "most", "chosen"), [(0, 3, []), (1, 3, [0]), (3, 3, [0, 1, 2]), (9, 3, [0, 4, 8])])
def test_of_many_some_are_chosen_at_even_distances(number: int, most: int, chosen: list[int]) -> None:
    assert evenly(number, most) == chosen
