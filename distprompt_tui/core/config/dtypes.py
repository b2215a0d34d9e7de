"""Names of the dtypes of models, without imports: the command line lists them before pydantic is loaded."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["float32", "bfloat16", "float16"]

DtypeSetting = Literal["auto", Dtype]
"""A dtype, or "auto": bfloat16 on GPUs with instructions for it, float32 elsewhere."""
