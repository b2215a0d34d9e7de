"""Products and statistics of embeddings and output layers in float32, without a float32 copy of the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)

CHUNK_BYTES = 64 << 20  # size of the float32 copy of some rows: small beside a model, large enough for a GPU


def held(weight: Tensor) -> Tensor:
    """Return a weight in the dtype in which it is held: half precision on an accelerator, float32 elsewhere.

    A CPU multiplies a float32 copy faster than it casts the weight for each product.
    """
    weight = weight.detach()
    return weight if weight.device.type != "cpu" and weight.dtype in HALF else weight.float()


def float32_rows(matrix: Tensor, rows: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Yield chunks of a matrix's rows in float32; a chunk is valid until the next one.

    Args:
        matrix: (V, d), any floating dtype.
        rows: indices of the rows to yield, (count,); all rows by default.

    Yields:
        The place of a chunk among the rows, and the chunk, (at most size, d).
    """
    count = len(matrix) if rows is None else len(rows)
    size = max(1, CHUNK_BYTES // (torch.float32.itemsize * matrix.shape[1]))
    for start in range(0, count, size):
        place = slice(start, min(start + size, count))
        yield place, (matrix[place] if rows is None else matrix[rows[place]]).float()


def float32_product(vectors: Tensor, matrix: Tensor) -> Tensor:
    """Compute vectors · matrixᵀ with products and sums in float32, (..., d) × (V, d) → (..., V).

    The product of two numbers in half precision is exact in float32, so the result differs from that of float32 copies
    by the order of summation only. The gradient of the vectors is computed in the same way; the matrix gets none.
    """
    if matrix.dtype == torch.float32:
        return vectors.float() @ matrix.T
    product: Tensor = _Product.apply(vectors.reshape(-1, vectors.shape[-1]), matrix)
    return product.view(*vectors.shape[:-1], len(matrix))


class _Product(torch.autograd.Function):
    """(k, d) × (V, d) → (k, V) with a matrix in half precision, by one mixed product or by chunks in float32."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(matrix)
        ctx.dtype = vectors.dtype
        if vectors.dtype == matrix.dtype and has_mixed_product(matrix.device, matrix.dtype):
            return torch.mm(vectors, matrix.T, out_dtype=torch.float32)
        product = torch.empty(len(vectors), len(matrix), device=matrix.device)
        for place, rows in float32_rows(matrix):
            product[:, place] = vectors.float() @ rows.T
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (matrix,), (gradient,) = ctx.saved_tensors, gradients
        if matrix.dtype == torch.bfloat16 and has_mixed_product(matrix.device, matrix.dtype):
            # Two parts keep 16 bits of the gradient. float16 would lose its small values.
            high = gradient.bfloat16()
            low = (gradient - high).bfloat16()
            total = sum(torch.mm(part, matrix, out_dtype=torch.float32) for part in (high, low))
            assert isinstance(total, Tensor)
        else:
            total = torch.zeros(len(gradient), matrix.shape[1], device=matrix.device)
            for place, rows in float32_rows(matrix):
                total.addmm_(gradient[:, place], rows)
        return total.to(ctx.dtype), None


@cache
def has_mixed_product(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a device multiplies matrices in half precision with a result in float32."""
    one = torch.ones(16, 16, dtype=dtype, device=device)  # tensor cores need multiples of 8
    try:
        return torch.mm(one, one, out_dtype=torch.float32).dtype == torch.float32
    except (RuntimeError, TypeError):  # no kernel, or a version of torch without `out_dtype`
        return False


def mean_row(matrix: Tensor, rows: Tensor | None = None) -> Tensor:
    """Compute the mean of the rows, or of some of them by index, in float32, (d,)."""
    if matrix.dtype == torch.float32 and rows is None:
        return matrix.mean(0)
    total = torch.zeros(matrix.shape[1], device=matrix.device)
    for _, chunk in float32_rows(matrix, rows):
        total += chunk.sum(0)
    return total / (len(matrix) if rows is None else len(rows))


def standard_deviation(matrix: Tensor) -> Tensor:
    """Compute the standard deviation of all values in float32, ()."""
    if matrix.dtype == torch.float32:
        return matrix.std()
    mean = mean_row(matrix).mean()
    squares = torch.stack([(chunk - mean).square().sum() for _, chunk in float32_rows(matrix)])
    return (squares.sum() / (matrix.numel() - 1)).sqrt()


def row_norms(matrix: Tensor) -> Tensor:
    """Compute the Euclidean norm of each row in float32, (V,)."""
    return torch.cat([chunk.norm(dim=1) for _, chunk in float32_rows(matrix)])
