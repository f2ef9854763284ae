"""How numba compiles the kernels: once for each type of numbers, kept on disk, for this machine's processor.

Division follows IEEE rather than Python, since a check for zero keeps LLVM from computing vectors. Sums may be made in
any one order, and products fused with them; NaN and infinity keep their meaning. Without Python's lock, trials train in
threads side by side.

What numba keeps of a kernel depends on the kernel's own file alone. But a kernel contains the kernels that it calls:
after an upgrade of lthprune that changes only those, numba would go on with the old ones. So the names of the files
here contain a digest of all kernels' sources.
"""

import functools
import hashlib
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.sigutils import normalize_signature

INNER = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
IN_ORDER = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}  # where another order loses digits


def compiled(function: Callable[..., Any]) -> Any:
    """Return a function as a kernel, which numba compiles, and keeps on disk where it can write."""
    return _kept(function, INNER)


def compiled_in_order(function: Callable[..., Any]) -> Any:
    """Return a function as a kernel that makes its sums in the order in which they are written."""
    return _kept(function, IN_ORDER)


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    kernel = njit(nogil=True, no_cfunc_wrapper=True, **options)(function)
    try:
        kernel._cache = _Cache(function)  # what njit(cache=True) does, with numba's own cache
    except RuntimeError:  # numba found no folder that it can write to
        warnings.warn(
            "lthprune's compiled kernels cannot be kept on disk, so every process compiles them again, which takes up "
            "to a minute: neither lthprune's folder nor the user's cache folder can be written to. Set NUMBA_CACHE_DIR "
            "to a folder of your own that can.",
            stacklevel=1,  # this line, so that the warning appears once
        )
    return kernel


def digest_sources(folder: Path) -> str:
    """Return a digest of the Python files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


_DIGEST = digest_sources(Path(__file__).parent)


class _Files(CompileResultCacheImpl):  # type: ignore[misc]
    """Where numba keeps a kernel."""

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        return f"{super().get_filename_base(fullname, abiflags)}-{_DIGEST}"


class _Cache(FunctionCache):  # type: ignore[misc]
    """What numba keeps of one kernel."""

    _impl_class = _Files

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kernel for some types, None if it must be compiled.

        Two processes that keep a kernel for different types at the same moment may write to one file. So the types of
        what is found are compared.
        """
        found = super().load_overload(sig, target_context)
        if found is not None and found.signature.args == normalize_signature(sig)[0]:
            return found
        _say_that_it_takes_a_while()
        return None


@functools.cache
def _say_that_it_takes_a_while() -> None:
    """Log once what the caller waits for; the command line prints it."""
    logging.getLogger(__name__).info(
        "Compiling for this processor, which takes up to half a minute. Later runs load what is compiled."
    )
