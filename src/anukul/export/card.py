"""The model card of an export: the report's own card, told what these files are and how they were checked."""

from pathlib import Path
from typing import Any

import yaml

from anukul.errors import UserError

LIBRARY = {"merged": "transformers", "adapter": "peft", "gguf": "gguf"}
RELATION = {"merged": "finetune", "adapter": "adapter", "gguf": "quantized"}
LEAD = "A LoRA adapter for "
FIGURES = "figures"
REPORT = "index.html"
DATA_CARD = "DATA.md"


def card_files(root: Path, kind: str, records: dict[str, dict[str, Any]]) -> dict[str, Path | bytes]:
    """Return README.md and what it shows, by name in the export; empty where the report step is not done.

    `records` are the contents of verify.json, by what they are about.
    """
    report = root / "report"
    if not (report / "done.json").exists():
        return {}
    text = compose((report / "README.md").read_text(encoding="utf-8"), kind, records)
    files: dict[str, Path | bytes] = {"README.md": text.encode("utf-8")}
    # the card speaks of the report beside it, and shows some of its figures
    files[REPORT] = report / REPORT
    if (report / DATA_CARD).exists():
        files[DATA_CARD] = report / DATA_CARD
    for figure in sorted((report / FIGURES).glob("*.png")):
        name = f"{FIGURES}/{figure.name}"
        if name in text:
            files[name] = figure
    return files


def compose(text: str, kind: str, records: dict[str, dict[str, Any]]) -> str:
    """Return the card of an export of this kind made from the card of the adapter."""
    front, body = split_front(text)
    front["library_name"] = LIBRARY[kind]
    if "base_model" in front:
        front["base_model_relation"] = RELATION[kind]
    if kind != "adapter":
        if LEAD not in body:
            raise UserError("report/README.md: not a model card of anukul's; run `anukul report` again")
        body = body.replace(LEAD, "A LoRA adapter merged into ", 1)
    before, heading, after = body.partition("\n## ")
    middle = "\n".join(_sentences(kind, records))
    written = yaml.safe_dump(front, allow_unicode=True, sort_keys=False, width=120)
    return f"---\n{written}---\n{before}\n## What these files are\n\n{middle}\n{heading}{after}"


def split_front(text: str) -> tuple[dict[str, Any], str]:
    """Return the front matter of a card and its body."""
    parts = text.split("---\n", 2)
    front = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    if not isinstance(front, dict):
        raise UserError("report/README.md: no front matter; run `anukul report` again")
    return front, parts[2]


def license_of(text: str) -> str:
    """Return what a card says of licenses, on one line."""
    front, body = split_front(text)
    _, _, after = body.partition("\n## License\n")
    said = " ".join(after.partition("\n## ")[0].split())
    return f"{front.get('license', 'not named')}. {said}".strip()


def _sentences(kind: str, records: dict[str, dict[str, Any]]) -> list[str]:
    lines = {
        "merged": "The adapter is merged into the base's weights; they load like any model of transformers.",
        "adapter": "The adapter alone, in the format of peft; it needs its base.",
        "gguf": "The adapter merged into the base's weights, as a GGUF file for llama.cpp.",
    }
    found = [lines[kind]]
    if kind != "adapter":
        found[0] += " The numbers below were measured with the adapter on its base."
    for name, record in records.items():
        logits = record["logits"]
        rows = "; ".join(
            f"{row['name']} {row['bits_per_byte']:.4f} and {row['bits_per_byte_reloaded']:.4f} bits per byte"
            for row in record["texts"]
        )
        found.append(
            f"\nChecked by loading {name} in a fresh process and comparing with {record['against']}: mean divergence "
            f"{logits['divergence']:.2g} nats per token over {logits['positions']:,} positions, same top token at "
            f"{logits['same_top_token']:.1%}; {rows}."
        )
        found += [f"\nMind: {note}." for note in record["notes"]]
    return found
