"""Real Nepali, mixed with what must not stay: every planted row is found by its rule, and clean rows are not lost.

The corpus step runs once on some 4,000 rows. What was clean comes back letter for letter, also out of HTML, menus and
broken encoding.
"""

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from anukul.config import CorpusSettings, EvaluateSettings, HeldOutText, ModelSettings, RunConfig, TextInput
from anukul.corpus import step
from anukul.languages import load
from anukul.records import Document, Dropped, read_rows
from anukul.text.keys import match_key
from anukul.text.normalize import normalize
from anukul.text.words import script_share

pytestmark = pytest.mark.real
NEPALI = load("npi_Deva")
EACH = 60  # planted rows of a kind
PHONES = ("9841{:06d}", "+977-98510{:05d}", "०१-४{:06d}", "फोन नं. ०१-४{:06d}", "सम्पर्क: ९७४५{:06d}")
TO_NEPALI = str.maketrans("0123456789", "०१२३४५६७८९")


@dataclass
class Mix:
    """What the step made of the rows: those kept by id, the rules of those dropped, and what each should be."""

    kept: dict[str, Document]
    dropped: dict[str, Dropped]
    expected: dict[str, str]

    def ids(self, kind: str) -> list[str]:
        return [name for name in self.expected if name.split("-")[0] == kind]

    def rules(self, kind: str) -> Counter[str]:
        """Count what became of the rows of a kind: "kept", or the rule."""
        return Counter("kept" if name in self.kept else self.dropped[name].rule for name in self.ids(kind))

    def changed(self, kind: str) -> list[tuple[str, str]]:
        """Return (what is kept, what should be) where they differ."""
        held = [(self.kept[name].text, self.expected[name]) for name in self.ids(kind) if name in self.kept]
        return [(text, wanted) for text, wanted in held if text != wanted]


def read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").split("\n") if line.strip()]


def distinct(lines: list[str]) -> list[str]:
    """Return normalised lines, each once, of those mostly in Devanagari."""
    texts = [normalize(line, NEPALI)[0] for line in lines]
    first = {match_key(text): text for text in reversed(texts) if script_share(text, "Devanagari") >= 0.5}
    return list(first.values())[::-1]


def mojibake(*encodings: str) -> Callable[[str], str]:
    def broken(text: str) -> str:
        for encoding in encodings:
            text = text.encode().decode(encoding)
        return text

    return broken


def web_page(text: str) -> str:
    link = "<a href='x.html?a=1&amp;b=2' title=\"थप\">"
    return f'<div class="post"><p>{text.replace("&", "&amp;")}</p>{link}<br/></a>&nbsp;</div><script>var a=1;</script>'


def with_menu(text: str) -> str:
    after = "We use cookies to improve your experience.\nफेसबुकमा सेयर गर्नुहोस्\n© २०७५ सर्वाधिकार सुरक्षित।"
    return f"गृहपृष्ठ\nहाम्रो बारेमा\n{text}\n{after}"


BROKEN: dict[str, Callable[[str], str]] = {
    "html": web_page,
    "menu": with_menu,
    "latin": mojibake("latin-1"),
    "windows": mojibake("sloppy-windows-1252"),
    "latintwice": mojibake("latin-1", "latin-1"),
    "windowstwice": mojibake("sloppy-windows-1252", "sloppy-windows-1252"),
    "cutshort": lambda text: f"{text} छ".encode()[:-1].decode("latin-1"),
    "nul": lambda text: f"{text[:9]}\x00\x00{text[9:]}",
}


