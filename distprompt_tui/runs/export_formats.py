"""Names of the export formats, without imports: the command line lists them before it exports."""

from __future__ import annotations

from typing import Literal

ExportFormat = Literal["peft", "safetensors", "json", "csv"]
