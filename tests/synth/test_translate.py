import json
import sys
from pathlib import Path
from typing import Any

import pytest

from anukul.config import TranslateSettings
from anukul.errors import UserError
from anukul.languages import load
from anukul.synth.translate import CTranslate2Translator, describe, make_translator, name_of, nobody
from anukul.synth.translate.base import Translation, by_length, cut_line, surviving, translate_texts
from anukul.synth.translate.families import Folder, layout_of, read_folder
from anukul.synth.translate.indic import after_indictrans, before_indictrans

NEPALI = load("npi_Deva")
ENGLISH = load("eng_Latn")
TEXTS = [
    "रामले भात खायो।",
    "सीता विद्यालय गइन्।",
    "किताब पढिन्।",
    "किसानले मकै रोप्यो।",
    "केटाकेटीहरू खोलामा खेल्छन्।",
    "म घर जान्छु।",
]


def make(
    model: Path, max_output_tokens: int = 40, target_prefix: tuple[str, ...] = (), **more: Any
) -> CTranslate2Translator:
    plain: dict[str, Any] = {"source_prefix": ("npi_Deva",), "target_prefix": target_prefix}
    plain = {} if "family" in more else {key: value for key, value in plain.items() if key not in more}
    settings = TranslateSettings(
        model=str(model), max_output_tokens=max_output_tokens, batch_tokens=64, **plain, **more
    )
    return CTranslate2Translator(settings, NEPALI, ENGLISH, "model", 0, nobody)


def test_what_ends_is_known_from_what_is_cut(
    ending_model: Path, cutting_model: Path, endless_model: Path
) -> None:
    assert all(item.ended and item.text for item in make(ending_model).translate(TEXTS))
    assert {item.ended for item in make(cutting_model).translate(TEXTS)} == {True, False}
    cut = make(endless_model).translate(TEXTS)
    assert not any(item.ended for item in cut)
    assert {item.tokens for item in cut} == {40}


def test_the_order_is_kept_and_batches_change_nothing(cutting_model: Path) -> None:
    translator = make(cutting_model)
    together = translator.translate(TEXTS)
    assert together == [translator.translate([text])[0] for text in TEXTS]
    assert len({item.text for item in together}) > 2


def test_the_target_prefix_is_not_part_of_the_text(cutting_model: Path) -> None:
    made = make(cutting_model, target_prefix=("eng_Latn",)).translate(TEXTS)
    assert any(item.ended and item.text for item in made)
    assert not any("eng_Latn" in item.text for item in made)


def test_lines_stay_lines(ending_model: Path) -> None:
    translator = make(ending_model)
    first, second = translator.translate(TEXTS[:2])
    both = translator.translate([f"{TEXTS[0]}\n{TEXTS[1]}"])[0]
    assert both.text == f"{first.text}\n{second.text}"
    assert both.tokens == first.tokens + second.tokens


def test_a_long_text_is_cut_at_its_sentences(ending_model: Path) -> None:
    translator = make(ending_model, max_output_tokens=40)
    pieces = cut_line(" ".join(TEXTS), NEPALI, translator._size, 20)
    assert len(pieces) > 1
    assert all(size <= 20 or piece.count("।") == 1 for piece, size in pieces)
    decoded = [piece for piece, _ in pieces]
    assert " ".join(decoded) == " ".join(TEXTS)
    assert all(piece.endswith("।") for piece in decoded)
    alone = translator.translate(decoded)
    whole = translator.translate([" ".join(TEXTS)])[0]
    assert whole.text == " ".join(item.text for item in alone)
    assert whole.ended == all(item.ended for item in alone)


def test_a_sentence_beyond_the_limit_is_not_sent_and_not_ended(ending_model: Path) -> None:
    long = "केटाकेटीहरू खोलामा " * 40 + "खेल्छन्।"
    first, second = make(ending_model).translate([f"{TEXTS[0]} {long}", TEXTS[0]])
    assert not first.ended and first.rule == "sentence_too_long"
    assert second.ended
    assert first.text == second.text


def test_no_text_is_no_translation(ending_model: Path) -> None:
    (item,) = make(ending_model).translate([""])
    assert (item.text, item.ended, item.tokens) == ("", True, 0)
    assert make(ending_model).translate([]) == []


def test_what_is_missing_is_named(
    ending_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no CTranslate2 model"):
        make(tmp_path)
    (tmp_path / "model.bin").write_bytes((ending_model / "model.bin").read_bytes())
    with pytest.raises(UserError, match="no sentencepiece model"):
        make(tmp_path)
    (tmp_path / "own.model").write_bytes((ending_model / "sentencepiece.bpe.model").read_bytes())
    for name in ("config.json", "shared_vocabulary.json"):
        (tmp_path / name).write_bytes((ending_model / name).read_bytes())
    assert make(tmp_path).translate(TEXTS) == make(ending_model).translate(TEXTS)
    (tmp_path / "model.bin").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot load it"):
        make(tmp_path)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UserError, match=r"ctranslate2: pip install anukul\[mt\]"):
        make(ending_model)


