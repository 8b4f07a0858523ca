"""Translation: prompts, generation that goes on where it stood, chrF++ and its test as sacrebleu's."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anukul.config import ModelSettings, RunConfig, TranslationSettings
from anukul.errors import UserError
from anukul.evaluate.scores import Method
from anukul.evaluate.translation import (
    Prompt,
    chrf,
    make_prompts,
    score_translations,
    segment_statistics,
    translate,
)
from anukul.items.parallel import load_lines
from anukul.model.base import load_base
from anukul.records import Translation
from anukul.scoring import harness as harness_module
from anukul.scoring.cache import BatchCache
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer

BASE = [f"Ram saw {n} birds near the river." for n in range(12)]
TARGET = [f"रामले नदीको छेउमा {n} वटा चरा देखे।" for n in range(12)]


@pytest.fixture
def settings(tmp_path: Path) -> TranslationSettings:
    (tmp_path / "en").write_text("\n".join(BASE) + "\n", encoding="utf-8")
    (tmp_path / "ne").write_text("\n".join(TARGET) + "\n", encoding="utf-8")
    return TranslationSettings(
        source=str(tmp_path / "en"),
        target=str(tmp_path / "ne"),
        shots=(0, 1, 3),
        limit=4,
        skip=2,
        max_new_tokens=8,
    )


@pytest.fixture
def config(tiny_settings: ModelSettings) -> RunConfig:
    return RunConfig(name="t", language="npi_Deva", model=tiny_settings)


def test_prompts_are_written_as_the_last_translation_stage_wrote_them(
    config: RunConfig, settings: TranslationSettings, tiny_settings: ModelSettings
) -> None:
    from anukul.model.base import load_tokenizer
    from anukul.records import Pair
    from anukul.train.formats import Formatter

    stages = [
        {"name": "a", "format": "translation"},
        {"name": "b", "format": "translation", "translation": {"tags": ["direction", "origin"]}},
        {"name": "c", "format": "instruct"},
    ]
    tagged = RunConfig.model_validate({**config.model_dump(), "train": {"stages": stages}})
    assert tagged.train is not None
    tokenizer = load_tokenizer(tiny_settings)
    formatter = Formatter(tokenizer, int(tokenizer.bos_token_id), "npi_Deva", "eng_Latn")
    sides = ("p", "", BASE[2], TARGET[2], "eng_Latn", "npi_Deva", "organic", "", "t", "CC0")
    prompts = {prompt.direction: prompt for prompt in make_prompts(tagged, settings) if not prompt.shots}
    for direction in ("to_target", "to_base"):
        asked = tagged.train.stages[1].translation
        given, _ = formatter.translation(Pair(*sides), direction == "to_target", asked)
        texts = [one.text for one in make_prompts(tagged, settings) if one.direction == direction]
        assert texts[0] == given.text and prompts[direction].line.base == BASE[5]
    exemplar, last = next(one for one in make_prompts(tagged, settings) if one.shots == 1).text.split("\n\n")
    assert exemplar.startswith("<2npi_Deva> English:") and last.startswith("<2npi_Deva> English:")
    bare = RunConfig.model_validate({**config.model_dump(), "train": {"stages": stages[:1]}})
    assert make_prompts(bare, settings) == make_prompts(config, settings)


def test_prompts_go_both_ways_with_nested_exemplars(config: RunConfig, settings: TranslationSettings) -> None:
    prompts = make_prompts(config, settings)
    assert len(prompts) == 2 * 3 * 4
    assert prompts[0].text == f"English: {BASE[2]}\nNepali:"
    assert prompts[12].text == f"Nepali: {TARGET[2]}\nEnglish:"
    by_key = {(p.direction, p.shots, p.line.number): p for p in prompts}
    one, three = (by_key["to_target", shots, 3].text.split("\n\n") for shots in (1, 3))
    assert three[0] == one[0] and len(three) == 4
    lines = set(three[:-1])
    assert lines <= {f"English: {b}\nNepali: {t}" for b, t in zip(BASE[6:], TARGET[6:], strict=True)}
    assert by_key["to_base", 0, 3].reference == BASE[2] and by_key["to_base", 0, 3].source == TARGET[2]
    assert make_prompts(config, settings) == prompts
    assert make_prompts(config.model_copy(update={"seed": 9}), settings) != prompts


def test_files_that_do_not_match(settings: TranslationSettings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="7 shots are asked for but only 6 lines stand after the 4"):
        load_lines(settings.model_copy(update={"shots": (0, 7)}))
    with pytest.raises(UserError, match="no lines after the first 12"):
        load_lines(settings.model_copy(update={"skip": 12}))
    (tmp_path / "ne").write_text("\n".join(TARGET[:-1]), encoding="utf-8")
    with pytest.raises(UserError, match=r"has 12 lines and .* 11; line n of one must translate"):
        load_lines(settings)
    (tmp_path / "ne").write_text("\n".join(["", *TARGET[1:]]), encoding="utf-8")
    asked, rest = load_lines(settings.model_copy(update={"skip": 0}))
    assert [line.number for line in asked] == [2, 3, 4, 5] and len(rest) == 7


def test_killed_and_resumed_gives_the_same_texts(
    config: RunConfig, settings: TranslationSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = make_prompts(config, settings)
    loaded = load_base(config.model)

    def run(path: Path) -> list[Translation]:
        return translate(AnukulLM(Scorer(loaded, 512, cache=BatchCache(path)), None, 4), prompts, 8, "base")

    whole = run(tmp_path / "whole.jsonl")
    assert len(BatchCache(tmp_path / "whole.jsonl")) == 6
    real = harness_module.generate_greedy
    batches = [0]

    def killed(*arguments: Any) -> Any:
        if batches[0] == 3:
            raise KeyboardInterrupt
        batches[0] += 1
        return real(*arguments)

    monkeypatch.setattr(harness_module, "generate_greedy", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut.jsonl")
    held = (tmp_path / "cut.jsonl").read_bytes()
    assert held.count(b"\n") == 3
    (tmp_path / "cut.jsonl").write_bytes(held[:-5])
    batches[0] = -9
    assert run(tmp_path / "cut.jsonl") == whole
    assert batches[0] == -9 + 4  # the torn batch and the three that were left
    assert all("\n" not in row.hypothesis for row in whole)
    assert any(row.hypothesis for row in whole)


def test_what_does_not_fit_is_said(
    config: RunConfig, settings: TranslationSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = make_prompts(config, settings.model_copy(update={"directions": ("to_target",)}))
    wide = [
        Prompt(p.direction, p.source_language, p.target_language, p.shots, p.line, "राम " * 300 + p.text)
        for p in prompts[:2]
    ]
    lm = AnukulLM(Scorer(load_base(config.model), 512))
    rows = translate(lm, [*wide, prompts[2]], 9999, "base")
    assert [row.prompt_cut for row in rows] == [True, True, False]
    said = " ".join(capsys.readouterr().err.split())
    assert "at most 256 tokens are generated" in said and "2 of 3 prompts do not fit" in said


def rows(model: str, texts: list[str], shots: int = 0) -> list[Translation]:
    return [
        Translation(model, "to_base", "npi_Deva", "eng_Latn", shots, n, "", BASE[n], text, 0.0, False)
        for n, text in enumerate(texts)
    ]


def test_chrf_is_sacrebleus() -> None:
    from sacrebleu.metrics.chrf import CHRF

    texts = [BASE[0], "", "zzz", BASE[3].upper(), "Ram saw birds.", *BASE[6:11], "the river"]
    metric = CHRF(word_order=2)
    counted = segment_statistics(texts, BASE[:11])
    assert chrf(counted.sum(0)[None])[0] == pytest.approx(metric.corpus_score(texts, [BASE[:11]]).score)
    each = [metric.sentence_score(text, [ref]).score for text, ref in zip(texts, BASE, strict=False)]
    assert chrf(counted) == pytest.approx(np.array(each))
    assert each[0] == pytest.approx(100) and each[1] == 0


def test_scores_with_interval_signature_and_paired_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "none")
    wrong = ["Sita ate rice today."] * 12
    method = Method(300, 0.95, 0)
    (better,) = score_translations([*rows("base", wrong), *rows("adapted", BASE[:9] + wrong[:3])], method)
    assert (better["metric"], better["n"], better["empty"]) == ("chrF++", 12, {"base": 0, "adapted": 0})
    assert better["difference"]["value"] == pytest.approx(
        better["adapted"]["value"] - better["base"]["value"]
    )
    assert 0 < better["difference"]["low"] <= better["difference"]["value"] <= better["difference"]["high"]
    assert better["p"] == pytest.approx(1 / 301) and better["q"] == better["p"]
    assert (
        "nw:2" in better["signature"]
        and "bs:300" in better["signature"]
        and "seed:12345" in better["signature"]
    )
    again = score_translations([*rows("base", wrong), *rows("adapted", BASE[:9] + wrong[:3])], method)
    assert again == [better]
    assert os.environ["SACREBLEU_SEED"] == "none"
    (same,) = score_translations([*rows("base", wrong), *rows("adapted", wrong)], method)
    assert same["p"] == 1.0 and same["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    with pytest.raises(ValueError, match="same lines"):
        score_translations([*rows("base", wrong), *rows("adapted", wrong[:2])], method)
