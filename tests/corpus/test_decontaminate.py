"""What decides n, share and least words was measured on 788 of the 2,008 Nepali and English items of SIB-200.

Recall with one word changed, two words changed, one left out; false hits among 8,700 lines and articles in English and
Nepali (FLORES v1, TICO-19, FLORES-200, ekbana) on 44,000 texts of ARC-easy, PIQA, COPA, Winogrande, LAMBADA, HellaSwag
and treebanks:

    n  share  words   one    two    left out   false
    3  .6     8       .967   .919   .964       0        chosen
    3  .6     6       .992   .949   .990       4, such as `rise in the east and set in the west`
    3  .7     8       .967   .879   .964       0
    5  .6     8       .940   .760   .934       0
    8  .6     8       less than half of two words changed
"""

import csv
import json
import random
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anukul.config import (
    CorpusProbeSettings,
    CorpusSettings,
    EvaluateSettings,
    GenerationSettings,
    HeldOutText,
    KnockoutSettings,
    LabelSettings,
    LedgerProbes,
    LedgerSettings,
    ModelSettings,
    PairSettings,
    ProbeSettings,
    ProbeTask,
    RunConfig,
    Stage,
    TaskSettings,
    TextInput,
    TrainSettings,
    TranslationSettings,
)
from anukul.contamination import Contamination, EvalText, Hit, Tally, eval_texts
from anukul.contamination import index as index_module
from anukul.contamination.items import harness_rows
from anukul.corpus.readers import read_documents
from anukul.errors import UserError
from anukul.evaluate.knowledge.corpus_probe import make_probe
from anukul.evaluate.tasks.hub import load_written
from anukul.evaluate.tasks.lm_eval_files import write_tasks
from anukul.evaluate.translation import make_prompts
from anukul.items.exemplars import spaced
from anukul.items.load import load_task
from anukul.records import Document, write_rows
from anukul.text.keys import match_key

ITEM = "उनले सन् २०२४ मा काठमाडौंमा नयाँ विद्यालय स्थापना गर्‍यो र त्यहाँ पढाउन थाल्यो।"
OTHER = "The fission bomb works on the principle that it takes energy to put together a nucleus."
ITEMS = [EvalText("tasks.a", "1", ITEM), EvalText("tasks.b", "x", OTHER), EvalText("bits", "9", ITEM)]


def found(hits: Sequence[Hit]) -> list[tuple[str, str, str]]:
    return [(hit.set, hit.item, hit.how) for hit in hits]


@pytest.mark.parametrize(
    "text",
    [
        ITEM,
        ITEM.replace("।", " ।"),
        ITEM.replace("२०२४", "2024").replace("\u200d", ""),
        f"  «{ITEM.replace(' ', '  ')}»!",
    ],
)
def test_the_item_however_it_is_spelled(text: str) -> None:
    index = Contamination(ITEMS)
    assert found(index.check(text)) == [("tasks.a", "1", "exact"), ("bits", "9", "exact")]
    assert index.check(text)[0].detail.startswith("is tasks.a, item 1: उनले")
    assert found(Contamination(ITEMS).check(OTHER.upper())) == [("tasks.b", "x", "exact")]


def test_the_item_inside_a_text_and_with_a_word_changed() -> None:
    index = Contamination(ITEMS)
    rng = random.Random(0)
    around = " ".join(rng.choice(["घर", "खोला", "रूख", "किताब", "बाटो"]) for _ in range(500))
    words = OTHER.split()
    for place in range(len(words)):
        text = " ".join([*words[:place], "changed", *words[place + 1 :]])
        for held in (text, f"{around} {text}\n{around}"):
            (hit,) = index.check(held)
            assert (hit.set, hit.how) == ("tasks.b", "overlap")
            assert hit.share >= 0.75
    assert f"has {hit.share:.0%} of the words of tasks.b" in hit.detail


