"""What the integrations say where their packages are missing."""

import runpy
import sys
from pathlib import Path

import pytest

import lthprune

FOLDER = Path(lthprune.__file__).parent / "integrations"


@pytest.mark.parametrize(
    ("name", "package"),
    [("lightning", "lightning.pytorch"), ("transformers", "accelerate.state"), ("ray", "ray.exceptions")],
)
def test_a_missing_package_is_named_with_the_extra_that_installs_it(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'lthprune\[{name}\]'"):
        runpy.run_path(str(FOLDER / f"{name}.py"))
