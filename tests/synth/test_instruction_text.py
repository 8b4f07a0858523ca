"""Code, URLs, placeholders and Markdown come out of the step byte for byte; the prose between is normalised."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anukul.config import (
    InstructionInput,
    ModelSettings,
    PairInput,
    RunConfig,
    SynthSettings,
    TranslateSettings,
)
from anukul.languages import load
from anukul.records import Dropped, Instruction, Pair, read_rows
from anukul.rundir import read_json
from anukul.synth import state, step
from anukul.synth.clean import clean
from anukul.synth.markup import code_spans, prose
from anukul.synth.protect import changed, missing, protect, restore
from anukul.synth.translate import Translation

NEPALI, ENGLISH = load("npi_Deva"), load("eng_Latn")

PYTHON = """Here is a function that adds numbers up:

```python
def total(numbers):
    sum = 0
    for n in numbers:
        sum += n  # two  blanks,\ta tab and a no-break\xa0space

    return f"{sum}"
```

Call it with `total([1,  2])`."""
BARE = """Here is a function that adds numbers up:

def total(numbers):
    sum = 0
    for n in numbers:
        sum += n

    return sum

print(total([1, 2]))

The result is shown below."""
PAGE = """# How to install it

1. **Download:** take it from [the page](https://example.org/a_(b)?c=1&d=2 "Home").
2. Run `pip  install x`:
   ```sh
   pip install x
       --quiet
   ```
- [x] Say hello to {name}, ${HOME} and %s
    - a nested line with &lt;b&gt; and <b>bold</b>

| Name  |   Age |
|:------|------:|
| Ram   | `a|b` |
| Sita is here   | 12 |

> A quotation of two lines  
> with a hard break

    sudo apt-get update
    ls -l

***

The last line, with ~~no~~ *more* marks and <!-- a remark --> in it."""
TEXTS = {
    "fenced": PYTHON,
    "bare": BARE,
    "page": PAGE,
    "tags": "Write `<b>x</b>`, &amp; and <div class='a'>\n  <p>text here</p>\n</div>\n\nas they are.",
    "sql": "Show the names of all pupils.\n\nSELECT name,   age\nFROM pupils\nWHERE age > 12;\n\nThat is the query.",
    "quoted": "Look at this text:\n\n> ~~~\n> if (x) {\n>     y();\n> }\n> ~~~\n\nand say what it does.",
    "inline fence": "Use ```ls   -l``` or ```\n  cat  x\n``` to see the files.",
    "open": "The code is this:\n```js\nlet a  =  1;\n\n\n  f(a)",
    "columns": "Sort the table by its second column, please.\n\nRam      12\nSita      7\n\n\n\nThank you.",
}


def config(item: InstructionInput, **synth: Any) -> RunConfig:
    settings = SynthSettings(instructions=(item,), **synth)
    return RunConfig(name="t", language="npi_Deva", model=ModelSettings(path="unused"), synth=settings)


def made(tmp_path: Path, rows: list[dict[str, Any]], **more: Any) -> tuple[list[Instruction], list[Dropped]]:
    path = tmp_path / "i.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    item = InstructionInput(path=str(path), source="chat", license="MIT", **more)
    step.run(config(item), tmp_path / "run")
    folder = tmp_path / "run" / "synth"
    return read_rows(folder / "instructions.parquet", Instruction), read_rows(
        folder / "dropped.parquet", Dropped
    )


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_prose_comes_out_byte_for_byte(tmp_path: Path, name: str) -> None:
    text = TEXTS[name]
    said = [
        {"from": "system", "value": text},
        {"from": "human", "value": "Why is that so?\n" + text},
        {"from": "gpt", "value": text},
        {"from": "human", "value": text},
        {"from": "gpt", "value": "    x = 1\n    y = 2\n\nThese are the values."},
    ]
    (chat,), dropped = made(tmp_path, [{"conversations": said}])
    assert not dropped
    assert (chat.system, chat.instruction, chat.output) == (text, "Why is that so?\n" + text, text)
    assert chat.turns == [text, said[-1]["value"]]
    (tmp_path / "alpaca").mkdir()
    alpaca = {"instruction": text, "input": text, "output": text}
    (row,), dropped = made(tmp_path / "alpaca", [alpaca])
    assert not dropped and (row.instruction, row.input, row.output, row.rules) == (text, text, text, [])


class Upper:
    """A translator that writes what it is given in capitals, so that whatever it saw shows; masks stay."""

    name = "upper"

    def translate(self, texts: list[str]) -> list[Translation]:
        assert all("\n" not in text and text.strip() == text for text in texts)
        return [Translation(shouted(text), True, 5) for text in texts]


def shouted(text: str) -> str:
    return (
        re.sub(r"[^\W\d_]+", lambda match: f"शब्द{match.group().upper()}", text) if "ZX" not in text else text
    )


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_prose_comes_out_of_a_translation_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = TEXTS[name]
    taken = protect(text)
    assert restore(taken, list(taken.parts)) == (text, "") and taken.parts
    after, lost = restore(taken, [one.text for one in Upper().translate(list(taken.parts))])
    assert not lost and changed(text, after) is None and after != text
    for start, stop in code_spans(text):
        assert text[start:stop] in after
    for line, new in zip(text.split("\n"), after.split("\n"), strict=True):
        for part in re.findall(r"^[\s>]*(?:#+ |\d\. |- (?:\[x\] )?)?|\s*$|\||\*\*|~~", line):
            assert new.count(part) >= line.count(part)
        assert len(line) - len(line.lstrip()) == len(new) - len(new.lstrip())
    monkeypatch.setattr(state, "make_translator", lambda *_: Upper())
    (tmp_path / "opus-mt-en-ne").mkdir()
    (tmp_path / "opus-mt-en-ne" / "model.bin").write_bytes(b"weights")
    asked = TranslateSettings(model=str(tmp_path / "opus-mt-en-ne"))
    row = {"instruction": "Tell me what this text says, please.", "output": text}
    kept, dropped = made(tmp_path, [row], translate=asked, check_answers=False)
    assert not dropped and [one.output for one in kept] == [after]


def test_a_table_is_translated_cell_by_cell() -> None:
    taken = protect("| Name | Use of `a|b` |\n|---|:-:|\n| Ram is here | 12 |\n\na | b\n")
    assert taken.parts == ("Name", "Use of ZX0Z", "Ram is here", "a", "b")
    assert protect("__init__: the constructor").masks == ("__init__",)
    assert protect("Either this | or that").parts == ("Either this | or that",)


@pytest.mark.parametrize(
    "text",
    [
        "for example:\n  this and that",
        "class of 1990:\n  many pupils",
        "public health (PHC) is good",
        "Area = length x width",
        "import and export grew; so did trade.",
        "if you ask me, yes (of course).",
        "    Once upon a time\n    There lived a king",
        "1. First\n\n       and more of the first\n",
        "Select a name from the list (below); then go on.",
        "    राम घर गयो\n    सीता आइन्",
        "Name(s)",
    ],
)
def test_prose_is_not_taken_for_code(text: str) -> None:
    assert code_spans(text) == []


def test_code_that_a_translation_lost_is_seen() -> None:
    assert missing(PYTHON, PYTHON.replace("    sum", "  sum")) is not None
    assert missing(BARE, BARE.replace("    sum = 0", "sum = 0")) is not None
    assert missing("See {a} and {a}", "See {a}") == ("protected_changed", "lost {a}")
    assert missing(PAGE, PAGE + " more") is None
    assert changed("It is **very** good", "यो **धेरै राम्रो छ") == ("markdown_changed", "** ** against **")
    assert changed("2 * 3 `*` is", "२ * ३ `*` हो") is None


def test_the_prose_between_is_normalised() -> None:
    before = "```\nनेपाल\u200bको\xa0\n```\r\nनेपाल\u200bको\xa0राजधानी रामेा {ना\u200bम} `\u200b` \ufeffहो।  \n\n"
    after = "```\nनेपाल\u200bको\xa0\n```\nनेपालको राजधानी रामो {नाम} `\u200b` हो।"
    text, rules = clean(before, NEPALI)
    assert (text, sorted(rules)) == (after, ["byte_order_mark", "misspelling", "white_space", "zero_width"])
    assert clean("  एक हरफ  ", NEPALI)[0] == "एक हरफ"
    assert clean("    return 1 ", NEPALI)[0] == "    return 1"
    assert clean("\n  \n  दुई\n हरफ ", NEPALI)[0] == "  दुई\n हरफ"


PIECES = st.sampled_from(
    [
        *("word ", "शब्द", "\u200b", "\u200d", "\xa0", "  ", "\n", "\n\n", "\t", "ा", "े", "।", "12", "\r\n"),
        *("    x = f(1)\n", "def f(x):\n", '"a": 1\n', "{", "};\n", "```", "~~~\n", "`", "``", "`a  b`"),
        *("{name}", "https://a.org/x", "<br>", "<b ", "&lt;", "[a](b)", "$x", "%s", "ZX0Z", "\\[", "\\]"),
        *("a@b.org", "9841234567", "| a | b |\n|---|---|\n", "**", "- ", "> "),
    ]
)


@given(st.lists(PIECES, max_size=16))
def test_cleaning_loses_nothing_but_what_is_invisible(pieces: list[str]) -> None:
    text = "".join(pieces)
    once, _ = clean(text, NEPALI)
    for start, stop in code_spans(text):
        assert text[start:stop].strip() in once
    bare = ["".join(re.findall(r"[^\s\u200b\u200d]", one)) for one in (text, once)]
    assert len(bare[1]) >= len(bare[0]) - bare[0].count("ा") - bare[0].count("े")
    if not set("\u200b\u200d\xa0\r") & set(text):
        assert clean(once, NEPALI) == (once, [])


@given(st.lists(PIECES, max_size=16))
def test_taking_apart_and_putting_together_is_the_same_text(pieces: list[str]) -> None:
    text = "".join(pieces).replace("ZX0Z", "")
    taken = protect(text)
    assert restore(taken, list(taken.parts)) == (text, "")
    assert len(taken.kept) == len(taken.parts) + 1
    assert not any("\n" in part and "\\[" not in part for part in taken.parts)
    assert changed(text, text) is None


def test_addresses_and_numbers_are_masked_in_prose_alone(tmp_path: Path) -> None:
    mail, number = "ram_bahadur@example.org", "9841234567"
    code = f"```\nmail {mail} {number}\n```"
    rows = [
        {"instruction": f"How do I reach the office at {mail} quickly?", "output": f"Call {number}.\n{code}"},
        {
            "instruction": f"कार्यालयको फोन के हो?\n`{number}`",
            "output": f"फोन: {number} वा {mail}",
            "system": mail,
        },
    ]
    (first, second), dropped = made(tmp_path, rows)
    assert not dropped
    assert first.instruction == "How do I reach the office at [email] quickly?"
    assert first.output == f"Call [phone].\n{code}" and first.rules == ["mask_email", "mask_phone"]
    assert second.output == "फोन: [phone] वा [email]" and second.system == "[email]"
    assert second.instruction.endswith(f"`{number}`")
    assert protect("Write to [email] now").masks == ("[email]",)


def test_pairs_are_masked_on_both_sides_as_the_corpus_is(tmp_path: Path) -> None:
    from anukul.corpus import step as corpus

    text = "कार्यालयको फोन नम्बर ९८४१२३४५६७ हो र इमेल ram@example.org हो।"
    (tmp_path / "c.txt").write_text(text + "\n")
    rows = {
        "source": "The number of the office is 9841234567 and the mail is ram@example.org.",
        "target": text,
    }
    (tmp_path / "p.jsonl").write_text(json.dumps(rows))
    settings = {"inputs": [{"path": str(tmp_path / "c.txt")}], "min_characters": 10}
    pair = PairInput(source=str(tmp_path / "p.jsonl"))
    for masks in (True, False):
        whole = RunConfig.model_validate(
            {
                "name": "t",
                "language": "npi_Deva",
                "model": {"path": "unused"},
                "corpus": {**settings, "mask_pii": masks},
                "synth": {"pairs": [pair.model_dump()]},
            }
        )
        root = tmp_path / f"run {masks}"
        corpus.run(whole, root)
        step.run(whole, root)
        (kept,) = read_rows(root / "synth" / "pairs.parquet", Pair)
        sides = (kept.source_text, kept.target_text)
        assert kept.document_id  # its twin in the corpus is found by its words
        assert read_json(root / "synth" / "stats.json")["inputs"][0]["linked"] == 1
        assert all(("[phone]" in side and "[email]" in side) == masks for side in sides)
        assert any("98" in side or "९८" in side or "ram@" in side for side in sides) != masks
        assert kept.rules == (["mask_email", "mask_phone"] if masks else [])


def test_what_is_read_as_language_is_neither_code_nor_protected() -> None:
    words = "Here is a function that adds numbers up: The result is shown below."
    assert " ".join(prose(BARE).split()) == words
    assert "print" not in prose(PYTHON) and "https" not in prose(PAGE) and "Age" in prose(PAGE)