def test_the_words_of_an_item_far_from_each_other_are_no_hit() -> None:
    parts = [" ".join(OTHER.split()[start : start + 4]) for start in range(0, 16, 4)]
    filler = " ".join(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"] * 2)
    index = Contamination(ITEMS)
    assert index.check(f" {filler} ".join(parts)) == []
    assert found(index.check(" and ".join(parts))) == [("tasks.b", "x", "overlap")]


SHORT = "नेपालको राजधानी काठमाडौं सहर हो।"  # five words: too few to be told by their runs


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("नेपालको राजधानी काठमाडौं सहर हो", "exact"),
        (f"यो ठूलो देश हो। {SHORT} त्यहाँ धेरै मानिस छन्।", "sentence"),
        (f"यो ठूलो देश हो\n- {SHORT.removesuffix('।')}\nत्यहाँ धेरै मानिस छन्", "sentence"),
        (f"प्रश्न: कहाँ हो? उत्तर: {SHORT}", "sentence"),
        (f"सबैलाई थाहा छ, {SHORT}", None),
        (f"{SHORT.removesuffix('हो।')} हो र यो ठूलो छ।", None),
        ("नेपालको राजधानी। काठमाडौं सहर हो।", "exact"),  # the same words
        ("", None),
        ("।", None),
    ],
)
def test_short_items_are_found_as_sentences(text: str, how: str | None) -> None:
    index = Contamination([EvalText("s", "1", SHORT)])
    hits = index.check_all(["घर", text, SHORT])
    assert found(hits[0]) == [] and found(hits[2]) == [("s", "1", "exact")]
    assert found(hits[1]) == ([("s", "1", how)] if how else [])
    if how == "sentence":
        assert hits[1][0].detail.startswith("has a sentence that is s, item 1: नेपालको")


def test_a_heading_is_no_item() -> None:
    """Three or four words stand in a line of their own by chance; as a whole text they are the item."""
    items = ["in the morning", "he went to bed", "हो", "हो त"]
    index = Contamination([EvalText("s", str(number), text) for number, text in enumerate(items)])
    story = "It was late.\nIn the morning\nShe woke up. He went to bed. हो त।"
    assert index.check(story) == []
    assert [len(hits) for hits in index.check_all(items)] == [1, 1, 0, 0]


SENTENCES = st.lists(
    st.lists(st.sampled_from(["क", "ख", "ग"]), min_size=1, max_size=7).map(" ".join), min_size=1, max_size=4
)


