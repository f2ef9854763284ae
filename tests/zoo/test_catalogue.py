"""The zoo is complete, builds the same model twice, and lists its models without importing what builds them."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torchvision

from tests.nets import anatomy
from tests.zoo.catalogue import FAMILIES, specimens
from tests.zoo.specimen import Specimen

ROOT = Path(__file__).parents[2]


def test_every_specimen_has_a_name_of_its_own_in_its_family() -> None:
    names = Counter(specimen.name for specimen in specimens(large=True))
    assert set(names.values()) == {1}
    assert all(specimen.family == family for family in FAMILIES for specimen in specimens(family, large=True))


def test_every_classification_model_of_torchvision_is_in_the_zoo() -> None:
    listed = torchvision.models.list_models(module=torchvision.models)
    assert sorted(specimen.name for specimen in FAMILIES["torchvision"]) == [f"torchvision/{name}" for name in listed]


def test_listing_imports_neither_timm_nor_transformers() -> None:
    code = "import sys; from tests.zoo.catalogue import specimens; print({*sys.modules} & {'timm', 'transformers'})"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert found == "set()\n"


@pytest.mark.parametrize("specimen", specimens("recurrent", "own"), ids=lambda specimen: specimen.name)
def test_a_seed_fixes_a_specimen_and_its_loss(specimen: Specimen) -> None:
    for package in specimen.needs:
        pytest.importorskip(package)
    first, second = specimen.build(seed=3), specimen.build(seed=3)
    loss = specimen.run(first, seed=4)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert loss.detach() == specimen.run(second, seed=4).detach()
    # Only after a forward pass: before it, a lazy module has no values.
    assert [bits for _, bits in anatomy(first)[0].values()] == [bits for _, bits in anatomy(second)[0].values()]