def test_the_engine_cuts_no_input(cutting_model: Path) -> None:
    endings = [TEXTS[0], TEXTS[4], "उनले किताब पढिन्।", TEXTS[5], "मकै।"]
    translations = make(cutting_model, max_output_tokens=120).translate(
        [f"घर घर घर {text}" for text in endings]
    )
    assert len({item.text for item in translations}) == len(endings)


def test_list_marks_and_blank_lines_stay(ending_model: Path) -> None:
    translator = make(ending_model)
    plain = [translator.translate([text])[0].text for text in TEXTS[:3]]
    text = f"{TEXTS[0]}\n\n- {TEXTS[1]}\n  १२. {TEXTS[2]}\n•"
    made = translator.translate([text])[0]
    assert made.text == f"{plain[0]}\n\n- {plain[1]}\n  12. {plain[2]}\n•"
    assert made.ended


def upper(pieces: list[str]) -> list[Translation]:
    return [Translation(piece.upper(), True, len(piece)) for piece in pieces]


def test_structure_is_kept_by_what_is_shared() -> None:
    text = "One is here. Two is there.\n\n  - three\n4) four five\n2024 was a year"
    (made,) = translate_texts([text], ENGLISH, NEPALI, len, 30, upper)
    assert made.text == "ONE IS HERE. TWO IS THERE.\n\n  - THREE\n४) FOUR FIVE\n2024 WAS A YEAR"
    asked: list[str] = []
    translate_texts([text], ENGLISH, NEPALI, len, 30, lambda pieces: asked.extend(pieces) or upper(pieces))
    assert asked[:2] == ["One is here.", "Two is there."]


def test_what_comes_back_empty_is_no_translation() -> None:
    def silent(pieces: list[str]) -> list[Translation]:
        return [Translation("" if "two" in piece else piece, True, 1) for piece in pieces]

    texts = ["One is here.\nNumber two is not.", "one", "two", "… —"]
    made = translate_texts(texts, ENGLISH, NEPALI, len, 100, silent)
    assert [one.ended for one in made] == [False, True, False, True]
    assert {one.rule for one in made if not one.ended} == {"empty_translation"}
    assert made[0].text == "One is here.\n" and "'Number two is not.'" in made[0].detail
    (mark,) = translate_texts(
        ["… —"], ENGLISH, NEPALI, len, 100, lambda p: [Translation("", True, 1)] * len(p)
    )
    assert mark.ended  # where nothing is said, nothing is lost
    (number,) = translate_texts(["२०७५"], ENGLISH, NEPALI, len, 100, lambda p: [Translation("", True, 1)])
    assert number.rule == "empty_translation"


def test_batches_are_of_like_length_and_within_the_budget() -> None:
    lengths = [5, 1, 9, 9, 2, 30, 5]
    batches = by_length(lengths, 20)
    assert sorted(place for batch in batches for place in batch) == list(range(7))
    assert batches[0] == [5]  # larger than the budget, so alone
    assert all(max(lengths[i] for i in batch) * len(batch) <= 20 for batch in batches[1:])
    assert [lengths[batch[0]] for batch in batches] == sorted((lengths[b[0]] for b in batches), reverse=True)


def test_one_bad_text_does_not_lose_the_others() -> None:
    def work(pieces: list[str]) -> list[Translation]:
        if "bad" in pieces:
            raise RuntimeError("cannot\n be done")
        return upper(pieces)

    made = surviving(["a", "b", "bad", "c", "d"], work)
    assert [one.text for one in made] == ["A", "B", "", "C", "D"]
    assert (made[2].rule, made[2].detail, made[2].ended) == ("translation_failed", "cannot be done", False)
    with pytest.raises(KeyError):
        surviving(["a"], lambda _: {}["x"])  # type: ignore[index]


def test_a_text_that_the_engine_cannot_take_is_named(ending_model: Path) -> None:
    """The model knows 256 positions: a longer sentence is refused by the engine, and the others are not lost."""
    long = "घर " * 290 + "।"
    made = make(ending_model, max_output_tokens=1000).translate([TEXTS[0], long, TEXTS[1]])
    assert [one.rule for one in made] == ["", "translation_failed", ""]
    assert "position" in made[1].detail
    assert made[0] == make(ending_model, max_output_tokens=1000).translate([TEXTS[0]])[0]