@given(SENTENCES, SENTENCES, st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_sentences_are_those_of_the_definition(items: list[str], sentences: list[str], ngram: int) -> None:
    """Every run of whole sentences with as many words as an item has, compared with it."""
    index = Contamination([EvalText("s", text, text) for text in set(items)], ngram, 0.6, 8)
    text = "। ".join(sentences)
    spans = [
        " ".join(sentences[first:last])
        for first in range(len(sentences))
        for last in range(first + 1, len(sentences) + 1)
    ]
    expected = {item for item in items if item in spans and len(item.split()) >= 5}
    whole = {item for item in items if item == " ".join(sentences) and len(item.split()) >= 3}
    held = {hit.item: hit.how for hit in index.check(text)}
    assert {item for item, how in held.items() if how == "exact"} == whole
    assert {item for item, how in held.items() if how == "sentence"} == expected - whole


def test_the_form_of_many_items_is_not_their_content() -> None:
    form = "Question: Which of the following is the best example of a thing called"
    items = [EvalText("s", str(number), f"{form} w{number}a w{number}b w{number}c") for number in range(80)]
    index = Contamination(items)
    assert index.check(f"{form} nothing at all") == []
    assert found(index.check(items[3].text)) == [("s", "3", "exact")]
    assert found(index.check(f"A quiz.\n{items[3].text}\nAn answer.")) == [("s", "3", "sentence")]
    few = Contamination(items[:40])
    assert len(few.check(f"{form} nothing at all")) == 40


def test_nothing_to_look_for() -> None:
    index = Contamination([])
    assert index.check_all([ITEM, ""]) == [[], []]
    assert index.check_all([]) == []
    assert Contamination([EvalText("s", "1", "।")]).check(ITEM) == []


def brute_force(text: str, item: str, ngram: int, share: float, least: int) -> float:
    """The share of the item's words in common runs, in the best stretch: the definition, without an index."""
    words, wanted = match_key(text).split(), match_key(item).split()
    pairs = [
        (there, here)
        for there in range(len(words) - ngram + 1)
        for here in range(len(wanted) - ngram + 1)
        if words[there : there + ngram] == wanted[here : here + ngram]
    ]
    best = 0
    for start, _ in pairs:
        near = [here for there, here in pairs if 0 <= there - start <= len(wanted) + len(wanted) // 4]
        best = max(best, len({here + offset for here in near for offset in range(ngram)}))
    return best / len(wanted) if best and best >= max(share * len(wanted), least) - 1e-9 else 0.0


WORDS = st.lists(st.sampled_from(["क", "ख", "ग", "घ", "ङ"]), min_size=1, max_size=14).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=3, unique=True), st.lists(WORDS, max_size=3), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_the_index_finds_what_brute_force_finds(items: list[str], texts: list[str], ngram: int) -> None:
    index = Contamination([EvalText("s", text, text) for text in items], ngram, 0.6, 3)
    for text, hits in zip(texts, index.check_all(texts), strict=True):
        expected: dict[str, object] = {}
        for item in items:
            same = item == text and len(item.split()) >= 3
            share = 1.0 if same else brute_force(text, item, ngram, 0.6, 3)
            if share:
                expected[item] = ("exact" if same else "overlap", pytest.approx(share))
        found_here: dict[str, object] = {hit.item: (hit.how, hit.share) for hit in hits}
        assert found_here == expected
        assert index.check(text) == hits


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [ITEM, "घर", OTHER, f"क ख {ITEM} ग", "", ITEM.replace("नयाँ", "पुरानो")]
    whole = Contamination(ITEMS).check_all(texts)
    monkeypatch.setattr(index_module, "BATCH", 60)
    assert Contamination(ITEMS).check_all(texts) == whole
    assert [len(hits) for hits in whole] == [2, 0, 1, 2, 0, 2]


def test_tally() -> None:
    index = Contamination(ITEMS)
    texts = {"0:1": ITEM, "0:2": "घर", "0:3": ITEM.replace("नयाँ", "पुरानो"), "0:4": OTHER}
    parts = []
    for row, text in texts.items():
        tally = Tally()
        tally.add(row, "web", text, index.check(text))
        parts.append(json.loads(json.dumps(tally.as_json())))
    report = Tally.summed(parts).report(index)
    assert report["dropped"] == 3
    assert list(report["sets"]) == ["bits", "tasks.a", "tasks.b"]
    first = report["sets"]["tasks.a"]
    assert (first["items"], first["items_touched"], first["rows_dropped"], first["exact"]) == (1, 1, 2, 1)
    assert [(sample["row"], sample["how"]) for sample in first["samples"]] == [
        ("0:1", "exact"),
        ("0:3", "overlap"),
    ]
    assert first["samples"][0]["item_text"] == ITEM
    assert first["sides"] == {} and first["touched"] == [ITEMS[0].item]
    assert json.dumps(report)


def test_tally_says_which_side_holds_an_item() -> None:
    index = Contamination(ITEMS)
    tally = Tally()
    both = [("pairs.source", "x" * 400, ITEM), ("pairs.target", ITEM, ITEM)]
    tally.add_sides("0:1", "web", [(side, text, index.check(held)) for side, text, held in both])
    tally.add_sides(
        "0:2", "web", [("pairs.source", "घर", index.check("घर")), ("pairs.target", ITEM, index.check(ITEM))]
    )
    tally.add_sides("0:3", "web", [("pairs.source", "घर", []), ("pairs.target", "घर", [])])
    parts = [json.loads(json.dumps(tally.as_json()))] * 2
    report = Tally.summed(parts).report(index)
    found = report["sets"]["tasks.a"]
    assert report["dropped"] == 4 and found["rows_dropped"] == 4
    assert found["sides"] == {"pairs.source": 2, "pairs.target": 4}
    assert found["samples"][1]["side"] == "pairs.target" and found["samples"][1]["text"] == ITEM


def rows(path: Path, *held: object) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in held), encoding="utf-8")
    return str(path)


