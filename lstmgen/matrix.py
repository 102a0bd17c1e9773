"""A weight matrix times columns, as fast as NumPy's BLAS can be brought to do it."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Numbers in a matrix: see `Matrix`. With fewer than the first, one core is as quick as two.
PAIRED, SHARED = 100_000, 460_800
THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")  # the first has its way


def num_threads() -> int:
    """How many threads NumPy's products take, where that can be told: where its BLAS is OpenBLAS."""
    built = np.show_config(mode="dicts") or {}
    if "openblas" not in built.get("Build Dependencies", {}).get("blas", {}).get("name", ""):
        return 1
    for name in THREADS:
        if (value := os.environ.get(name, "")).isdecimal() and int(value):
            return int(value)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Matrix:
    """Weights (Z, K), to be multiplied by columns (K, B): `matrix @ x` is (Z, B).

    OpenBLAS (0.3.31) lets several cores share the product of a matrix and a single column only if the
    matrix has at least `SHARED` numbers. A smaller one is read by one core while the others wait, and
    two such matrices already fill that core's cache. Complex numbers are shared from some thousands on.
    So, for a single column, two neighbouring rows are taken as the real and the imaginary part of one:
    the column is real, so the two products stay apart, in the two parts of the result.

    The array is kept and not copied, and must not change afterwards; its numbers must be finite.
    """

    def __init__(self, weight: Array) -> None:
        self.weight = weight
        self._pairs: NDArray[Any] | None = None
        if PAIRED <= weight.size < SHARED and len(weight) % 2 == 0 and num_threads() > 1:
            self._pairs = weight[0::2] + 1j * weight[1::2]  # (Z / 2, K)

    def __matmul__(self, x: Array) -> Array:
        product: Array
        if self._pairs is None or x.shape[1] != 1:
            product = self.weight @ x
        else:
            pairs = self._pairs @ x.astype(self._pairs.dtype)
            product = pairs.view(self.weight.dtype).reshape(-1, 1)
        return product
