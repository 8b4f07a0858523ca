"""A planted run, made and probed once."""

from pathlib import Path

import pytest
import torch
from probe_planted import SUBJECT, conllu, pairs_jsonl, save_planted, subject_weights
from probe_run import config, settings

from anukul.config import LoraSettings
from anukul.model.adapter import add_adapter, save_adapter
from anukul.model.base import load_base
from anukul.probe import step


@pytest.fixture(scope="session")
def planted_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, `trees.conllu` and a run whose adapter plants the subject head."""
    root = tmp_path_factory.mktemp("planted")
    save_planted(root / "base")
    (root / "trees.conllu").write_text(conllu(60, seed=1), encoding="utf-8")
    (root / "pairs.jsonl").write_text(pairs_jsonl(40, seed=2), encoding="utf-8")
    texts = [line.removeprefix("# text = ") for line in conllu(12, seed=3).splitlines() if "# text" in line]
    (root / "held-out.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    loaded = load_base(settings(root))
    add_adapter(loaded, LoraSettings(rank=8, alpha=8), "frozen", seed=0)
    wanted = dict(zip(("q_proj", "k_proj"), subject_weights(), strict=True))
    attention = loaded.causal_lm.model.layers[SUBJECT[0]].self_attn
    for name, weight in wanted.items():
        layer = getattr(attention, name)
        left, values, right = torch.linalg.svd(weight)
        layer.lora_B["default"].weight.data = left[:, :8] * values[:8]
        layer.lora_A["default"].weight.data = right[:8].contiguous()
    save_adapter(loaded, root / "run" / "train" / "words" / "adapter")
    return root


@pytest.fixture(scope="session")
def probed(planted_root: Path) -> Path:
    result = step.run(config(planted_root), planted_root / "run")
    folder = planted_root / "run" / "probe"
    assert sorted(result.outputs) == sorted(file.name for file in folder.iterdir())
    assert result.rows["sentences"] == 60 and result.rows["pairs"] == 40
    assert result.rows["heads"] == 3 * 8 * 3 * 4  # models x heads x halves x groups
    return folder
