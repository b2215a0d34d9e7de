"""Products and statistics of matrices in half precision, compared with those of float64 copies."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.models import large_matrix
from distprompt_tui.models.large_matrix import (
    HALF,
    float32_product,
    float32_rows,
    held,
    mean_row,
    row_norms,
    standard_deviation,
)

SMALL_CHUNKS = 3 * 4 * 7  # three rows of seven values


def matrix_of(rows: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    return (1 + torch.randn(rows, width, generator=torch.Generator().manual_seed(rows))).to(dtype)


sizes = st.tuples(st.integers(2, 20), st.integers(1, 9), st.integers(1, 5))
dtypes = st.sampled_from([torch.float32, *HALF])


@given(sizes, dtypes, dtypes)
def test_products_and_their_gradients_are_those_of_a_float64_matrix(
    size: tuple[int, int, int], dtype: torch.dtype, of_vectors: torch.dtype
) -> None:
    rows, width, count = size
    matrix = matrix_of(rows, width, dtype)
    vectors = torch.randn(2, count, width, generator=torch.Generator().manual_seed(0)).to(of_vectors).requires_grad_()
    weights = torch.randn(2, count, rows, generator=torch.Generator().manual_seed(1))
    with mock.patch.object(large_matrix, "CHUNK_BYTES", SMALL_CHUNKS):
        found = float32_product(vectors, matrix)
        (gradient,) = torch.autograd.grad((found * weights).sum(), vectors)
    assert found.dtype == torch.float32
    assert gradient.dtype == of_vectors
    torch.testing.assert_close(found.double(), vectors.double() @ matrix.double().T, rtol=1e-5, atol=1e-5)
    expected = (weights.double() @ matrix.double()).to(of_vectors)
    torch.testing.assert_close(gradient, expected, rtol=2 * torch.finfo(of_vectors).eps, atol=1e-5)


@given(sizes, dtypes)
def test_statistics_are_those_of_a_float64_matrix(size: tuple[int, int, int], dtype: torch.dtype) -> None:
    matrix = matrix_of(*size[:2], dtype)
    exact, some = matrix.double(), torch.arange(0, len(matrix), 2)
    with mock.patch.object(large_matrix, "CHUNK_BYTES", SMALL_CHUNKS):
        found = [mean_row(matrix), mean_row(matrix, some), standard_deviation(matrix), row_norms(matrix)]
    expected = [exact.mean(0), exact[some].mean(0), exact.std(), exact.norm(dim=1)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_a_float32_matrix_is_used_as_it_is() -> None:
    """The results of a CPU in float32 do not depend on the size of the chunks."""
    matrix, vectors = matrix_of(20, 7, torch.float32), matrix_of(3, 7, torch.float32)
    with mock.patch.object(large_matrix, "CHUNK_BYTES", SMALL_CHUNKS):
        assert torch.equal(float32_product(vectors, matrix), vectors @ matrix.T)
        assert torch.equal(mean_row(matrix), matrix.mean(0))
        assert torch.equal(standard_deviation(matrix), matrix.std())
        assert all(rows.untyped_storage().data_ptr() == matrix.data_ptr() for _, rows in float32_rows(matrix))
    assert held(matrix).data_ptr() == matrix.data_ptr()
    assert held(matrix.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("dtype", HALF)
def test_a_mixed_product_keeps_the_digits_of_gradients(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `out_dtype`, as on CUDA: the operands are in half precision, the result in float32."""
    operands: list[torch.dtype] = []

    def mixed(left: torch.Tensor, right: torch.Tensor, *, out_dtype: torch.dtype) -> torch.Tensor:
        operands.extend((left.dtype, right.dtype))
        return left.to(out_dtype) @ right.to(out_dtype)

    monkeypatch.setattr(torch, "mm", mixed)
    monkeypatch.setattr(large_matrix, "has_mixed_product", lambda device, of: True)
    matrix, vectors = matrix_of(20, 7, dtype), matrix_of(3, 7, dtype).requires_grad_()
    weights = 1e-6 * torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    found = float32_product(vectors, matrix)
    torch.testing.assert_close(found.double(), vectors.double() @ matrix.double().T, rtol=1e-5, atol=1e-5)
    found.backward(weights)
    expected = weights.double() @ matrix.double()
    assert vectors.grad is not None
    torch.testing.assert_close(vectors.grad.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-7)
    assert set(operands) == {dtype}
