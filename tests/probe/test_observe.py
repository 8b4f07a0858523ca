"""What is kept of the attention, against the definition worked out on whole eager maps."""

import numpy as np
import pytest
import torch

from anukul.config import ModelSettings
from anukul.errors import UserError
from anukul.model import attention
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.probe.align import align
from anukul.probe.observe import Prepared, observe
from anukul.probe.treebank import Arc, Sentence, Word

TEXTS = ["रामले गाउँमा भात खायो।", "Sita went to school and read a zebra ?"]


def prepared(loaded: Loaded) -> list[Prepared]:
    """Words by spaces, every word pair an arc."""
    items = []
    for number, text in enumerate(TEXTS):
        words, position = [], 0
        for form in text.split():
            start = text.index(form, position)
            position = start + len(form)
            words.append(Word(form, start, position, -1, ""))
        aligned = align(Sentence(number, str(number), text, tuple(words)), loaded.tokenizer, loaded.prefix_id)
        pairs = [(q, k) for q in range(1, len(words)) for k in range(q)]
        items.append(Prepared(aligned, tuple(Arc(q, k, "any", "head") for q, k in pairs)))
    return items


@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_kept_numbers_are_those_of_the_definition(tiny_settings: ModelSettings, sharpness: float) -> None:
    loaded = load_base(tiny_settings)
    for layer in loaded.causal_lm.model.layers:
        layer.self_attn.q_proj.weight.data.mul_(sharpness)
    items = prepared(loaded)
    seen = observe(loaded, items)
    loaded.causal_lm.set_attn_implementation("eager")
    arc = 0
    sink = np.zeros((2, 4))
    for item in items:
        aligned = item.aligned
        with torch.no_grad():
            output = loaded.causal_lm(torch.from_numpy(aligned.ids)[None], output_attentions=True)
        maps = torch.stack(output.attentions)[:, 0].double().numpy()  # [layers, heads, query, key]
        count = len(aligned.sentence.words)
        for query in range(1, count):
            row = maps[:, :, aligned.last[query]]
            sink += row[:, :, 0]
            before = np.stack([row[:, :, aligned.word_of == w].sum(-1) for w in range(query)], -1)
            for key in range(query):
                assert (item.arcs[arc - (0 if item is items[0] else len(items[0].arcs))].query) == query
                assert (seen.correct[arc] == (before.argmax(-1) == key)).all()
                assert (seen.found[arc] == before.argmax(-1)).all()
                assert np.abs(seen.mass[arc] - before[:, :, key] / before.sum(-1)).max() < 1e-4
                arc += 1
    assert arc == len(seen.correct) == len(seen.mass)
    assert seen.rows == sum(len(item.aligned.sentence.words) - 1 for item in items)
    assert np.abs(seen.sink - sink).max() < 1e-4


def test_rows_in_several_chunks_give_the_same(
    tiny_settings: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_base(tiny_settings)
    items = prepared(loaded)
    whole = observe(loaded, items)
    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", {"cpu": 1})
    parts = observe(loaded, items)
    assert (whole.found == parts.found).all()
    assert (whole.correct == parts.correct).all()
    assert np.abs(whole.mass - parts.mass).max() < 1e-6
    assert np.abs(whole.sink - parts.sink).max() < 1e-4
    assert whole.rows == parts.rows


def test_no_attention_at_all_on_earlier_words_finds_nothing(tiny_settings: ModelSettings) -> None:
    """A window of one token: every row sees itself alone."""
    from transformers import AutoModelForCausalLM, MistralConfig

    loaded = load_base(tiny_settings)
    config = MistralConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=1,
    )
    loaded.model = AutoModelForCausalLM.from_config(config).eval()
    seen = observe(loaded, prepared(loaded))
    assert (seen.found == -1).all()
    assert not seen.correct.any()
    assert not seen.mass.any()
    assert not seen.sink.any()


@pytest.mark.filterwarnings("ignore")
def test_layers_without_attention_are_refused(tiny_settings: ModelSettings) -> None:
    from transformers import AutoModelForCausalLM, Lfm2Config

    loaded = load_base(tiny_settings)
    config = Lfm2Config(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
    )
    loaded.model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(UserError, match="attention is seen in 1 of 2 layers of Lfm2ForCausalLM"):
        observe(loaded, prepared(loaded))
