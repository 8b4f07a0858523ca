"""`anukul probe --sentence`: one sentence asked of a trained run, in a folder of its own; loads without torch."""

import hashlib
import re
import unicodedata
from pathlib import Path
from typing import Any

from anukul.config import CaseStudy, RunConfig
from anukul.errors import UserError
from anukul.rundir import StepFolder, atomic_folder, lock, write_json

FOLDER = "cases"  # in probe/; a folder in there is no output of the probe step and makes nothing stale
LONGEST = 40  # letters of the words in a folder's name


def asked_case(
    sentence: str | None, query: str | None, key: str | None, head: str | None
) -> tuple[CaseStudy, tuple[int, int] | None] | None:
    """Return the case that the options of the command line name, None where they name none.

    Raises UserError where one of them is missing or `head` is not LAYER.HEAD.
    """
    given = {"--sentence": sentence, "--query": query, "--key": key}
    if not any(value is not None for value in (*given.values(), head)):
        return None
    missing = [name for name, value in given.items() if not value]
    if missing or not sentence or not query or not key:
        raise UserError(
            f"probe: a case study needs --sentence, --query and --key; {', '.join(missing)} is missing"
        )
    match = None if head is None else re.fullmatch(r"L?(\d+)[.·:]H?(\d+)", head.strip(), re.IGNORECASE)
    if head is not None and match is None:
        raise UserError(f"--head: '{head}' is not LAYER.HEAD, such as 2.4; both are counted from 0")
    chosen = (int(match[1]), int(match[2])) if match else None
    return CaseStudy(sentence=sentence, query=query, key=key), chosen


def run_case(config: RunConfig, root: Path, case: CaseStudy, head: tuple[int, int] | None) -> str:
    """Look at one sentence with base and adapted; return the folder it went to and two lines on what was seen.

    Raises UserError where the words cannot be found, the query stands before the key, or nothing was trained yet.
    """
    from anukul.probe.case import find_words

    find_words(case, asked=True)  # before anything is loaded
    if config.train is None:
        raise UserError(
            "probe: the config has no `train` section, so there is no adapter to compare with the base"
        )
    last = f"train/{config.train.stages[-1].name}"
    if not (root / last / "done.json").exists():
        raise UserError(
            f"{root}: no trained adapter yet ({last} is not done); run `anukul train run.yaml` first"
        )
    with lock(root):
        return _made(config, root, last, case, head)


def _made(config: RunConfig, root: Path, last: str, case: CaseStudy, head: tuple[int, int] | None) -> str:
    from anukul.model.adapter import load_adapter
    from anukul.model.base import load_base
    from anukul.probe.case import study
    from anukul.report.figures import write_case
    from anukul.report.loadprobe import case_of

    loaded = load_base(config.model)
    load_adapter(loaded, root / last / "adapter")
    found: dict[str, Any] = {
        **study(loaded, case, head, asked=True),
        "adapter": StepFolder(root, last).outputs()[
            "adapter"
        ],  # the report shows a case of this adapter only
    }
    folder = root / "probe" / FOLDER / name_of(case, head)
    shown = case_of(found, str(folder / "case.json"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as made:
        write_json(made / "case.json", found)
        write_case(shown, made)
    return f"{folder}\n{summary(shown)}"


def summary(case: Any) -> str:
    """Return two lines on a `report.probedata.Case`: what changed, and whether the choice of piece matters."""
    from anukul.report.format import percent
    from anukul.report.sections.headcase import asked, pieces_line, strongest

    why = "asked for" if case.why == "asked" else "whose attention changed most"
    best = [f"{name} {found} {percent(value)}" for name, (found, value) in (
        ("base", strongest(case.base.attention)), ("adapted", strongest(case.adapted.attention)),
    )]  # fmt: skip
    return (
        f"{case.pair}: layer {case.layer} head {case.head}, {why}: base {percent(asked(case.base, case))}, adapted "
        f"{percent(asked(case.adapted, case))}; strongest: {', '.join(best)}\n{pieces_line(case)}"
    )


def name_of(case: CaseStudy, head: tuple[int, int] | None) -> str:
    """Return the folder's name: the two words, and a digest of all that was asked."""
    asked = "\x1f".join((case.sentence, case.query, case.key, str(head)))
    digest = hashlib.sha256(unicodedata.normalize("NFC", asked).encode("utf-8")).hexdigest()[:8]
    words = f"{case.query}-{case.key}"
    kept = "".join(letter if unicodedata.category(letter)[0] in "LMN" else "-" for letter in words)
    shown = re.sub("-+", "-", kept).strip("-")[:LONGEST]
    return f"{shown}-{digest}" if shown else digest
