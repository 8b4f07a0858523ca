"""A model's shape without its weights: parameter counts for `plan`."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from torch import nn

from anukul.config import ModelSettings
from anukul.errors import UserError


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts that decide memory; parameters in numbers, not bytes."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    tied: bool
    linear_shapes: tuple[tuple[int, int], ...]  # (in, out) of every linear layer but the output head
    embedding_parameters: int  # input embeddings and head, once where tied
    other_parameters: int  # norms and biases

    @property
    def linear_parameters(self) -> int:
        """Weights that quantisation applies to."""
        return sum(rows * columns for rows, columns in self.linear_shapes)

    @property
    def parameters(self) -> int:
        """All parameters of the base."""
        return self.linear_parameters + self.embedding_parameters + self.other_parameters

    def lora_parameters(self, rank: int) -> int:
        """Trainable parameters of LoRA of this rank on every linear layer: rank x (in + out) each."""
        return sum(rank * (rows + columns) for rows, columns in self.linear_shapes)


def shipped_shapes() -> list[str]:
    """Names of the shapes that ship with the package."""
    folder = resources.files("anukul").joinpath("configs", "shapes")
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir())


def read_shape(settings: ModelSettings) -> Shape:
    """Read the shape from `model.shape` or from the config.json in `model.path`; no weights, no network."""
    return _measure(*read_config(settings))


def read_config(settings: ModelSettings) -> tuple[str, dict[str, object]]:
    """Return what to call the base, and its config.json: that of `model.shape` or in `model.path`."""
    if settings.shape is not None:
        if settings.shape not in shipped_shapes():
            raise UserError(
                f"model.shape: '{settings.shape}' is not shipped; there are {', '.join(shipped_shapes())}"
            )
        text = resources.files("anukul").joinpath("configs", "shapes", f"{settings.shape}.json").read_text()
        return settings.shape, json.loads(text)
    file = Path(settings.path).expanduser() / "config.json"
    if not file.exists():
        raise UserError(
            f"model.path: {settings.path}: no config.json there to read the shape from; give a model folder "
            f"or set model.shape to one of {', '.join(shipped_shapes())}"
        )
    return settings.path, json.loads(file.read_text(encoding="utf-8"))


def _measure(name: str, data: dict[str, object]) -> Shape:
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type = str(data.pop("model_type"))
    config = AutoConfig.for_model(model_type, **data)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    linear = tuple(
        (module.in_features, module.out_features)
        for module in model.modules()
        if isinstance(module, nn.Linear) and module is not head
    )
    tied = head.weight is embeddings.weight or bool(config.tie_word_embeddings)
    embedding = embeddings.weight.numel() * (1 if tied else 2)
    total = sum(parameter.numel() for parameter in model.parameters())
    if tied and head.weight is not embeddings.weight:
        total -= head.weight.numel()
    return Shape(
        name=name,
        layers=int(config.num_hidden_layers),
        hidden=int(config.hidden_size),
        intermediate=int(config.intermediate_size),
        vocabulary=int(config.vocab_size),
        tied=tied,
        linear_shapes=linear,
        embedding_parameters=embedding,
        other_parameters=total - embedding - sum(rows * columns for rows, columns in linear),
    )
