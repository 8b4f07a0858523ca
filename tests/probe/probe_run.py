"""The run on the planted model: its config and what it writes."""

from pathlib import Path

from anukul.config import (
    CaseStudy,
    HeldOutText,
    KnockoutSettings,
    ModelSettings,
    PairSettings,
    ProbeSettings,
    RunConfig,
    Stage,
    TrainSettings,
)

CASE = CaseStudy(sentence="d n3 a d n5 b v3", query="n3", key="v3")


def settings(root: Path) -> ModelSettings:
    return ModelSettings(path=str(root / "base"), quantization="none", compute_dtype="float32")


def config(root: Path, case: CaseStudy | None = CASE, relations: tuple[str, ...] = ()) -> RunConfig:
    return RunConfig(
        name="planted",
        language="npi_Deva",
        model=settings(root),
        train=TrainSettings(stages=(Stage(name="words", format="text"),)),
        probe=ProbeSettings(
            treebank=str(root / "trees.conllu"),
            language="npi_Deva",
            batch_sentences=16,
            case_study=case,
            relations=relations,
            pairs=(PairSettings(name="agreement", path=str(root / "pairs.jsonl")),),
            knockout=KnockoutSettings(
                pairs=24,
                texts=6,
                held_out=HeldOutText(name="lines", path=str(root / "held-out.txt"), language="npi_Deva"),
            ),
        ),
    )


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