def whole_config(folder: Path) -> RunConfig:
    """A config that evaluates in every way there is; each text says where it stands."""
    lines = folder / "lines.txt"
    lines.write_text("".join(f"line {number}\n" for number in range(1, 9)), encoding="utf-8")
    table = folder / "table.tsv"
    table.write_text("category\ttext\nsports\tlabelled text\nhealth\tanother text\n", encoding="utf-8")
    choices = rows(
        folder / "choices.jsonl",
        {"query": "asked?", "choices": ["right", "wrong"], "gold": 0},
        {"query": "beyond limit?", "choices": ["a", "b"], "gold": 1},
    )
    facts = rows(
        folder / "facts.jsonl",
        {"id": "f1", "statement": {"npi_Deva": "taught"}, "stated_in": ["npi_Deva"], "distractors": []},
        {"id": "f2", "statement": {"npi_Deva": "nowhere", "eng_Latn": "never"}, "stated_in": []},
        {"id": "f3", "statement": {"npi_Deva": "unsaid"}},
    )
    pairs = rows(folder / "pairs.jsonl", {"good": "good one", "bad": "bad one", "phenomenon": "p"})
    prompts = rows(folder / "prompts.jsonl", {"id": "g", "prompt": "begin", "topic": "t", "length": "short"})
    trees = folder / "trees.conllu"
    trees.write_text(
        "# sent_id = s1\n# text = first tree\n1\tfirst\t_\n2\ttree\t_\n\n1-2\tdu\t_\n1\tde\t_\n2\tle\t_\n",
        encoding="utf-8",
    )

    def held_out(name: str, skip: int, limit: int | None = 1) -> HeldOutText:
        return HeldOutText(name=name, path=str(lines), language="npi_Deva", skip=skip, limit=limit)

    return RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path="unused"),
        train=TrainSettings(
            stages=(Stage(name="one", format="text"),),
            ledger=LedgerSettings(
                probes=LedgerProbes(
                    bits_per_byte=(held_out("watch", 5),),
                    tasks=(ProbeTask(name="quiz", path=choices, language="eng_Latn", limit=1),),
                )
            ),
        ),
        evaluate=EvaluateSettings(
            tasks=(
                TaskSettings(name="c", path=choices, language="eng_Latn", limit=1),
                TaskSettings(
                    name="l",
                    path=str(table),
                    language="npi_Deva",
                    labels=LabelSettings(label="category", question="?"),
                ),
            ),
            bits_per_byte=(held_out("held", 6, None),),
            translation=TranslationSettings(
                source=str(lines), target=str(lines), skip=1, limit=2, shots=(0, 2)
            ),
            corpus_probe=CorpusProbeSettings(text=str(lines), skip=7),
            generation=GenerationSettings(prompts=prompts),
            knowledge=facts,
            agreement=pairs,
        ),
        probe=ProbeSettings(
            treebank=str(trees),
            language="npi_Deva",
            pairs=(PairSettings(name="mine", path=pairs),),
            knockout=KnockoutSettings(held_out=held_out("silence", 0)),
        ),
    )


def test_every_set_of_the_config_is_read(tmp_path: Path) -> None:
    sets: dict[str, list[str]] = {}
    for item in eval_texts(whole_config(tmp_path)):
        sets.setdefault(item.set, []).append(item.text)
    quiz = ["asked?", "right", "wrong", "asked? right", "beyond limit?", "a", "b", "beyond limit? b"]
    assert sets["tasks.c"] == sets["train.ledger.quiz"] == quiz
    assert sets["tasks.l"] == ["labelled text", "another text"]
    del sets["tasks.c"], sets["tasks.l"], sets["train.ledger.quiz"]
    for side in ("source", "target"):  # two lines are asked, and two of those after them are exemplars
        asked = sets.pop(f"translation.{side}")
        assert asked[:2] == ["line 2", "line 3"] and len(set(asked)) == 4
        assert set(asked[2:]) < {f"line {number}" for number in range(4, 9)}
    assert sets == {
        "bits_per_byte.held": ["line 7", "line 8"],
        "corpus_probe.text": ["line 8"],
        "generation": ["begin"],
        "knowledge": ["nowhere", "never", "unsaid"],
        "agreement": ["good one", "bad one"],
        "train.ledger.watch": ["line 6"],
        "probe.treebank": ["first tree", "de le"],
        "probe.pairs.mine": ["good one", "bad one"],
        "probe.knockout.silence": ["line 1"],
    }
    bare = RunConfig(name="t", language="npi_Deva", model=ModelSettings(path="unused"))
    assert list(eval_texts(bare)) == []


