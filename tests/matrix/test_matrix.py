"""The page on modules states the results for a model of every family."""

import pytest

from tests.matrix.examination import examine
from tests.matrix.page import line, lines
from tests.zoo.catalogue import FAMILIES, specimen, specimens

ONE_OF_EACH = """
    alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5 mobilenet_v2
    mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t
    swin_v2_t vit_b_32 wide_resnet50_2
"""
LIGHT = [each.name for each in specimens("recurrent", "own")]
HEAVY = [each.name for each in specimens("transformers", "timm")]
HEAVY += [f"torchvision/{name}" for name in ONE_OF_EACH.split()]


def test_the_page_has_a_line_for_every_model():
    assert list(lines()) == [each.name for members in FAMILIES.values() for each in members]


def test_everything_on_the_page_works_or_is_refused_for_a_reason_that_the_page_explains():
    from tests.matrix.page import PAGE

    introduction = PAGE.read_text("utf-8").partition("\n## ")[0]
    for text in lines().values():
        for cell in text.split(" | ")[2:]:
            word = cell.rstrip(" |").partition(":")[0]
            assert word in ("yes", "-") or f"**{word}" in introduction, text


@pytest.mark.parametrize("name", LIGHT)
def test_a_small_model_comes_to_what_the_page_says(name):
    for needed in specimen(name).needs:
        pytest.importorskip(needed)
    assert line(examine(specimen(name))) == lines()[name]


@pytest.mark.heavy
@pytest.mark.parametrize("name", HEAVY)
def test_a_model_of_a_library_comes_to_what_the_page_says(name):
    for needed in specimen(name).needs:
        pytest.importorskip(needed)
    assert line(examine(specimen(name))) == lines()[name]
