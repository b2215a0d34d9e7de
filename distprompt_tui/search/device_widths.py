"""Numbers of candidates and chains of a hard search on a model's device."""

from __future__ import annotations

from distprompt_tui.core.config.device_widths import Widths, widths_for
from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.models.language_model import LanguageModel


def chosen_widths(settings: Hard, model: LanguageModel) -> Widths:
    """Return the widths of a search; "auto" is replaced by the value for the device and the size of the model."""
    parameters = sum(parameter.numel() for parameter in model.backbone.parameters())
    return widths_for(model.device.type, parameters, settings.width, settings.chains)
