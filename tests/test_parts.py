"""Functions of one's own that a recipe names: how they are found and checked."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lthprune.errors import RecipeError
from lthprune.parts import DATA, MODEL, SCORE, PartKind, import_part, is_own_part, registered
from tests.own_parts import imports_restored, register, write_module

NAME = "my_parts_here"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of one's own in the current directory."""
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path, NAME)
    with imports_restored(NAME):
        yield NAME


@pytest.mark.parametrize(("kind", "name"), [(SCORE, "by_power"), (MODEL, "build"), (DATA, "points")])
def test_a_function_is_found_in_a_module_of_the_current_directory(module: str, kind: PartKind, name: str) -> None:
    assert import_part(kind, f"{module}:{name}", None, trust_code=True).__name__ == name


def test_without_consent_nothing_is_imported(module: str) -> None:
    with pytest.raises(RecipeError, match=r"add --trust-code on the command line, or trust_code=True in Python"):
        import_part(SCORE, f"{module}:by_power", None, trust_code=False)
    assert module not in sys.modules


def test_a_module_of_the_current_directory_never_hides_an_installed_one(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path, "tomli_w", "def dumps(candidate): raise AssertionError")
    with imports_restored("tomli_w"):
        function = import_part(SCORE, "tomli_w:dumps", None, trust_code=True)
    assert str(tmp_path) not in function.__code__.co_filename


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("my_parts_her:build", {}, r"there is no module 'my_parts_her'; did you mean 'my_parts_here'\?.*PYTHONPATH"),
        (f"{NAME}:biuld", {}, r"my_parts_here\.py has no function 'biuld'; did you mean 'build'\?"),
        (f"{NAME}:np", {}, "np in .* is not a function; its type is module"),
        (f"{NAME}:build", {"widht": 3}, r"\[model\] settings\.widht: .* no such setting; did you mean 'width'\?"),
        (f"{NAME}:build", {"zebra": 3}, r"no such setting\. It takes width\."),
        (f"{NAME}:build", {"outputs": 3}, r"no such setting.* It takes width\."),
        (f"{NAME}:by_power", {}, r"the function takes \(candidate, \*, power=1\.0\), but lthprune calls my_parts_here"),
    ],
)
def test_what_is_wrong_with_a_function_is_told_in_one_paragraph(
    module: str, name: str, settings: dict[str, int], says: str
) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        import_part(MODEL, name, settings, trust_code=True)
    assert "\n" not in str(caught.value)


def test_a_setting_without_a_default_is_needed_and_further_keywords_are_passed_on(module: str, tmp_path: Path) -> None:
    write_module(tmp_path, NAME, "def needs(candidate, *, power): ...\ndef takes(candidate, **words): ...\n")
    with pytest.raises(RecipeError, match=r"\[prune\] settings: my_parts_here:needs needs power, as in power = "):
        import_part(SCORE, f"{module}:needs", None, trust_code=True)
    assert import_part(SCORE, f"{module}:needs", {"power": 1}, trust_code=True).__name__ == "needs"
    assert import_part(SCORE, f"{module}:takes", {"anything": 1}, trust_code=True).__name__ == "takes"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nowhere_at_all", "importing my_parts_here needs the module nowhere_at_all, which is missing"),
        ("1 / 0", "importing my_parts_here failed with ZeroDivisionError: division by zero"),
        ("def f(:", "importing my_parts_here failed with SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_the_reason(
    module: str, tmp_path: Path, text: str, says: str
) -> None:
    write_module(tmp_path, NAME, text)
    with pytest.raises(RecipeError, match=says):
        import_part(SCORE, f"{module}:f", None, trust_code=True)


def test_a_package_registers_a_function_under_a_plain_name(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_own_part(SCORE, "powerful")
    register(tmp_path, monkeypatch, SCORE.group, powerful=f"{module}:by_power")
    assert registered(SCORE) == ("powerful",)
    assert is_own_part(SCORE, "powerful")
    assert not is_own_part(MODEL, "powerful")
    assert module not in sys.modules
    with pytest.raises(RecipeError, match="--trust-code"):
        import_part(SCORE, "powerful", None, trust_code=False)
    assert import_part(SCORE, "powerful", {"power": 2}, trust_code=True).__name__ == "by_power"