def test_the_lines_that_are_translated_are_those_of_evaluate(tmp_path: Path) -> None:
    """Lines are counted in the files, and a pair with an empty side is none; exemplars are among the items."""
    english = ["one", "", "three", "four", "five", "", "seven", "eight", "nine"]
    nepali = ["एक", "दुई", "तीन", "", "पाँच", "", "सात", "आठ", "नौ"]
    for name, lines in (("en", english), ("ne", nepali)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = TranslationSettings(
        source=str(tmp_path / "en"), target=str(tmp_path / "ne"), skip=2, limit=2, shots=(1,)
    )
    config = RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path="unused"),
        evaluate=EvaluateSettings(translation=asked),
    )
    prompts = make_prompts(config, asked)
    held: dict[str, list[str]] = {}
    for item in eval_texts(config):
        held.setdefault(item.set, []).append(item.text)
    assert (
        {prompt.line.base for prompt in prompts} == {"three", "five"} == set(held["translation.source"][:2])
    )
    assert held["translation.target"][:2] == ["तीन", "पाँच"]
    (shown,) = {prompt.text.split("\n\n")[0] for prompt in prompts if prompt.direction == "to_target"}
    assert shown == f"English: {held['translation.source'][2]}\nNepali: {held['translation.target'][2]}"


def test_the_held_out_text_of_the_corpus_probe_is_that_of_evaluate(tmp_path: Path) -> None:
    """Blank lines are not counted, neither there nor where the lines before are the corpus."""
    path = tmp_path / "lines.txt"
    path.write_text("one\n\ntwo\n\nthree\n", encoding="utf-8")
    asked = CorpusProbeSettings(text=str(path), skip=1)
    config = RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path="unused"),
        corpus=CorpusSettings(inputs=(TextInput(path=str(path), limit=1),)),
        evaluate=EvaluateSettings(corpus_probe=asked),
    )
    assert [item.text for item in eval_texts(config)] == ["two", "three"]
    assert [row.text for row in read_documents(config.corpus.inputs[0])] == ["one"]  # type: ignore[union-attr]  # it has one
    (tmp_path / "run" / "corpus").mkdir(parents=True)
    write_rows(tmp_path / "run" / "corpus" / "documents.parquet", [], Document)
    with pytest.raises(UserError, match="no question can be made of it") as caught:
        make_probe(config, asked, tmp_path / "run")
    assert "no_mention 2" in str(caught.value)


def test_exemplars_of_tasks_of_lm_eval_are_items(tmp_path: Path) -> None:
    scored = [{"query": f"asked {n}", "choices": ["a", "b"], "gold": 0} for n in range(2)]
    others = [
        {"query": f"shown {n}", "choices": ["a", "b"], "gold": 0, "split": "exemplar"} for n in range(3)
    ]
    path = rows(tmp_path / "t.jsonl", *scored, *others)
    settings = TaskSettings(name="t", path=path, language="eng_Latn")
    write_tasks([load_task(settings)], tmp_path / "out")
    tasks: dict[str, Any] = load_written(settings, "anukul_t", tmp_path / "out").tasks

    def ids(asked: object) -> list[str]:
        return [number.partition(":")[2] for number, _ in harness_rows(tasks, asked)]

    assert ids(0) == ids(["lm-eval", 0]) == ids(["lm-eval", None]) == ["0", "1"]
    assert ids(4) == ids(["lm-eval", 1]) == ["0", "1", "exemplar:0", "exemplar:1", "exemplar:2"]
    texts = dict(harness_rows(tasks, 1))
    assert "shown 2" in texts["anukul_t:exemplar:2"]
    alone = TaskSettings(name="u", path=rows(tmp_path / "u.jsonl", *scored), language="eng_Latn")
    write_tasks([load_task(alone)], tmp_path / "more")  # exemplars are drawn from the rows that are scored
    tasks = load_written(alone, "anukul_u", tmp_path / "more").tasks
    assert ids(2) == ["0", "1"]
    assert list(spaced(5)) == [0, 1, 2, 3, 4]
    assert (len(spaced(1999)), len(spaced(2000)), spaced(40_000)[1]) == (1999, 1000, 40)


