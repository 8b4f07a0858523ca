"""Case studies: words named without doubt, maps as the model has them, the mean over pieces, files beside the step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_planted import SUBJECT
from probe_run import config, settings

from anukul import casestudies, inputs, pipeline
from anukul.config import CaseStudy, RunConfig
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.model.adapter import load_adapter
from anukul.model.base import load_base
from anukul.probe.align import align
from anukul.probe.case import find_words, study
from anukul.report.load import load_run
from anukul.rundir import StepFolder, StepKey

SENTENCE = "राम र सीता गए, राम सुत्यो।"


@pytest.mark.parametrize(
    ("query", "key", "fault"),
    [
        (
            "गइन्",
            "राम#1",
            "--query: 'गइन्' is not a word of the sentence; its words are: राम र सीता गए , राम सुत्यो ।",
        ),
        ("सुत्यो", "राम", r"--key: 'राम' stands 2 times .* 'राम#1' \(word 1\), 'राम#2' \(word 6\)"),
        ("सुत्यो", "राम#3", "--key: 'राम#3' is not a word"),
        ("सीता", "गए", "--query 'सीता' stands before --key 'गए': a decoder sees only backwards"),
        ("सीता", "गए", "swap them: --query 'गए' --key 'सीता'"),
        ("गए", "गए", "--query and --key are the same word 'गए'"),
    ],
)
def test_words_asked_for_are_named_without_doubt(query: str, key: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        find_words(CaseStudy(sentence=SENTENCE, query=query, key=key), asked=True)


def test_the_config_takes_the_first_word_and_the_later_query() -> None:
    case = CaseStudy(sentence=SENTENCE, query="राम", key="गए")
    _, query, key = find_words(case)
    assert (query, key) == (0, 3)
    _, query, key = find_words(CaseStudy(sentence=SENTENCE, query="सुत्यो", key="राम#2"), asked=True)
    assert (query, key) == (6, 5)


def test_a_letter_typed_as_two_code_points_is_the_same_letter() -> None:
    case = CaseStudy(sentence="a caf\u00e9 b", query="b", key="cafe\u0301")
    assert find_words(case, asked=True)[1:] == (2, 1)


@pytest.mark.parametrize("text", ["2.4", "L2.H4", "L2·H4", " 2:4 "])
def test_heads_are_named_by_layer_and_head(text: str) -> None:
    asked = casestudies.asked_case("a b", "b", "a", text)
    assert asked is not None and asked[1] == (2, 4)


def test_options_that_are_missing_or_wrong_are_said() -> None:
    assert casestudies.asked_case(None, None, None, None) is None
    with pytest.raises(UserError, match="--query, --key is missing"):
        casestudies.asked_case("a b", None, "", None)
    with pytest.raises(UserError, match="--sentence, --query, --key is missing"):
        casestudies.asked_case(None, None, None, "1.2")
    with pytest.raises(UserError, match=r"'2,4' is not LAYER\.HEAD"):
        casestudies.asked_case("a b", "b", "a", "2,4")


@pytest.fixture(scope="module")
def loaded(planted_root: Path) -> Any:
    model = load_base(settings(planted_root))
    load_adapter(model, planted_root / "run" / "train" / "words" / "adapter")
    return model


def test_maps_are_those_of_eager_attention(loaded: Any) -> None:
    case = CaseStudy(sentence="d n3 a d n5 b v3", query="v3", key="n3")
    found = study(loaded, case, asked=True)
    sentence, query, key = find_words(case)
    aligned = align(sentence, loaded.tokenizer, loaded.prefix_id)
    model = loaded.causal_lm
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = loaded.model(torch.from_numpy(aligned.ids)[None], output_attentions=True).attentions
    model.set_attn_implementation(before)
    expected = np.stack([one[0].numpy() for one in maps])[:, :, aligned.last[query], aligned.last[key]]
    assert np.allclose(found["adapted"]["attention"], expected, atol=1e-6)
    assert (found["head"]["layer"], found["head"]["head"], found["head"]["why"]) == (*SUBJECT, "changed")
    # one token for each word: nothing to average
    assert found["adapted"]["pieces"] == 1
    assert np.allclose(found["adapted"]["mean"], found["adapted"]["attention"], atol=1e-12)
    assert found["mean"]["holds"] and found["mean"]["change"] == pytest.approx(found["head"]["change"])


def test_the_mean_is_over_all_pieces_of_the_query(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # "b v3" read as one word of two pieces
    from anukul.probe import case as module
    from anukul.probe.treebank import Sentence, Word

    real = find_words

    def joined(case: CaseStudy, asked: bool = False) -> tuple[Sentence, int, int]:
        sentence, query, key = real(case, asked)
        last = Word("b v3", sentence.words[-2].start, sentence.words[-1].end, -1, "")
        return Sentence(0, "case study", case.sentence, (*sentence.words[:-2], last)), query - 1, key

    case = CaseStudy(sentence="d n3 a d n5 b v3", query="v3", key="n3")
    alone = {
        word: study(loaded, CaseStudy(sentence=case.sentence, query=word, key="n3"))["adapted"]["attention"]
        for word in ("b", "v3")
    }
    monkeypatch.setattr(module, "find_words", joined)
    found = study(loaded, case)
    assert found["adapted"]["pieces"] == found["base"]["pieces"] == 2
    mean = (np.array(alone["b"]) + np.array(alone["v3"])) / 2
    assert np.allclose(found["adapted"]["mean"], mean, atol=1e-6)
    assert np.allclose(found["adapted"]["attention"], alone["v3"], atol=1e-6)


def test_a_head_can_be_asked_for(loaded: Any) -> None:
    case = CaseStudy(sentence="d n3 a d n5 b v3", query="v3", key="n3")
    found = study(loaded, case, (0, 3), asked=True)
    assert found["head"] == {**found["head"], "layer": 0, "head": 3, "why": "asked"}
    assert found["base"]["map"][6][1] == found["base"]["attention"][0][3]
    with pytest.raises(UserError, match=r"--head 2\.0: this model has layers 0 to 1 of heads 0 to 3"):
        study(loaded, case, (2, 0), asked=True)


@pytest.fixture()
def trained(planted_root: Path, tmp_path: Path) -> tuple[RunConfig, Path]:
    """A run whose training is done and nothing else."""
    import shutil

    shutil.copytree(planted_root / "run" / "train", tmp_path / "train")
    folder = StepFolder(tmp_path, "train/words")
    folder.finish(StepKey({}, {}), ["adapter"], {}, 1.0)
    return config(planted_root), tmp_path


def test_a_case_stands_beside_the_probe_step(trained: tuple[RunConfig, Path]) -> None:
    run, root = trained
    case = CaseStudy(sentence="d n3 a d n5 b v3", query="v3", key="n3")
    path, first, second = casestudies.run_case(run, root, case, None).splitlines()
    assert Path(path).parent == root / "probe" / "cases"
    names = {file.name for file in Path(path).iterdir()}
    assert names == {"case.json", "arcs.png", "arcs.svg", "heads.png", "heads.svg"}
    assert first.startswith(
        f"v3 → n3: layer {SUBJECT[0]} head {SUBJECT[1]}, whose attention changed most: base "
    )
    assert "no choice in where it is read" in second
    # the step is as absent as it was, and would be made
    key = StepKey({"a": 1}, {})
    assert StepFolder(root, "probe").state(key) == "absent"
    StepFolder(root, "probe").start(key)
    assert StepFolder(root, "probe").state(key) == "partial"
    data = load_run(run, root)
    assert [found.sentence for found in data.cases] == [case.sentence] and data.old_cases == 0
    # the same question again takes the place of the first; another head stands beside it
    assert casestudies.run_case(run, root, case, None).startswith(path)
    casestudies.run_case(run, root, case, (0, 0))
    assert len(list((root / "probe" / "cases").iterdir())) == 2
    before = [unit.name for unit in pipeline.units(run, root)[:-1]]
    read = inputs.report_inputs(run, root, before)
    shown = {name: value for name, value in read.items() if name.startswith("probe/cases/")}
    assert len(shown) == 2 and hash_path(Path(path) / "case.json") in shown.values()


def test_a_case_needs_a_trained_adapter(planted_root: Path, tmp_path: Path) -> None:
    case = CaseStudy(sentence="d n3 a d n5 b v3", query="v3", key="n3")
    with pytest.raises(UserError, match=r"no trained adapter yet .* run `anukul train run.yaml` first"):
        casestudies.run_case(config(planted_root), tmp_path, case, None)
    assert not (tmp_path / "probe").exists()
    with pytest.raises(UserError, match="no `train` section"):
        casestudies.run_case(config(planted_root).model_copy(update={"train": None}), tmp_path, case, None)


def test_the_folder_is_named_after_the_words() -> None:
    case = CaseStudy(sentence=SENTENCE, query="सुत्यो", key="राम#1")
    name = casestudies.name_of(case, None)
    assert name.startswith("सुत्यो-राम-1-") and "/" not in name
    assert name != casestudies.name_of(case, (0, 1))
    assert casestudies.name_of(CaseStudy(sentence="../x /", query="/", key=".."), None).isalnum()


def test_the_file_says_what_was_left_open(loaded: Any) -> None:
    found = study(loaded, CaseStudy(sentence="d n3 a d n5 b v3", query="n5", key="d"))
    assert found["also"] == ["d stands 2 times in the sentence; the first is meant (d#2 is the second)."]
