"""docs/data.md says what the code says: settings, rules, examples that load, and its road for Maithili, walked."""

import json
import re
from itertools import product
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from anukul import cli, licenses
from anukul.config import CorpusSettings, RunConfig, Section, SynthSettings
from anukul.errors import UserError
from anukul.records import Document, read_rows
from test_docs import options

NEIGHBORS = [
    "यह किताब बहुत अच्छी है और मैं इसे रोज़ पढ़ता हूँ।",
    "सरकार ने कहा है कि वे लोग कल दिल्ली गए थे।",
    "उन्होंने हमें बताया कि यहाँ पानी नहीं मिलता है।",
    "यो किताब धेरै राम्रो छ र म यसलाई हरेक दिन पढ्छु।",
    "सरकारले भनेको छ कि उनीहरू हिजो काठमाडौं गएका थिए।",
]
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SAME = ("instructions[].translate.", "forced_score.translator.", "round_trip.translator.", "replay[].")


def told(heading: str) -> dict[str, tuple[str, str]]:
    part = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) \| (.*) \|$", part, flags=re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows})
    return {name: (default.strip(), meaning) for name, default, meaning in rows}


@pytest.mark.parametrize(("name", "model"), [("corpus", CorpusSettings), ("synth", SynthSettings)])
def test_the_page_tells_every_setting_with_its_default_and_choices(name: str, model: type[Section]) -> None:
    wanted = {key: held for key, held in options(model).items() if not key.startswith(SAME)}
    found = told(f"All settings of `{name}`")
    assert len(wanted) > 20 and found.keys() == wanted.keys()
    for key, (default, words) in wanted.items():
        shown, meaning = found[key]
        assert shown == default or (shown == "see config" and len(default) >= 60), key
        assert len(meaning) > 3, key
        for word in words:
            assert f"`{word}`" in meaning or word == default, (key, word)


def test_parts_that_are_told_once_take_the_same_settings() -> None:
    held = options(SynthSettings)
    whole = {key.removeprefix("translate.") for key in held if key.startswith("translate.")}
    for prefix in SAME[:3]:
        assert {key.removeprefix(prefix) for key in held if key.startswith(prefix)} == whole
    corpus = options(CorpusSettings)
    inputs = {key.removeprefix("inputs[].") for key in corpus if key.startswith("inputs[].")}
    assert {key.removeprefix("replay[].") for key in corpus if key.startswith("replay[].")} == inputs


def test_the_examples_are_configs_that_their_licenses_allow() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        config = RunConfig.model_validate(yaml.safe_load(block))
        assert config.language == "mai_Deva" and config.license == "commercial"
        licenses.refuse(config)


def test_every_rule_of_instructions_is_told() -> None:
    code = "".join(
        (ROOT / "src" / "anukul" / "synth" / name).read_text(encoding="utf-8")
        for name in ("instructions.py", "instruct.py", "protect.py")
    )
    rules = set(re.findall(r'(?:return|reason =) "([a-z]+_[a-z]+)", ', code)) | {
        "bad_conversation",
        "no_answer",
    }
    assert len(rules) >= 8
    assert {rule for rule in rules if f"`{rule}`" not in PAGE} == set()


def maithili() -> list[str]:
    """Lines that a newcomer might have."""
    who = ("हम सभ", "हमर बाबू", "गामक लोक", "ओकर भाइ", "शिक्षक")
    where = ("दरभंगामे", "पोखरिक लग", "बजारमे")
    what = ("पोथी पढ़ैत छथि मुदा समय नहि अछि।", "धान रोपैत छथि आ गीत गबैत छथि।", "काज करैत छलाह, एकर बाद घर गेलाह।")
    return [f"{a} {b} {c}" for a, b, c in product(who, where, what)]