def test_copies_and_beams(cutting_model: Path) -> None:
    alone = make(cutting_model).translate(TEXTS)
    assert make(cutting_model, threads=2).translate(TEXTS) == alone
    wide = make(cutting_model, beam_size=3)
    assert [one.text for one in wide.translate(TEXTS)] == [one.text for one in wide.translate(TEXTS)]
    with pytest.raises(UserError, match="CTranslate2 sees 0 GPUs"):
        make(cutting_model, devices=(0, 1))


def test_sampling_is_seeded(cutting_model: Path) -> None:
    def draw(seed: int, texts: list[str]) -> list[str]:
        settings = TranslateSettings(
            model=str(cutting_model), sampling={"temperature": 2.0}, max_output_tokens=20
        )
        translator = make_translator(settings, NEPALI, ENGLISH, seed)
        translator.translate(["म घर जान्छु।"])  # what was drawn before changes nothing
        return [one.text for one in translator.translate(texts)]

    assert draw(1, TEXTS) == draw(1, TEXTS)
    assert draw(1, TEXTS) != draw(2, TEXTS)
    with pytest.raises(ValueError, match="leave beam_size at 1"):
        TranslateSettings(model="m", sampling={}, beam_size=2)


def test_progress_is_told_in_tokens(cutting_model: Path) -> None:
    heard: list[tuple[int, int]] = []
    settings = TranslateSettings(model=str(cutting_model), max_output_tokens=40, batch_tokens=16)
    translator = make_translator(settings, NEPALI, ENGLISH, 0, lambda tokens, n: heard.append((tokens, n)))
    made = translator.translate(TEXTS)
    assert len(heard) > 1
    assert sum(tokens for tokens, _ in heard) == sum(one.tokens for one in made)
    assert sum(n for _, n in heard) == len(TEXTS)


def with_vocabulary(model: Path, folder: Path, *tokens: str, **config: Any) -> Path:
    """The same model with its last two tokens, npi_Deva and eng_Latn, called otherwise, and its config changed."""
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    vocabulary = json.loads((folder / "shared_vocabulary.json").read_text())
    if tokens:
        vocabulary[-2:] = tokens
    (folder / "shared_vocabulary.json").write_text(json.dumps(vocabulary))
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, **config}))
    return folder


def test_nllb_has_the_languages_from_the_run(ending_model: Path, tmp_path: Path) -> None:
    made = make(ending_model, family="nllb")
    layout = made.layout
    assert (layout.source_prefix, layout.source_suffix) == (("npi_Deva",), ("</s>",))
    assert layout.target_prefix == ("eng_Latn",)
    assert made.translate(TEXTS) == make(ending_model, target_prefix=("eng_Latn",)).translate(TEXTS)
    other = with_vocabulary(ending_model, tmp_path / "other", ">>eng<<", ">>hin<<")
    with pytest.raises(UserError, match="no language token npi_Deva"):
        make(other, family="nllb")
    with pytest.raises(ValueError, match="leave prefixes out"):
        TranslateSettings(model="m", family="nllb", source_prefix=("npi_Deva",))


def test_opus_has_two_vocabularies_and_a_tag_where_it_needs_one(ending_model: Path, tmp_path: Path) -> None:
    tagged = with_vocabulary(ending_model, tmp_path / "tagged", ">>eng<<", ">>hin<<")
    pieces = (tagged / "sentencepiece.bpe.model").rename(tagged / "source.spm")
    (tagged / "target.spm").write_bytes(pieces.read_bytes())
    made = make(tagged, family="opus")
    assert made.layout.source_prefix == (">>eng<<",)
    assert all(one.ended and one.text for one in made.translate(TEXTS))
    assert make(ending_model, family="opus").layout.source_prefix == ()
    wrong = with_vocabulary(ending_model, tmp_path / "wrong", ">>deu<<", ">>hin<<")
    with pytest.raises(UserError, match=r"translates into >>deu<< >>hin<<, and none of them is eng_Latn"):
        make(wrong, family="opus")
    settings = TranslateSettings(model=str(tagged), family="opus")
    folder = Folder(tagged, frozenset({">>nep<<", ">>hin<<"}), False, "</s>")
    assert layout_of(settings, folder, ENGLISH, NEPALI).source_prefix == (">>nep<<",)


def test_an_end_that_the_engine_adds_is_not_added_twice(ending_model: Path, tmp_path: Path) -> None:
    adding = with_vocabulary(ending_model, tmp_path / "adding", add_source_eos=True)
    assert read_folder(adding).adds_end
    for family in ("plain", "nllb", "opus"):
        made = make(adding, family=family)
        assert made.layout.source_suffix == ()
        assert [one.text for one in made.translate(TEXTS)] == [
            one.text for one in make(ending_model, family=family).translate(TEXTS)
        ]


