"""Fuzz a target with atheris, which keeps the inputs that reach new lines: needs ``pip install atheris``.

    python -m tests.fuzzing.coverage_guided TARGET FOLDER -max_total_time=600 -print_final_stats=1

The folder keeps the inputs (``corpus``) and one input for each fault that is found (``faults``), for further runs.
Arguments after it are those of libFuzzer.
"""

import sys
import traceback
import warnings
from pathlib import Path
from random import Random

import atheris
import torch

with atheris.instrument_imports(include=["lthprune", "numpy.lib", "zipfile", "tomllib"]):
    from tests.fuzzing.mutations import mutated
    from tests.fuzzing.targets import TARGETS, make_originals, refused, small_machine


def main() -> None:
    """Fuzz the target that the first argument names."""
    name, folder, *options = sys.argv[1:]
    target, originals = TARGETS[name], Path(folder).absolute() / "originals"
    corpus, faults = Path(folder) / "corpus" / name, Path(folder) / "faults" / name
    for each in (corpus, faults):
        each.mkdir(parents=True, exist_ok=True)
    if not originals.exists():
        make_originals(originals)
    path = originals / target.file
    (corpus / "original").write_bytes(path.read_bytes())

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            refused(target.read, originals)
        except Exception as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/lthprune/" in frame.filename]
            place = f"{Path(frames[-1].filename).stem}-{frames[-1].lineno}" if frames else "nowhere"
            found = faults / f"{type(error).__name__}-{place}"
            if not found.exists():
                found.write_bytes(data)
                traceback.print_exc()

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        return mutated(data, target.kind, random)[:most] if random.random() < 0.5 else atheris.Mutate(data, most)

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    good = path.read_bytes()
    limits = ["-timeout=10", "-malloc_limit_mb=1000", "-rss_limit_mb=6000", f"-max_len={2 * len(good) + 10_000}"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *options], one, custom_mutator=mutate)
    with small_machine(originals):
        atheris.Fuzz()


if __name__ == "__main__":
    main()
