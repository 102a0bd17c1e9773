"""A weight matrix times columns, as fast as NumPy's BLAS can be brought to do it."""

import os
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Numbers in a matrix: see `Matrix`. With fewer than the first, one core is as quick as two.
PAIRED, SHARED = 140_000, 460_800
# From so many on, parts are not copied into one: the 3 to 5 % of time saved are not worth the memory.
APART = 6_000_000
# Of which the first that is set counts.
THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")


def num_threads() -> int:
    """How many threads NumPy's products take, if its BLAS is OpenBLAS; else 1, as nobody can tell."""
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

    They are given as one array or as several side by side, each (Z, its share of K). Several are copied
    into one, except where they are large; one is kept and not copied, and must not change afterwards.

    OpenBLAS (0.3.31) lets several cores share the product of a matrix and a single column only if the
    matrix has at least `SHARED` numbers. A smaller one is read by one core while the others wait, and
    two such matrices already fill that core's cache. Complex numbers are shared from some thousands on.
    So, for a single column, two neighbouring rows are taken as the real and the imaginary part of one:
    the column is real, so the two products stay apart, in the two parts of the result. The numbers must
    be finite.
    """

    def __init__(self, *parts: Array) -> None:
        size = sum(part.size for part in parts)
        if len(parts) > 1 and size < APART:
            parts = (np.concatenate(parts, axis=1),)
        self.parts = parts
        ends = accumulate(part.shape[1] for part in parts)
        self._rows = [slice(n - part.shape[1], n) for n, part in zip(ends, parts, strict=True)]
        self._pairs: NDArray[Any] | None = None
        if PAIRED <= size < SHARED and len(parts[0]) % 2 == 0 and num_threads() > 1:
            self._pairs = parts[0][0::2] + 1j * parts[0][1::2]  # (Z / 2, K)

    def __matmul__(self, x: Array) -> Array:
        product: Array
        if self._pairs is not None and x.shape[1] == 1:
            pairs = self._pairs @ x.astype(self._pairs.dtype)
            product = pairs.view(self.parts[0].dtype).reshape(-1, 1)
            return product
        product = self.parts[0] @ x[self._rows[0]]
        for part, rows in zip(self.parts[1:], self._rows[1:], strict=True):
            product += part @ x[rows]
        return product