def test_indictrans_has_both_languages_and_one_script(ending_model: Path, tmp_path: Path) -> None:
    folder = with_vocabulary(ending_model, tmp_path / "indic")
    (folder / "vocab").mkdir()
    pieces = (folder / "sentencepiece.bpe.model").rename(folder / "vocab" / "model.SRC")
    (folder / "vocab" / "model.TGT").write_bytes(pieces.read_bytes())
    made = make(folder, family="indictrans2")
    assert made.layout.source_prefix == ("npi_Deva", "eng_Latn")
    assert made.layout.target_prefix == ()
    assert all(one.ended and one.text for one in made.translate(TEXTS))
    assert before_indictrans("रामले २०,००० रुपैयाँ दियो।", NEPALI) == "रामले 20,000 रुपैयाँ दियो ।"
    assert before_indictrans("“होइन”, १०.५!", NEPALI) == '" होइन " , 10.5 !'
    bengali = NEPALI.model_copy(update={"script": "Bengali"})
    assert before_indictrans("আমি ভাত খাই।", bengali) == "आमि भात खाइ ।"
    assert after_indictrans("आमि भात खाइ ।", bengali) == "আমি ভাত খাই।"
    assert before_indictrans("Dr. Ram's well-known (e.g. 3:30) text.", ENGLISH) == (
        "Dr. Ram 's well-known ( e.g. 3:30 ) text ."
    )
    assert after_indictrans('He said : " I don \'t know " ( or so ) .', ENGLISH) == (
        'He said: "I don \'t know" (or so).'.replace("don 't", "don't")
    )


def test_indictrans_scores_a_text_in_the_form_that_it_writes(ending_model: Path) -> None:
    made = make(ending_model, family="indictrans2")
    spaced = make(ending_model, source_prefix=("npi_Deva", "eng_Latn"))
    assert made.score(["म घर जान्छु।"], ["I go home, now."]) == spaced.score(
        ["म घर जान्छु ।"], ["I go home , now ."]
    )


def test_indictrans_keeps_list_marks_and_abbreviations(ending_model: Path) -> None:
    made = make(ending_model, family="indictrans2", max_output_tokens=40)
    plain = [made.translate([text])[0].text for text in TEXTS[:3]]
    text = f"{TEXTS[0]}\n१. {TEXTS[1]}\n  (२) {TEXTS[2]}"
    assert made.translate([text])[0].text == f"{plain[0]}\n1. {plain[1]}\n  (2) {plain[2]}"
    long = "डा. राम घर जान्छन्। " * 6
    pieces = cut_line(long.strip(), NEPALI, made._size, 30)
    assert len(pieces) > 1 and all(piece.endswith("जान्छन्।") for piece, _ in pieces)
    # a piece goes to the model in its own form, wherever it was cut
    heard: list[list[str]] = []
    inner = made._call
    made._call = lambda rows: heard.extend(rows) or inner(rows)  # type: ignore[method-assign,func-returns-value]
    made.translate([f"१. {long}"])
    spaced = made.source_pieces.encode("डा . राम घर जान्छन् ।", out_type=str)
    assert heard and all(row[2 : 2 + len(spaced)] == spaced for row in heard)


def test_the_name_holds_the_hash_of_the_model(
    ending_model: Path, cutting_model: Path, tmp_path: Path
) -> None:
    settings = TranslateSettings(model=str(ending_model), family="nllb")
    told = describe(settings, 3)
    assert told["id"] == name_of(settings) == f"ending@{told['fingerprint'][:8]}"
    assert told["family"] == "nllb" and told["beam_size"] == 1 and "seed" not in told
    assert name_of(TranslateSettings(model=str(cutting_model))).startswith("cutting@")
    sampled = TranslateSettings(model=str(ending_model), sampling={"temperature": 0.7})
    assert describe(sampled, 3)["seed"] == 3
    with pytest.raises(UserError, match="no such folder"):
        name_of(TranslateSettings(model=str(tmp_path / "none")))


def test_forced_scores_are_those_of_the_model(ending_model: Path) -> None:
    translator = make(ending_model)
    made = translator.translate(TEXTS)
    scores = translator.score(TEXTS, [one.text for one in made])
    assert all(score is not None and score <= 0 for score in scores)
    worse = translator.score(TEXTS, ["maize maize river"] * len(TEXTS))
    assert sum(x or 0 for x in scores) > sum(x or 0 for x in worse)
    assert translator.score([TEXTS[0]], [made[0].text]) == pytest.approx(scores[:1], abs=1e-3)
    assert translator.score([TEXTS[0], TEXTS[1]], ["maize", "river " * 300])[1] is None


@pytest.mark.parametrize("engine", ["transformers", "endpoint"])
def test_settings_that_do_not_fit_the_engine(engine: str) -> None:
    with pytest.raises(ValueError, match="prefixes" if engine == "transformers" else "go together"):
        TranslateSettings(engine=engine, model="m", source_prefix=("x",))
