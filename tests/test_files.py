"""Files that are there whole or not at all."""

import json
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthprune.errors import StorageError
from lthprune.files import read_tensors, write_atomically, write_tensors
from tests import strategies
from tests.nets import all_bits


@contextmanager
def disk_full_after(size):
    """Let every write beyond so many bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_new_bytes_take_the_place_of_old_ones_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "deep" / "folder" / "file"
    for data in (b"old", b"new", b""):
        write_atomically(path, data)
        assert path.read_bytes() == data
        assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(StorageError, match=f"cannot write {path}.*enough space"), disk_full_after(1000):
        write_atomically(path, bytes(10_000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["file/below", "folder"])
def test_a_place_that_cannot_be_written_is_refused_and_stays_as_it_was(tmp_path, place):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        write_atomically(tmp_path / place, b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not list((tmp_path / "folder").iterdir())


def test_an_interruption_while_writing_leaves_no_temporary_file(tmp_path):
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "file", "text, not bytes")
    assert not list(tmp_path.iterdir())


def test_a_result_can_be_read_by_whoever_may_read_files_made_in_that_folder(tmp_path):
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@given(st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=4), strategies.floats, st.text())
def test_tensors_come_back_to_the_bit_with_their_header(tmp_path_factory, shapes, dtype, header):
    path = tmp_path_factory.mktemp("files") / "tensors"
    tensors = {
        f"some/{index}.weight": torch.randn(shape).to(dtype).t_() if len(shape) == 2 else torch.randn(shape).to(dtype)
        for index, shape in enumerate(shapes)
    }
    tensors["mask"] = torch.tensor([True, False])
    write_tensors(path, tensors, header)
    back, read = read_tensors(path)
    assert (all_bits(back), read) == (all_bits(tensors), header)
    first = path.read_bytes()
    write_tensors(path, dict(reversed(tensors.items())), header)
    assert path.read_bytes() == first


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    whole = torch.arange(6.0)
    tensors = {"whole": whole, "again": whole, "part": whole[2:4], "turned": whole.view(2, 3).t()}
    write_tensors(tmp_path / "file", tensors, "")
    assert all_bits(read_tensors(tmp_path / "file")[0]) == all_bits(tensors)


def test_what_is_read_can_be_written_to(tmp_path):
    write_tensors(tmp_path / "file", {"w": torch.zeros(3)}, "")
    read_tensors(tmp_path / "file")[0]["w"].add_(1)
    assert not read_tensors(tmp_path / "file")[0]["w"].any()


@given(st.data())
def test_a_file_cut_short_anywhere_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("files") / "tensors"
    write_tensors(path, {"w": torch.randn(5, 3), "b": torch.ones(2)}, "header")
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(StorageError, match=f"{path} is damaged or not a safetensors file"):
        read_tensors(path)


def test_a_file_that_is_not_there_or_not_ours_is_refused(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "text").write_text("Dear reader, this is no tensor.")
    save_file({"w": torch.ones(1)}, tmp_path / "foreign")
    save_file({"w": torch.ones(1)}, tmp_path / "stranger", metadata={"format": "pt"})
    for name, complaint in {
        "absent": "there is no file",
        ".": "it is a folder, not a regular file",
        "text": "is damaged or not a safetensors file",
        "foreign": "lthprune did not write it",
        "stranger": "lthprune did not write it",
    }.items():
        with pytest.raises(StorageError, match=complaint):
            read_tensors(tmp_path / name)


def safetensors(entries, data=bytes(8)):
    """A safetensors file with these entries in its header."""
    header = json.dumps({"__metadata__": {"lthprune": "{}"}, **entries}).encode()
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ((1 << 40).to_bytes(8, "little") + b"{}", "header states 1,099,511,627,776 bytes"),
        (safetensors({"w": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}}), "has the type F8_E8M0"),
        (safetensors({"w": {"dtype": "F64", "shape": [1] * 40, "data_offsets": [0, 8]}}), "40 dimensions"),
        (safetensors({"w": {"dtype": "F64", "shape": [0, 2**62], "data_offsets": [0, 0]}}, b""), "torch cannot hold"),
        (safetensors({"w": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 8]}}), "damaged"),
        (safetensors({"w": {"dtype": "F64", "shape": [1], "data_offsets": [0, 80]}}), "damaged"),
        (safetensors({"w": []}), "damaged"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "damaged"),
        ((2).to_bytes(8, "little") + b"[]", "damaged"),
    ],
)
def test_a_header_that_no_tensors_can_have_is_refused_before_memory_is_taken(tmp_path, data, complaint):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(StorageError, match=complaint):
        read_tensors(tmp_path / "file")


def test_a_boolean_that_is_neither_true_nor_false_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(safetensors({"w": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}}))
    assert read_tensors(tmp_path / "file")[0]["w"].tolist() == [False] * 8
    data = bytes(7) + b"\x02"
    (tmp_path / "file").write_bytes(safetensors({"w": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}}, data))
    with pytest.raises(StorageError, match="damaged at 'w'"):
        read_tensors(tmp_path / "file")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_no_file_of_tensors(tmp_path, kind):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="a pipe or a device, not a regular file"):
        read_tensors({"pipe": tmp_path / "pipe", "device": Path("/dev/zero")}[kind])


def test_tensors_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path):
    size = 1 << 42  # bytes, of a sparse file, which takes no space
    entries = {"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    (tmp_path / "file").write_bytes(safetensors(entries, b""))
    os.truncate(tmp_path / "file", (tmp_path / "file").stat().st_size + size)
    with pytest.raises(StorageError, match=r"GB of memory, and .* are available|unable to mmap"):
        read_tensors(tmp_path / "file")
