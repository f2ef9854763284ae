"""Files of strangers: pipes, devices, sizes and depths are refused before they are read."""

import json
import os
from pathlib import Path

import pytest

from lthprune.errors import LthpruneError
from lthprune.reading import expanded, open_regular, parse_toml, read_json, read_toml


@pytest.mark.parametrize("read", [open_regular, read_json, read_toml])
def test_pipes_devices_and_folders_are_refused_at_once(read, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(OSError, match=f"it is .*{kind}"):
            read(path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for read, most in ((read_json, 1 << 26), (read_toml, 1 << 20)):
        with (tmp_path / "large").open("wb") as file:
            file.truncate(most + 1)  # a sparse file, which takes no space
        with pytest.raises(ValueError, match=f"at most {most:,} are read"):
            read(tmp_path / "large")


def test_lists_and_tables_of_any_depth_are_read_or_refused(tmp_path: Path) -> None:
    for depth, text in ((100_000, "["), (100_000, '{"a":')):
        (tmp_path / "deep").write_text(text * depth)
        with pytest.raises(ValueError, match="recursion limit"):
            read_json(tmp_path / "deep")
    (tmp_path / "deep").write_text(json.dumps([[[[1]]]]))
    assert read_json(tmp_path / "deep") == [[[[1]]]]


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 100_000}",
        f"a = {'{a = ' * 100_000}",
        f"{'a.' * 300_000}a = 1",
        f"[{'a . ' * 100_000}a]",
        '"a b".' * 100_000 + "a = 1",
        f"{'a.' * 40}a = 1",
    ],
)
def test_toml_that_would_take_minutes_or_overflow_the_stack_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested too deeply|more than 32 parts"):
        parse_toml(text)


def test_keys_and_lists_of_recipes_are_read() -> None:
    text = "# e.g. a.b.c.\nrate.dense = 0.5\ndensities = [" + ", ".join(["0.5"] * 1000) + "]\n"
    assert parse_toml(text)["rate"] == {"dense": 0.5}


def test_a_home_that_is_not_known_is_said_to_be_so() -> None:
    with pytest.raises(LthpruneError, match="~nobody-of-this-name/x begins with a home folder that is not known here"):
        expanded("~nobody-of-this-name/x")
