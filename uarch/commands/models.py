"""``uarch models``: the models that come with the package, or one model in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uarch.commands.output import JsonOption, console, emit, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from workloads.models.presets import Model

_FP16_BITS = 16

SECTION = Section.LOOK_UP


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(models)


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME_OR_FILE]", help="A preset or a Hugging Face config.json; all if left out."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the models, or one model with its dimensions and what follows from them."""
    from workloads.models.architectures import ARCHITECTURES
    from workloads.models.presets import load_model, model_names

    if name is not None:
        model = load_model(name)
        emit(_payload(model), as_json, lambda: _render_one(model))
        return
    presets = [load_model(preset) for preset in model_names()]
    payload = {"models": [_payload(model) for model in presets], "architectures": list(ARCHITECTURES)}
    emit(payload, as_json, lambda: _render_all(presets, list(ARCHITECTURES)))


def _payload(model: Model) -> dict[str, Any]:
    """Dimensions of the model and what follows from them, units in the keys."""
    from dataclasses import asdict

    return {**asdict(model), **_derived(model)}


def _derived(model: Model) -> dict[str, Any]:
    from workloads.models.parallel import allowed_degrees

    return {
        "parameters": model.total_parameters,
        "active_parameters": model.active_parameters,
        "parameters_per_layer": model.parameters_per_layer,
        "fp16_weight_bytes": model.total_parameters * _FP16_BITS // 8,
        "fp16_kv_bytes_per_token": model.kv_bytes_per_token(_FP16_BITS),
        "tp_degrees": allowed_degrees(model),
    }


def _render_all(presets: list[Model], architectures: list[str]) -> None:
    columns = ["model", "architecture", "parameters", "layers", "hidden", "heads", "head dim", "FFN", "vocabulary"]
    columns += ["fp16 weights", "fp16 KV/token"]
    screen = console()
    screen.print(table("Models", columns, map(_row, presets), left=2))
    screen.print(f"Any other Hugging Face config.json of these architectures works too: {', '.join(architectures)}")


def _row(model: Model) -> Iterator[str]:
    yield model.name
    yield model.architecture
    yield f"{model.total_parameters / 1e9:.2f} B"
    yield str(model.n_layers)
    yield str(model.hidden)
    yield str(model.q_heads) if model.kv_heads == model.q_heads else f"{model.q_heads} / {model.kv_heads} KV"
    yield str(model.head_dim)
    width = f"{model.experts.top_k} of {model.experts.count} x {model.experts.ffn}" if model.experts else str(model.ffn)
    yield f"{width} gated" if model.gated_ffn else width
    yield str(model.vocab)
    yield f"{model.total_parameters * _FP16_BITS / 8 / 2**30:.1f} GiB"
    yield f"{model.kv_bytes_per_token(_FP16_BITS) / 2**10:.0f} KiB"


def _render_one(model: Model) -> None:
    rows = [(name.replace("_", " "), _text(value)) for name, value in _payload(model).items()]
    console().print(table(model.name, ["quantity", "value"], rows, left=2))


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not stated"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_text(of_name)}" for name, of_name in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