def lay_out(folder: Path, base: Path) -> str:
    """Put the page's files where it names them; return its first example with a base and pairs that are there."""
    (folder / "data" / "maithili").mkdir(parents=True)
    lines = maithili()
    news = [*lines[:20], *NEIGHBORS, lines[0], f"{lines[5]} सम्पर्क करू: mithila@example.org"]
    rows = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in news)
    with pa.CompressedOutputStream(str(folder / "data/maithili/a.jsonl.zst"), "zstd") as file:
        file.write(rows.encode())
    english = [f"Line {number} of the English text that is read again." for number in range(30)]
    asked = {
        "instruction": "मिथिलाक चित्रकलाक नाम की अछि?",
        "input": "",
        "output": "ओकर नाम मधुबनी चित्रकला अछि।",
    }
    for name, texts in {
        "wiki.txt": lines[20:40],
        "trusted.mai.txt": lines,
        "english.jsonl": [json.dumps({"text": line}) for line in english],
        "dolly.jsonl": [json.dumps(asked, ensure_ascii=False)],
        "mai.mai": lines[:12],
        "mai.en": [f"They work and read the book number {number} in the town." for number in range(12)],
    }.items():
        (folder / "data" / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    example = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    (pairs,) = re.findall(r"^ *`(pairs: \[.*\])`\.$", PAGE, flags=re.MULTILINE)
    for old, new in (
        ("{path: meta-llama/Meta-Llama-3-8B}", f"{{path: {base}, license: MIT}}"),
        ("translate: {model: models/indictrans2-indic-en-ct2, family: indictrans2, license: MIT}", pairs),
        ("synthetic: 0.9", "organic: 0.9"),
    ):
        assert example.count(old) == 1, old
        example = example.replace(old, new)
    return example


def test_the_road_for_maithili_is_walked_word_by_word(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "run.yaml").write_text(lay_out(tmp_path, tiny_base), encoding="utf-8")
    commands = [
        line.partition("#")[0].split()[1:]
        for line in re.findall(
            r"^ +(anukul [^\n]+)$", PAGE.partition("## Beside other tools")[0], flags=re.MULTILINE
        )
    ]
    assert [one[0] for one in commands] == [
        *("corpus", "synth", "synth", "report"),  # in short
        *("init", "corpus", "corpus", "report", "synth", "report"),  # word by word
    ]

    def said(*words: str) -> str:
        cli.app(list(words), standalone_mode=False)
        heard = capsys.readouterr()
        return f"{heard.out}\n{heard.err}"

    init, estimate, *road = commands[4:]
    said(*(word if word != "run.yaml" else "begun.yaml" for word in init))
    assert (
        RunConfig.model_validate(yaml.safe_load((tmp_path / "begun.yaml").read_text("utf-8"))).language
        == "mai_Deva"
    )
    proposed = yaml.safe_load(said(*estimate))
    assert proposed["quality"]["min_word_length"] > 2
    walked = [said(*words) for words in road]
    assert "dropped: 5 wrong_language, 1 exact_duplicate" in walked[0]
    assert "report: done" in walked[1] and "kept 12" not in walked[2]
    assert "report: done" in walked[3] and "done before" not in walked[3]  # made again, as new rows stand
    page = re.sub(r"<[^>]+>", " ", (tmp_path / "runs/my-maithili/report/index.html").read_text("utf-8"))
    assert "Is it Maithili?" in page and "Hindi (3), Nepali (2)" in page
    shown = said(*commands[2])
    kept = len(read_rows(tmp_path / "runs/my-maithili/corpus/documents.parquet", Document))
    assert "translation (translation): 5 of 12 rows" in shown and "<2mai_Deva>" in shown.replace("│", "")
    assert (
        f"text (text): 5 of {kept} rows" in shown
        and "instruct (instruct): 1 of 1 rows" in shown
        and "«" in shown
    )


def test_a_changed_setting_is_refused_with_the_flag_of_the_step(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(lay_out(tmp_path, tiny_base), encoding="utf-8")
    cli.app(["corpus", "run.yaml"], standalone_mode=False)
    changed = ["corpus", "run.yaml", "-s", "corpus.min_characters=12"]
    with pytest.raises(
        UserError, match=r"corpus\.min_characters: 10 -> 12. Redo it with --redo, or use another"
    ):
        cli.app(changed, standalone_mode=False)
    cli.app([*changed, "--redo"], standalone_mode=False)
