"""A matrix times columns is the same by whatever way the product is taken."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lstmgen import matrix as matrix_module
from lstmgen.matrix import Matrix


def some(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.fixture
def pairing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are taken in pairs however small a matrix is, and on however few cores."""
    monkeypatch.setattr(matrix_module, "PAIRED", 1)
    monkeypatch.setattr(matrix_module, "num_cores", lambda: 2)


@pytest.mark.usefixtures("pairing")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_columns", [1, 2, 7])
@pytest.mark.parametrize("num_rows", [2, 5, 12])
def test_rows_in_pairs_come_to_the_product(num_rows: int, num_columns: int, dtype: Any) -> None:
    weight, x = some(num_rows, 6, dtype=dtype), some(6, num_columns, dtype=dtype)
    product = Matrix(weight) @ x
    assert product.dtype == dtype
    assert product.shape == (num_rows, num_columns)
    exact = weight.astype(np.float64) @ x.astype(np.float64)
    np.testing.assert_allclose(product, exact, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-14)


@pytest.mark.usefixtures("pairing")
def test_one_column_is_multiplied_by_rows_in_pairs_and_many_by_rows() -> None:
    weight = some(4, 3)
    matrix = Matrix(weight)
    weight[:] = 0  # which the pairs are not made of any more
    assert (matrix @ some(3, 1)).all()
    assert not (matrix @ some(3, 2)).any()


@pytest.mark.parametrize(
    ("num_rows", "num_cores", "paired"),
    [(1000, 2, True), (998, 2, False), (4606, 2, True), (4608, 2, False), (1000, 1, False)],
)
def test_rows_are_paired_where_two_cores_would_not_share_them(
    num_rows: int, num_cores: int, paired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_module, "num_cores", lambda: num_cores)
    weight = some(num_rows, 100)
    matrix = Matrix(weight)
    weight[:] = 0
    assert bool((matrix @ some(100, 1)).any()) == paired


def test_a_product_is_an_array_of_its_own() -> None:
    for num_rows in (4, 1000):
        matrix, x = Matrix(some(num_rows, 100)), some(100, 1)
        first = matrix @ x
        kept = first.copy()
        first += 1
        np.testing.assert_array_equal(matrix @ x, kept)


def test_there_is_a_core_at_least() -> None:
    assert matrix_module.num_cores() >= 1
