"""A weight matrix times columns, as fast as NumPy's BLAS can be brought to do it."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Numbers in a matrix: see `Matrix`; with fewer than the first, one core is as quick as two.
PAIRED, SHARED = 100_000, 460_800


def num_cores() -> int:
    """How many cores this process may use, which is how many threads OpenBLAS begins with."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Matrix:
    """Weights (Z, K), to be multiplied by columns (K, B): `matrix @ x` is (Z, B).

    OpenBLAS, with which NumPy comes, shares a matrix that one column is multiplied by among cores only
    if it has `SHARED` numbers; a smaller one is read by one core, whose cache two of them may fill, while
    the other core waits. Complex numbers are shared from some thousands on. So two rows are taken as the real
    and the imaginary part of one where there is one column: as that is real, what they come to stays apart.
    """

    def __init__(self, weight: Array) -> None:
        self.weight = weight
        self._pairs: NDArray[Any] | None = None
        if PAIRED <= weight.size < SHARED and len(weight) % 2 == 0 and num_cores() > 1:
            self._pairs = weight[0::2] + 1j * weight[1::2]

    def __matmul__(self, x: Array) -> Array:
        product: Array
        if self._pairs is None or x.shape[1] > 1:
            product = self.weight @ x
        else:
            pairs = self._pairs @ x.astype(self._pairs.dtype)  # (Z / 2, 1)
            product = pairs.view(x.dtype).reshape(-1, 1)
        return product