def test_a_task_that_cannot_be_read_is_refused() -> None:
    task = TaskSettings(name="x", harness="no_such_task_anywhere", language="npi_Deva")
    config = RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path="unused"),
        evaluate=EvaluateSettings(tasks=(task,)),
    )
    with pytest.raises(UserError, match=r"task 'x': its data is needed .* cannot be loaded"):
        list(eval_texts(config))


def sib(real_data: Path) -> Iterator[EvalText]:
    for code in ("npi_Deva", "eng_Latn"):
        for split in ("train", "dev", "test"):
            lines = (real_data / f"bench/sib200/{code}/{split}.tsv").read_text(encoding="utf-8").splitlines()
            for line in lines[1:]:
                number, _, text = line.split("\t")
                yield EvalText(f"sib.{code}", number, text, code)


@pytest.mark.real
def test_every_line_of_flores_that_is_in_sib_is_found(real_data: Path) -> None:
    """All that a comparison of every pair of lines finds: equal after normalisation, and nearly equal by difflib."""
    items = list(sib(real_data))
    index = Contamination(items)
    exact_count = near_count = clean = 0
    for code in ("npi_Deva", "eng_Latn"):
        lines = (real_data / f"parallel/flores200/{code}.devtest").read_text(encoding="utf-8").splitlines()
        own = [(item.item, match_key(item.text).split()) for item in items if item.language == code]
        for line, hits in zip(lines, index.check_all(lines), strict=True):
            key = match_key(line).split()
            touched = {hit.item: hit.how for hit in hits if hit.set == f"sib.{code}"}
            expected = {number for number, words in own if words == key}
            assert expected == {number for number, how in touched.items() if how == "exact"}
            bag = set(key)
            near = {
                number
                for number, words in own
                if len(words) >= 12
                and len(bag.intersection(words)) >= 0.7 * len(words)
                and SequenceMatcher(None, key, words, autojunk=False).ratio() >= 0.9
            }
            assert near <= set(touched)
            exact_count += len(expected)
            near_count += len(near - expected)
            clean += not touched
            # and nothing is found that shares few words
            for number in set(touched) - expected:
                words = next(words for other, words in own if other == number)
                assert len(bag.intersection(words)) >= 0.5 * len(set(words))
    print(f"{exact_count} exact, {near_count} near, {clean} of 2,024 lines clean")
    assert exact_count >= 400
    assert clean >= 1000


@pytest.mark.real
@pytest.mark.parametrize(("edits", "least"), [(1, 0.94), (2, 0.88)])
def test_items_with_words_changed_are_found(real_data: Path, edits: int, least: float) -> None:
    items = list(sib(real_data))
    rng = random.Random(0)
    vocabulary = {code: sorted({w for i in items if i.language == code for w in i.text.split()}) for code in
                  ("npi_Deva", "eng_Latn")}  # fmt: skip
    texts = []
    for item in items:
        words = item.text.split()
        for place in rng.sample(range(len(words)), edits):
            words[place] = rng.choice(vocabulary[item.language])
        texts.append(" ".join(words))
    hits = Contamination(items).check_all(texts)
    recall = sum(
        any((hit.set, hit.item) == (item.set, item.item) for hit in held)
        for item, held in zip(items, hits, strict=True)
    )
    assert recall / len(items) >= least


