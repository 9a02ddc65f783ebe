"""Models by name or from Hugging Face ``config.json`` files."""

from __future__ import annotations

from pathlib import Path

from uarch.files.presets import Presets
from uarch.files.reading import one_line, read_json
from workloads.models.architectures import model_of_config
from workloads.models.model import Model

__all__ = ["Model", "load_model", "model_names"]

MODELS = Presets("model", Path(__file__).parent / "configs", ".json")
"""Models that come with the package, in Hugging Face's ``config.json`` layout."""


def model_names() -> list[str]:
    """Names of the models that come with the package, sorted."""
    return list(MODELS.names)


def load_model(name_or_path: str) -> Model:
    """Load a model.

    Parameters
    ----------
    name_or_path
        A preset (see :func:`model_names`) or the path of a Hugging Face ``config.json``. A file is named after itself,
        one called ``config.json`` after its folder.

    Returns
    -------
    Model
        The model's dimensions; there are no weights.

    Raises
    ------
    InputError
        For an unknown model or architecture, an unreadable or malformed file, a key that is missing or wrong.

    Examples
    --------
    >>> import uarch
    >>> model = uarch.load_model("llama-3-8b")
    >>> model.n_layers, model.kv_heads, model.total_parameters
    (32, 8, 8030261248)
    """
    path = MODELS.find(name_or_path)
    config = read_json(path)
    name = path.resolve().parent.name if path.name == "config.json" else path.stem
    return model_of_config(config, one_line(name) or "model", one_line(f"model {name_or_path}"))
