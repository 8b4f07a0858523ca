"""What a kill costs when instructions are translated, what stays out of a paid translation, and going on."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluate"))
from judge_server import KEY, Answer, Asked, completion, serving

from anukul import pipeline
from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.records import Dropped, Instruction, Pair, read_rows
from anukul.rundir import StaleStepError, read_json
from anukul.synth import costly, state, step
from anukul.synth.translate import Told, Translation
from anukul.tables import Shards

NEPALI = "काठमाडौं नेपालको राजधानी हो र यो धेरै पुरानो सहर पनि हो।"
ENGLISH = "Kathmandu is the capital of Nepal and it is a very old city."
EVALUATED = "The farmer planted maize beside the river before the rain came down from the hills."


class Counting:
    """A translator that writes one sentence with the numbers it was given; it is killed after `calls` calls."""

    name = "counting"

    def __init__(self, calls: int | None = None) -> None:
        self.calls = calls
        self.asked: list[list[str]] = []
        self.told: Told = lambda tokens, pieces: None

    def __call__(self, *given: Any) -> "Counting":
        self.told = given[4]
        return self

    def translate(self, texts: list[str]) -> list[Translation]:
        if self.calls is not None and len(self.asked) == self.calls:
            raise KeyboardInterrupt
        self.asked.append(texts)
        self.told(7 * len(texts), len(texts))
        made = (" ".join(word for word in text.rstrip(".?").split() if word.isdecimal()) for text in texts)
        return [Translation(f"{NEPALI.rstrip('।')} {numbers}।", True, 7) for numbers in made]

    @property
    def texts(self) -> list[str]:
        return [text for texts in self.asked for text in texts]


def rows(count: int) -> list[dict[str, str]]:
    return [
        {"instruction": f"Tell me about city number {i}.", "output": f"{ENGLISH} It has {i}."}
        for i in range(count)
    ]


def config(folder: Path, given: list[dict[str, Any]], translate: dict[str, Any], **more: Any) -> RunConfig:
    (folder / "i.jsonl").write_text("\n".join(map(json.dumps, given)))
    item = {"path": str(folder / "i.jsonl"), "source": "chat", "license": "MIT", **more.pop("item", {})}
    item |= {"translate": translate} if translate else {}
    plain = {"name": "t", "language": "npi_Deva", "model": {"path": "unused"}}
    return RunConfig.model_validate(
        {**plain, "synth": {"instructions": [item], **more.pop("synth", {})}, **more}
    )


@pytest.fixture
def local(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "opus-mt-en-ne").mkdir()
    (tmp_path / "opus-mt-en-ne" / "model.bin").write_bytes(b"weights")
    return {"model": str(tmp_path / "opus-mt-en-ne")}


def kept(root: Path) -> list[Instruction]:
    return read_rows(root / "synth" / "instructions.parquet", Instruction)


def dropped(root: Path) -> list[tuple[str, str]]:
    return [(row.id, row.rule) for row in read_rows(root / "synth" / "dropped.parquet", Dropped)]


def test_a_kill_costs_one_shard_of_the_size_that_was_asked_for(
    tmp_path: Path, local: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(tmp_path, rows(10), {**local, "shard_rows": 3})
    whole, killed, resumed = Counting(), Counting(2), Counting()
    monkeypatch.setattr(state, "make_translator", whole)
    result = step.run(asked, tmp_path / "whole")
    assert result.rows["instructions"] == 10 and [len(texts) for texts in whole.asked] == [6, 6, 6, 2]
    monkeypatch.setattr(state, "make_translator", killed)
    with pytest.raises(KeyboardInterrupt):
        step.run(asked, tmp_path / "killed")
    monkeypatch.setattr(state, "make_translator", resumed)
    assert step.run(asked, tmp_path / "killed") == result
    assert killed.asked + resumed.asked == whole.asked  # none twice
    for name in result.outputs:
        assert (tmp_path / "killed/synth" / name).read_bytes() == (
            tmp_path / "whole/synth" / name
        ).read_bytes()


def test_by_default_an_endpoint_has_small_shards(local: dict[str, Any]) -> None:
    from anukul.config import TranslateSettings

    paid = TranslateSettings(engine="endpoint", model="m", endpoint={"base_url": "http://x"})
    assert paid.rows_per_shard == 100 and TranslateSettings(**local).rows_per_shard == 1000
    assert paid.model_copy(update={"shard_rows": 7}).rows_per_shard == 7


def test_the_paid_filters_of_given_pairs_have_small_shards_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: dict[str, Any]
) -> None:
    pairs = [{"source": f"{ENGLISH[:-1]} {i}.", "target": f"{NEPALI[:-1]} {i}।"} for i in range(10)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    synth: dict[str, Any] = {"instructions": [], "pairs": [{"source": str(tmp_path / "p.jsonl")}]}
    synth["round_trip"] = {"translator": {**local, "shard_rows": 4}}
    asked = config(tmp_path, [], {}, synth=synth)
    killed, resumed = Counting(1), Counting()
    monkeypatch.setattr(costly, "make_translator", killed)
    with pytest.raises(KeyboardInterrupt):
        step.run(asked, tmp_path / "run")
    monkeypatch.setattr(costly, "make_translator", resumed)
    assert step.run(asked, tmp_path / "run").rows["pairs"] == 10
    assert [len(texts) for texts in killed.asked + resumed.asked] == [4, 4, 2]
    found = read_rows(tmp_path / "run/synth/pairs.parquet", Pair)
    assert all(pair.round_trip is not None for pair in found)


def test_the_limit_is_of_rows_that_are_translated_over_all_shards(
    tmp_path: Path, local: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"instruction": "काठमाडौं कस्तो सहर हो?", "output": NEPALI}
    asked = config(tmp_path, [rows(1)[0], own, *rows(9)[1:]], {**local, "shard_rows": 2, "limit": 4})
    for name, calls in (("whole", None), ("killed", 2), ("killed", None)):
        monkeypatch.setattr(state, "make_translator", Counting(calls))
        if calls:
            with pytest.raises(KeyboardInterrupt):
                step.run(asked, tmp_path / name)
        else:
            step.run(asked, tmp_path / name)
    for name in ("whole", "killed"):
        made = [row.id for row in kept(tmp_path / name)]
        assert made == ["0:1", *(f"translation:0:{i}" for i in (0, 2, 3, 4))]
        assert dropped(tmp_path / name) == [(f"0:{i}", "translate_limit") for i in range(5, 10)]
    assert kept(tmp_path / "whole") == kept(tmp_path / "killed")
    both = config(tmp_path, rows(6), {**local, "limit": 2}, item={"keep_original": True})
    monkeypatch.setattr(state, "make_translator", Counting())
    step.run(both, tmp_path / "both")
    assert Counter(row.origin for row in kept(tmp_path / "both")) == {"organic": 6, "synthetic": 2}
    assert dropped(tmp_path / "both") == []


def evaluated(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "held.txt").write_text(EVALUATED + "\n")
    text = {"name": "en", "path": str(tmp_path / "held.txt"), "language": "eng_Latn"}
    return {"evaluate": {"bits_per_byte": [text]}}


@pytest.mark.parametrize("part", ["instruction", "input", "output", "system"])
def test_what_the_run_evaluates_on_is_found_before_a_translation_is_paid_for(
    tmp_path: Path, local: dict[str, Any], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    bad = {**rows(1)[0], part: EVALUATED}
    counting = Counting()
    monkeypatch.setattr(state, "make_translator", counting)
    step.run(config(tmp_path, [bad, *rows(3)[1:]], local, **evaluated(tmp_path)), tmp_path / "run")
    assert len(kept(tmp_path / "run")) == 2 and dropped(tmp_path / "run") == [("0:0", "contaminated")]
    assert not any("farmer" in text for text in counting.texts)
    found = read_json(tmp_path / "run/synth/contamination.json")["sets"]["bits_per_byte.en"]
    assert found["rows_dropped"] == 1 and found["sides"] == {f"instructions.{part}": 1}


def test_a_system_text_is_looked_at_where_nothing_is_translated(tmp_path: Path) -> None:
    bad = {**rows(1)[0], "system": EVALUATED}
    step.run(config(tmp_path, [bad, *rows(2)[1:]], {}, **evaluated(tmp_path)), tmp_path / "run")
    assert dropped(tmp_path / "run") == [("0:0", "contaminated")]


def test_a_copy_of_a_contaminated_row_has_the_same_reason_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {"instruction": "Tell me a sentence of the farmer.", "output": EVALUATED}
    asked = config(tmp_path, [bad, *rows(1), bad, *rows(3)[1:]], {}, **evaluated(tmp_path))
    monkeypatch.setattr(step, "SHARD", 2)
    step.run(asked, tmp_path / "whole")
    assert dropped(tmp_path / "whole") == [("0:0", "contaminated"), ("0:2", "contaminated")]
    write = Shards.write

    def one(shards: Shards, name: str, *given: Any) -> None:
        if name.endswith("-000001"):
            raise KeyboardInterrupt
        write(shards, name, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Shards, "write", one)
        with pytest.raises(KeyboardInterrupt):
            step.run(asked, tmp_path / "killed")
    step.run(asked, tmp_path / "killed")
    for name in ("dropped.parquet", "instructions.parquet", "stats.json", "contamination.json"):
        assert (tmp_path / "killed/synth" / name).read_bytes() == (
            tmp_path / "whole/synth" / name
        ).read_bytes()


def test_the_progress_tells_tokens_rate_and_time_left(
    tmp_path: Path, local: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from anukul import progress

    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "LONGEST", 0.0)
    killed = Counting(2)
    monkeypatch.setattr(state, "make_translator", killed)
    asked = config(tmp_path, rows(8), {**local, "shard_rows": 2})
    with pytest.raises(KeyboardInterrupt):
        step.run(asked, tmp_path / "run")
    capsys.readouterr()
    monkeypatch.setattr(state, "make_translator", Counting())
    step.run(asked, tmp_path / "run")
    said = capsys.readouterr().err
    line = next(line for line in said.splitlines() if "6 of 8 rows" in line)
    assert "synth: translate instructions.0" in line and "left" in line and "tokens/s" in line
    assert (
        "synth: translate instructions.0: 4 rows in" in said
    )  # what the killed run made is no part of the rate


def brain(asked: Asked, number: int) -> Answer:
    text = asked.last.rpartition("\n")[2]
    numbers = " ".join(word for word in text.rstrip(".?").split() if word.isdecimal())
    return Answer(completion(f"{NEPALI.rstrip('।')} {numbers}।"))


def test_what_is_paid_for_is_not_asked_again_when_more_may_be_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MT_KEY", KEY)
    root = tmp_path / "run"
    with serving(brain) as server:
        endpoint = {"base_url": server.url, "api_key_env": "MT_KEY", "requests_per_minute": 60_000}
        endpoint |= {
            "retry_seconds": 0.01,
            "concurrent": 1,
            "usd_per_million_input": 1.0,
            "usd_per_million_output": 1.0,
        }

        def asked(**more: Any) -> RunConfig:
            translate = {
                "engine": "endpoint",
                "model": "m",
                "shard_rows": 2,
                "endpoint": {**endpoint, **more},
            }
            return config(tmp_path, rows(8), translate)

        with pytest.raises(UserError, match=r"synth\.instructions\.0\.translate\.endpoint\.max_cost_usd"):
            pipeline.run_steps(asked(max_cost_usd=0.01), "", root, ("synth",))
        before = len(server.asked)
        shards = [path for path in (root / "synth/parts/instructions").glob("0000-*") if path.is_dir()]
        assert 0 < len(shards) < 4
        more = {"max_cost_usd": 100.0, "timeout_seconds": 9.0, "max_retries": 3, "concurrent": 2}
        pipeline.run_steps(asked(**more), "", root, ("synth",))
        assert len(kept(root)) == 8
        asked_for = Counter(one.last for one in server.asked)
        assert len(asked_for) == 16 and before < 16  # two texts a row, all of them different
        assert sum(asked_for.values()) < 16 + 4  # those of one shard are asked for twice, where it was begun
        with pytest.raises(StaleStepError, match="shard_rows"):
            changed = asked().model_dump(mode="json")
            changed["synth"]["instructions"][0]["translate"]["shard_rows"] = 5
            pipeline.run_steps(RunConfig.model_validate(changed), "", root, ("synth",))


@pytest.mark.parametrize("where", ["instructions", "round_trip", "forced_score"])
def test_how_long_an_endpoint_is_waited_for_makes_no_step_stale(where: str) -> None:
    held = pipeline.NOT_OF_SYNTH[where]
    inner = {"instructions": ("__all__", "translate")}.get(where, ("translator",))
    for key in inner:
        held = held[key]
    assert (
        held == pipeline.NOT_OF_SYNTH["translate"] and held["max_failed"] and held["endpoint"]["max_cost_usd"]
    )
