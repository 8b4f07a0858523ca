"""A real CTranslate2 model: random weights from its own specs, and a sentencepiece model trained on the spot."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import regex
import sentencepiece
from ctranslate2.specs import TransformerSpec
from numpy.typing import NDArray

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # CTranslate2 takes four threads, on two cores too, and they spin

SENTENCES = [
    "रामले भात खायो। सीता विद्यालय गइन् र किताब पढिन्।",
    "किसानले मकै रोप्यो। केटाकेटीहरू खोलामा खेल्छन्।",
    "Ram ate rice. Sita went to school and read a book.",
    "The farmer planted maize. The children play in the river.",
] * 5
WIDTH, HEADS = 32, 2
ENDS, SOMETIMES = 30.0, 9.0


def build_model(folder: Path, seed: int, end_bias: float) -> Path:
    """Write a one-layer Transformer that generates Latin letters; `end_bias` makes it end early, or never."""
    folder.mkdir()
    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=pieces,
        vocab_size=150,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.model").write_bytes(pieces.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces.getvalue())
    vocabulary = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    vocabulary += ["npi_Deva", "eng_Latn"]
    spec = TransformerSpec.from_config(1, HEADS)
    random = np.random.default_rng(seed)

    def weight(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 1.0, shape).astype(np.float32)

    def norm(layer: object) -> None:
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def linear(layer: object, outputs: int, inputs: int) -> None:
        layer.weight, layer.bias = weight(outputs, inputs) * 0.3, np.zeros(outputs, np.float32)

    def attention(layer: object, sizes: list[int]) -> None:
        norm(layer.layer_norm)
        for part, size in zip(layer.linear, sizes, strict=True):
            linear(part, size, WIDTH)

    def feed_forward(layer: object) -> None:
        norm(layer.layer_norm)
        linear(layer.linear_0, 2 * WIDTH, WIDTH)
        linear(layer.linear_1, WIDTH, 2 * WIDTH)

    size = len(vocabulary)
    for side in (spec.encoder, spec.decoder):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = weight(size, WIDTH)
        side.position_encodings.encodings = weight(256, WIDTH)
        norm(side.layer_norm)
        for layer in side.layer:
            attention(layer.self_attention, [3 * WIDTH, WIDTH])
            feed_forward(layer.ffn)
    for layer in spec.decoder.layer:
        attention(layer.attention, [WIDTH, 2 * WIDTH, WIDTH])
    spec.decoder.projection.weight = weight(size, WIDTH)
    bias = np.array([0.0 if regex.fullmatch(r"▁?[A-Za-z]+", piece) else -1000.0 for piece in vocabulary])
    bias = bias.astype(np.float32)
    bias[vocabulary.index("</s>")] = end_bias
    spec.decoder.projection.bias = bias
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.config.add_source_bos = False
    spec.validate()
    spec.save(str(folder))
    return folder


@pytest.fixture(scope="session")
def ending_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose outputs end within a few tokens."""
    return build_model(tmp_path_factory.mktemp("mt") / "ending", seed=0, end_bias=ENDS)


@pytest.fixture(scope="session")
def cutting_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that ends some outputs and not others."""
    return build_model(tmp_path_factory.mktemp("mt") / "cutting", seed=0, end_bias=SOMETIMES)


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that never ends."""
    return build_model(tmp_path_factory.mktemp("mt") / "endless", seed=0, end_bias=-1000.0)