class Builder:
    """Gathers rows with ids that say what they are, and what should be left of each."""

    def __init__(self, spare: list[str]) -> None:
        self.rng = random.Random(0)
        self.spare = iter(spare)
        self.rows: list[tuple[str, str]] = []
        self.expected: dict[str, str] = {}

    def add(self, kind: str, text: str, expected: str = "") -> None:
        name = f"{kind}-{len(self.rows)}"
        self.rows.append((name, text))
        self.expected[name] = expected

    def repaired(self) -> None:
        """Plant texts with a defect that is to be repaired."""
        for kind, change in BROKEN.items():
            for _ in range(EACH):
                text = next(self.spare)
                self.add(kind, change(text), text)
        for place in range(EACH):
            text = next(self.spare)
            phone = PHONES[place % len(PHONES)].format(12_345 + place * 977)
            phone = phone if place % 2 else phone.translate(TO_NEPALI)
            word = phone.rpartition(" ")[0]
            head = f"{word} " if word else ""
            self.add(
                "pii",
                f"{text} थप जानकारी: {phone} वा ram.{place}@example{place % 7}.com.np मा",
                f"{text} थप जानकारी: {head}[phone] वा [email] मा",
            )

    def refused(self, clean: list[str], real_data: Path) -> None:
        """Plant texts that are to be dropped."""
        flores = real_data / "parallel/flores200"
        for line in read_lines(flores / "hin_Deva.devtest")[:400]:
            self.add("hindi", line)
        for line in read_lines(flores / "eng_Latn.devtest")[:100]:
            self.add("english", line)
        for text in clean[:100]:
            self.add("copy", text.replace(" ।", "।") if " ।" in text else text.replace("।", " ।"))
        for line in read_lines(flores / "npi_Deva.devtest")[:100]:
            self.add("evaluated", line)
        for _ in range(EACH):
            self.add("lost", next(self.spare).encode().decode("windows-1252", "ignore"))
        for _ in range(EACH // 2):
            self.add("repeated", f"{next(self.spare)} " * 25)

    def near(self) -> None:
        """Plant documents of several sentences, and copies of them in which 3 words are dropped or replaced."""
        for _ in range(EACH):
            text = " ".join(next(self.spare) for _ in range(12))
            self.add("paragraph", text, text)
            copy = text.split(" ")
            for place in sorted(self.rng.sample(range(len(copy)), 3), reverse=True):
                if self.rng.random() < 0.5:
                    copy.pop(place)
                else:
                    copy[place] = "अर्कै"
            self.add("near", " ".join(copy))


def write_bad_files(folder: Path, good: list[str]) -> None:
    folder.mkdir()
    packed = gzip.compress("\n".join(good[:50]).encode())
    (folder / "cut.txt.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "empty.txt").write_bytes(b"")
    (folder / "good.txt").write_text("\n".join(good[50:60]) + "\n", encoding="utf-8")
    (folder / "latin1.txt").write_bytes("Größe und Maß\ndéjà vu à la carte\nSão Paulo\n".encode("latin-1"))
    (folder / "long.txt").write_text("लामो हरफ " * 230_000 + f"\n{good[60]}\n", encoding="utf-8")  # 5.3 MB
    (folder / "nul.txt").write_bytes(b"\0" * 300_000)


@pytest.fixture(scope="module")
def mix(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mix:
    folder = tmp_path_factory.mktemp("mix")
    tested = real_data / "parallel/flores200/npi_Deva.devtest"
    news = distinct(read_lines(real_data / "parallel/floresv1/wikipedia.dev.ne-en.ne"))
    health = distinct(read_lines(real_data / "parallel/tico19/tico19-test.nep"))
    clean = [*news[:900], *health[:1200]]
    spare = [text for text in [*news[900:], *health[1200:]] if len(text) >= 40]
    builder = Builder(spare[61:])
    for text in clean:
        builder.add("clean", text, text)
    builder.repaired()
    builder.refused(clean, real_data)
    builder.near()
    rows = [json.dumps({"id": name, "text": text}) for name, text in builder.rows]
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    write_bad_files(folder / "bad", spare[:61])
    inputs = [TextInput(path=str(folder / "rows.jsonl")), TextInput(path=str(folder / "bad" / "*"))]
    config = RunConfig(
        name="mix",
        language="npi_Deva",
        model=ModelSettings(path="unused"),
        corpus=CorpusSettings(inputs=tuple(inputs), max_bad_files=0.2, workers=1),
        evaluate=EvaluateSettings(
            bits_per_byte=(HeldOutText(name="flores", path=str(tested), language="npi_Deva"),)
        ),
    )
    step.run(config, folder)
    kept = {row.id: row for row in read_rows(folder / "corpus/documents.parquet", Document)}
    dropped = {row.id: row for row in read_rows(folder / "corpus/dropped.parquet", Dropped)}
    return Mix(kept, dropped, builder.expected)


def test_clean_rows_are_kept_letter_for_letter(mix: Mix) -> None:
    found = mix.rules("clean")
    assert found.total() == 2100
    assert found["kept"] >= 2096, found
    assert mix.changed("clean") == []


@pytest.mark.parametrize("kind", [*BROKEN, "pii", "paragraph"])
def test_what_can_be_repaired_is_as_it_was(mix: Mix, kind: str) -> None:
    found = mix.rules(kind)
    assert found.total() == EACH and found["kept"] >= EACH - 1, found
    assert len(mix.changed(kind)) == 0, mix.changed(kind)[:3]


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("hindi", {"wrong_language": 400}),
        ("english", {"wrong_script": 100}),
        ("copy", {"exact_duplicate": 100}),
        ("evaluated", {"contaminated": 100}),
    ],
)
def test_what_must_not_stay_is_dropped_by_its_rule(mix: Mix, kind: str, rules: dict[str, int]) -> None:
    assert mix.rules(kind) == rules


def test_near_copies_are_dropped(mix: Mix) -> None:
    """3 of some 170 words leave 0.85 of the runs of 5 words alike: 14 bands of 8 find 99 of 100 such copies."""
    found = mix.rules("near")
    assert found["near_duplicate"] >= 0.95 * EACH and set(found) <= {"near_duplicate", "kept"}, found


def test_what_cannot_be_repaired_is_dropped(mix: Mix) -> None:
    assert set(mix.rules("lost")) == {"mojibake", "wrong_script"}
    repeated = mix.rules("repeated")
    assert set(repeated) <= {"top_2_gram", "top_3_gram", "top_4_gram", "stop_words"}, repeated


def test_the_rules_that_touched_a_row_are_named(mix: Mix) -> None:
    wanted = {"html": {"html"}, "menu": {"boilerplate"}, "latintwice": {"mojibake"}, "nul": {"control"}}
    wanted["pii"] = {"mask_phone", "mask_email"}
    for kind, rules in wanted.items():
        assert all(rules <= set(mix.kept[name].rules) for name in mix.ids(kind) if name in mix.kept), kind


def test_bad_files_are_named_and_the_good_ones_read(mix: Mix) -> None:
    ours = [row for name, row in mix.dropped.items() if name not in mix.expected]
    rules = Counter(row.rule for row in ours if row.rule not in ("corrupt_file", "boilerplate"))
    assert rules == {"invalid_utf8": 3, "too_long": 1, "empty": 1}
    assert {row.rule for row in ours if "cut.txt.gz" in row.detail} <= {"corrupt_file"}
    assert sum(name not in mix.expected for name in mix.kept) == 11
