"""How numba compiles the kernels: once for each type of numbers, kept on disk, for this machine's processor.

Division follows IEEE rather than Python, since a check for zero keeps LLVM from computing vectors. Sums may be made in
any one order, and products fused with them; NaN and infinity keep their meaning. Without Python's lock, trials train in
threads side by side.
"""

INNER = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
COMPILED = {"nogil": True, "cache": True, **INNER}