@pytest.mark.real
def test_other_texts_are_clean(real_data: Path) -> None:
    """FLORES v1, TICO-19 and ekbana share sources and topics with FLORES-200 and SIB-200, but no sentence."""
    items = list(sib(real_data))
    for code in ("npi_Deva", "eng_Latn"):
        lines = (real_data / f"parallel/flores200/{code}.devtest").read_text(encoding="utf-8").splitlines()
        items += [EvalText(f"flores.{code}", str(number), line, code) for number, line in enumerate(lines)]
    texts = []
    for name in ("floresv1/wikipedia.dev.ne-en.ne", "floresv1/wikipedia.dev.ne-en.en", "tico19/tico19-test.nep",
                 "tico19/tico19-test.eng"):  # fmt: skip
        texts += (real_data / "parallel" / name).read_text(encoding="utf-8").splitlines()
    for path in sorted((real_data / "mono/ekbana").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    assert len(texts) > 9000
    hits = [hit for held in Contamination(items).check_all(texts) for hit in held]
    assert [hit.detail for hit in hits] == []


def short_items(real_data: Path) -> list[EvalText]:
    """Lines of SIB-200, TICO-19 and three sets of questions and choices that have fewer than eight words."""
    items = list(sib(real_data))
    for code in ("eng", "nep"):
        lines = (real_data / f"parallel/tico19/tico19-test.{code}").read_text(encoding="utf-8").splitlines()
        items += [EvalText(f"tico.{code}", str(number), line) for number, line in enumerate(lines)]
    for name in ("arc_easy", "copa", "piqa"):
        path = real_data / f"bench/llm-foundry/{name}.jsonl"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            row = json.loads(line)
            items += [EvalText(name, str(number), text) for text in (row["query"], *row["choices"])]
    return [item for item in items if len(match_key(item.text).split()) < 8]


@pytest.mark.real
def test_short_items_in_real_texts(real_data: Path) -> None:
    """Of SIB-200 all that stand in FLORES-200 put together to documents; in news and other lines none of any set."""
    items = short_items(real_data)
    assert len(items) > 5000
    index = Contamination(items)
    flores = []
    for code in ("npi_Deva", "eng_Latn"):
        lines = (real_data / f"parallel/flores200/{code}.devtest").read_text(encoding="utf-8").splitlines()
        flores += ["\n".join(lines[first : first + 11]) for first in range(0, len(lines), 11)]
    touched = [hit for hits in index.check_all(flores) for hit in hits]
    everything = {match_key(line) for text in flores for line in text.split("\n")}
    expected = {(item.set, item.item) for item in items if match_key(item.text) in everything}
    assert {(hit.set, hit.item) for hit in touched} == expected
    assert len(expected) == 11 and {hit.how for hit in touched} == {"sentence"}
    texts = []
    for name in ("floresv1/wikipedia.dev.ne-en.ne", "floresv1/wikipedia.dev.ne-en.en"):
        texts += (real_data / "parallel" / name).read_text(encoding="utf-8").splitlines()
    for path in sorted((real_data / "mono/ekbana").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    tokens = (real_data / "mono/nepner/cleaned_total.txt").read_text(encoding="utf-8").splitlines()
    texts.append(" ".join(line.split()[0] if line.strip() else "\n" for line in tokens))
    assert [hit.detail for hits in index.check_all(texts) for hit in hits] == []


@pytest.mark.real
def test_the_last_lines_of_flores_v1_are_no_held_out_text(real_data: Path) -> None:
    """Its dev set has many sentences twice, once for each direction: all 200 last English lines stand before too."""
    lines = (real_data / "parallel/floresv1/wikipedia.dev.ne-en.en").read_text(encoding="utf-8").splitlines()
    index = Contamination(EvalText("held-out", str(number), line) for number, line in enumerate(lines[2359:]))
    touched = {hit.item for hits in index.check_all(lines[:2359]) for hit in hits if hit.how == "exact"}
    assert len(touched) == 200
