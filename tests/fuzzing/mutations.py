"""Files changed as a fault of a disk, a forger or a fuzzer would change them: bytes, and entries of known formats."""

import io
import json
import math
import tomllib
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import tomli_w

VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-300, 1e300, math.nan, math.inf),
    *("", "x", "0", "\0", "../../x", "/etc/passwd", "~nobody-here/x", "é" * 300, "a.b", "trial-0/level-00.safetensors"),
    *([], {}, [[]], [None], {"": {}}, {"$array": "0"}, [0] * 5000, ["a", 1, {}], [1, 2], [10**9], {"a": {"b": [1]}}),
)


def mutated(data: bytes, kind: str, random: Random) -> bytes:
    """Return bytes with one to three changes; half of them change the entries of the format of this name."""
    for _ in range(random.randint(1, 3)):
        edit = _FORMATS.get(kind)
        if edit is not None and random.random() < 0.6:
            try:
                data = edit(data, random)
                continue
            except Exception:  # an earlier change left bytes that are not of the format, or a value that it lacks
                pass
        data = _bytes_changed(data, random)
    return data


def changed(tree: Any, random: Random) -> Any:
    """Return plain nested values with one entry replaced, removed, renamed, repeated or put into a list."""
    if isinstance(tree, dict | list) and tree and random.random() < 0.85:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        key, copy = random.choice(keys), (dict(tree) if isinstance(tree, dict) else list(tree))
        act = random.random()
        if act < 0.1:
            del copy[key]
        elif act < 0.15 and isinstance(copy, dict):
            copy[random.choice(["", "x", "..", key * 2])] = copy.pop(key)
        elif act < 0.2 and isinstance(copy, list):
            copy.append(copy[key])
        else:
            copy[key] = changed(copy[key], random)
        return copy
    act = random.random()
    if act < 0.1:
        return [tree]
    if act < 0.25 and isinstance(tree, int | float) and not isinstance(tree, bool):
        return random.choice([-tree, tree * 1000, tree + 1, tree - 1, tree / 2])
    if act < 0.3 and isinstance(tree, str):
        return random.choice([tree[:-1], tree * 2, tree.upper(), f"../{tree}"])
    return random.choice(VALUES)


def _bytes_changed(data: bytes, random: Random) -> bytes:
    at, other = random.randint(0, len(data)), random.randint(0, len(data))
    first, last = min(at, other), max(at, other)
    return random.choice(
        [
            lambda: data[:at],
            lambda: data[:first] + data[last:],
            lambda: data[:at] + random.randbytes(random.choice([1, 4, 64])) + data[at:],
            lambda: data[:at] + random.randbytes(1) + data[at + 1 :],
            lambda: data[:at] + random.choice([b"\0" * 8, b"\xff" * 8, b"[" * 5000, b'{"a":' * 500]) + data[at + 8 :],
            lambda: data[:last] + data[first:],
            lambda: b"",
        ]
    )()


def _json(data: bytes, random: Random) -> bytes:
    return json.dumps(changed(json.loads(data), random)).encode()


def _toml(data: bytes, random: Random) -> bytes:
    return tomli_w.dumps(changed(tomllib.loads(data.decode()), random)).encode()


def _safetensors(data: bytes, random: Random) -> bytes:
    """Change an entry of the header, or one of the JSON text in the header that is lthprune's own."""
    size = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    if random.random() < 0.7:
        header["__metadata__"]["lthprune"] = json.dumps(changed(json.loads(header["__metadata__"]["lthprune"]), random))
    elif random.random() < 0.5:
        header = changed(header, random)
    else:  # another type and shape with as many bytes
        entry = header[random.choice([name for name in header if name != "__metadata__"])]
        start, stop = entry["data_offsets"]
        code, size = random.choice(
            [("U8", 1), ("I8", 1), ("BOOL", 1), ("F8_E4M3", 1), ("F16", 2), ("I16", 2), ("F64", 8)]
        )
        values = (stop - start) // size
        entry["dtype"], entry["shape"] = code, random.choice([[values], [1, values], [values, *[1] * 40], [values, 0]])
    described = json.dumps(header).encode()
    return len(described).to_bytes(8, "little") + described + rest


def _npz(data: bytes, random: Random) -> bytes:
    """Replace an array by one of another type, shape or value, or change the bytes of an array with its header."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(members))
    if random.random() < 0.3:
        members[name] = _bytes_changed(members[name], random)
    else:
        array = np.load(io.BytesIO(members[name]), allow_pickle=False)
        changes: list[Callable[[], Any]] = [
            lambda: array.astype(
                random.choice(["f2", "f8", ">f4", "i1", "u8", "c16", "S3", "U2", "m8[s]", "M8[s]", "?"])
            ),
            lambda: array.reshape(random.choice([(-1,), (1, -1), (-1, 1), (1, 1, 1, 1, -1)])),
            lambda: array[: random.randint(0, 3)],
            lambda: np.full_like(array, random.choice([0, 1, 127, -1, math.nan, math.inf, 1e30])),
            lambda: np.zeros((0, *array.shape)),
            lambda: np.array(random.choice([0, "x", 1e300])),
            lambda: np.zeros(array.shape, [("a", "f4"), ("b", "i2")]),
            lambda: np.concatenate([array, array]),
        ]
        content = io.BytesIO()
        np.save(content, random.choice(changes)(), allow_pickle=False)
        members[name] = content.getvalue()
    if random.random() < 0.1:
        members[random.choice(["x_train", "../x.npy", name.upper(), "file"])] = members.pop(name)
    written = io.BytesIO()
    method = random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(written, "w", method) as archive:
        for each, content_of in members.items():
            archive.writestr(each, content_of)
    return written.getvalue()


_FORMATS = {"json": _json, "toml": _toml, "safetensors": _safetensors, "npz": _npz}
