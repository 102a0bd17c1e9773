"""A matrix times columns is the same by whatever way the product is taken."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lstmgen import matrix as matrix_module
from lstmgen.matrix import Matrix


def some(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.usefixtures("pairing")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_columns", [0, 1, 2, 7])
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
    ("num_rows", "threads", "paired"),
    [(1400, 2, True), (1398, 2, False), (4606, 2, True), (4608, 2, False), (1400, 1, False)],
)
def test_rows_are_paired_where_threads_would_not_share_them(
    num_rows: int, threads: int, paired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_module, "num_threads", lambda: threads)
    weight = some(num_rows, 100)
    matrix = Matrix(weight)
    weight[:] = 0
    assert bool((matrix @ some(100, 1)).any()) == paired


@pytest.mark.usefixtures("pairing")
@pytest.mark.parametrize("num_columns", [1, 2])
def test_a_product_is_an_array_of_its_own(num_columns: int) -> None:
    matrix, x = Matrix(some(4, 100)), some(100, num_columns)
    first = matrix @ x
    kept = first.copy()
    first += 1
    np.testing.assert_array_equal(matrix @ x, kept)


@pytest.mark.parametrize("num_columns", [1, 3])
@pytest.mark.parametrize("apart", [0, 10**9])
def test_parts_side_by_side_are_one_matrix(
    apart: int, num_columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_module, "APART", apart)
    left, right, x = some(4, 3), some(4, 2) + 1, some(5, num_columns)
    product = Matrix(left, right) @ x
    np.testing.assert_allclose(product, np.concatenate((left, right), axis=1) @ x, atol=1e-5)


@pytest.mark.parametrize(("num_rows", "copied"), [(2_990, True), (3_010, False)])
def test_parts_that_are_large_are_not_copied(num_rows: int, copied: bool) -> None:
    parts = np.ones((num_rows, 1000), np.float32), np.ones((num_rows, 1000), np.float32)
    matrix = Matrix(*parts)
    for part in parts:
        part[:] = 0
    assert bool((matrix @ np.ones((2000, 1), np.float32)).any()) == copied


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "5", "OPENBLAS_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "5", "GOTO_NUM_THREADS": "4"}, 4),
        ({"OPENBLAS_NUM_THREADS": "0", "OMP_NUM_THREADS": "many"}, 3),
    ],
)
def test_threads_are_those_that_openblas_takes(
    variables: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "show_config", built_with("scipy-openblas"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5}, raising=False)
    for name in matrix_module.THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert matrix_module.num_threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert matrix_module.num_threads() == (7 if threads == 3 else threads)
    monkeypatch.setattr(np, "show_config", built_with("accelerate"))
    assert matrix_module.num_threads() == 1


def built_with(blas: str) -> Callable[..., Any]:
    return lambda mode: {"Build Dependencies": {"blas": {"name": blas}}}


def test_numpy_says_what_it_is_built_with() -> None:
    built: Any = np.show_config(mode="dicts")
    assert built["Build Dependencies"]["blas"]["name"]
