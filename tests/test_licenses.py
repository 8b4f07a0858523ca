"""What license names allow, and what `license: commercial` refuses before anything is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from anukul import configfile
from anukul.config import RunConfig
from anukul.corpus import step
from anukul.errors import UserError
from anukul.licenses import noncommercial, of_model, parts_of, use_of

COMMERCIAL = (
    "CC0-1.0", "CC-BY-4.0", "cc-by-sa-3.0", "CC BY 4.0", "CC-BY-ND-4.0", "MIT", "Apache-2.0", "apache 2.0",
    "ODC-By-1.0", "GPL-3.0-or-later", "BSD-3-Clause", "public domain", "Meta Llama 3 Community License",
    "llama3.1", "gemma",
    "CC-BY-4.0 AND MIT", "CC-BY-NC-4.0 OR MIT",
)  # fmt: skip
NONCOMMERCIAL = (
    "CC-BY-NC-4.0", "cc-by-nc-sa-3.0", "CC BY-NC-ND 4.0", "Creative Commons Attribution-NonCommercial 4.0",
    "research only", "Research-Only", "academic use", "non-commercial", "PolyForm-Noncommercial-1.0.0",
    "CC-BY-4.0 AND CC-BY-NC-4.0",
    "for research", "evaluation only",
)  # fmt: skip
UNKNOWN = (
    "",
    "unknown",
    "Unknown",
    "other",
    "NewsCo agreement",
    "proprietary",
    "CC-BY-4.0 AND unknown",
    "MITRE terms",
)


@pytest.mark.parametrize("name", COMMERCIAL)
def test_licenses_for_commercial_use(name: str) -> None:
    assert use_of(name) == "commercial" and not noncommercial(name)


@pytest.mark.parametrize("name", NONCOMMERCIAL)
def test_licenses_against_commercial_use(name: str) -> None:
    assert use_of(name) == "noncommercial" and noncommercial(name)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_nobody_knows_is_unknown(name: str) -> None:
    assert use_of(name) == "unknown" and not noncommercial(name)


def test_what_is_declared_counts() -> None:
    assert use_of("NewsCo agreement", {"NewsCo agreement": "commercial"}) == "commercial"
    assert use_of("NewsCo agreement AND MIT", {"NewsCo agreement": "noncommercial"}) == "noncommercial"


def test_models_are_known_by_their_names() -> None:
    assert of_model("models/nllb-200-distilled-600M-ct2") == "CC-BY-NC-4.0"
    assert of_model("meta-llama/Meta-Llama-3-8B") == "Llama Community License"
    assert of_model("models/mine") == "unknown" and of_model("models/mine", "MIT") == "MIT"


def settings(folder: Path, **more: Any) -> Path:
    data: dict[str, Any] = {
        "name": "t",
        "language": "npi_Deva",
        "license": "commercial",
        "model": {"path": "meta-llama/Meta-Llama-3-8B"},
        "corpus": {"inputs": [{"path": "absent/news.jsonl", "license": "CC-BY-4.0"}]},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**data, **more}), encoding="utf-8")
    return path


def test_a_commercial_run_of_free_text_is_taken(tmp_path: Path) -> None:
    config = configfile.load(settings(tmp_path))
    assert [part.key for part in parts_of(config)] == ["model", "corpus.inputs.0"]


def test_everything_that_is_refused_is_named_before_a_file_is_looked_for(tmp_path: Path) -> None:
    path = settings(
        tmp_path,
        model={"path": "someone/a-base"},
        corpus={
            "inputs": [{"path": "a.txt", "license": "CC-BY-NC-4.0"}, {"path": "b.txt"}],
            "replay": [{"path": "c.txt", "license": "NewsCo agreement"}],
        },
        synth={
            "pairs": [{"source": "p.jsonl", "license": "research only"}],
            "instructions": [{"path": "i.jsonl", "license": "MIT", "translate": {"model": "m/nllb-600M"}}],
            "translate": {"model": "m/nllb-1.3B", "license": "MIT"},
        },
    )
    with pytest.raises(UserError) as caught:
        configfile.load(path)
    told = str(caught.value).splitlines()
    assert told[0] == "license: commercial refuses"
    for line, words in zip(
        told[1:],
        (
            "model: someone/a-base: no license is given",
            "corpus.inputs.0: a.txt: CC-BY-NC-4.0 is not for commercial use",
            "corpus.inputs.1: b.txt: no license is given; name it in corpus.inputs.1.license",
            "corpus.replay.0: c.txt: 'NewsCo agreement' is not on the list",
            "synth.pairs.0: p.jsonl: research only is not for commercial use",
            "synth.instructions.0.translate: m/nllb-600M: CC-BY-NC-4.0 is not for commercial use",
            "synth.translate: m/nllb-1.3B: declared as MIT, but models of this name are CC-BY-NC-4.0",
        ),
        strict=True,
    ):
        assert words in line
    configfile.load(path, ["license=any"])


def test_rows_that_name_their_own_licenses_are_checked_as_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"text": f"रामले भात खायो र घर गयो {i}।", "rights": name} for i, name in enumerate(("MIT", "CC0-1.0"))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    corpus = {"inputs": [{"path": str(path), "source": "s", "license_column": "rights"}], "quality": None}
    config = configfile.load(settings(tmp_path, corpus=corpus))
    assert "corpus.inputs.0" not in [part.key for part in parts_of(config)]
    assert step.run(config, tmp_path / "free").rows["documents"] == 2
    bound = {"text": "मेरो दाइ काठमाडौंमा काम गर्नुहुन्छ।", "rights": "CC-BY-NC-4.0"}
    path.write_text("\n".join(map(json.dumps, [*rows, bound])))
    with pytest.raises(UserError, match=r"refuses 1 rows of corpus/documents.parquet under 'CC-BY-NC-4.0'"):
        step.run(config, tmp_path / "bound")


def test_a_translator_of_given_pairs_is_asked_for_its_license(tmp_path: Path) -> None:
    pairs: dict[str, Any] = {"source": "p.jsonl", "license": "MIT", "origin": "synthetic"}
    with pytest.raises(UserError, match=r"name it in synth.pairs.0.translator_license"):
        configfile.load(settings(tmp_path, synth={"pairs": [pairs]}))
    pairs["translator"] = "nllb-600M"
    with pytest.raises(UserError, match=r"synth.pairs.0.translator: nllb-600M: CC-BY-NC-4.0 is not for"):
        configfile.load(settings(tmp_path, synth={"pairs": [pairs]}))
    pairs["translator_license"] = "MIT"
    with pytest.raises(UserError, match=r"declared as MIT, but models of this name are CC-BY-NC-4\.0"):
        configfile.load(settings(tmp_path, synth={"pairs": [pairs]}))
    pairs["translator"] = "ours"
    configfile.load(settings(tmp_path, synth={"pairs": [pairs]}))


def test_what_you_declare_is_taken(tmp_path: Path) -> None:
    given = {"inputs": [{"path": "a.txt", "license": "NewsCo agreement"}]}
    with pytest.raises(UserError, match=r'licenses: \{"NewsCo agreement": commercial\}'):
        configfile.load(settings(tmp_path, corpus=given))
    declared = settings(tmp_path, corpus=given, licenses={"NewsCo agreement": "commercial"})
    assert isinstance(configfile.load(declared), RunConfig)
