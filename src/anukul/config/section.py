"""What every section of run.yaml is: a frozen model that takes no unknown key."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of run.yaml: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def resolve(path: str | Path) -> Path:
    """Return `path` as an absolute path, `~` expanded; relative paths count from the working directory."""
    return Path(path).expanduser().absolute()


def matching(path: Path) -> list[Path]:
    """Return what an absolute path names: itself where it exists, else what it matches as a glob, sorted by name.

    `**` goes through folders; names that begin with a point are not matched.
    """
    if path.exists():
        return [path]
    parts = path.parts
    wild = next((i for i, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
    if wild is None:
        return []
    base = Path(*parts[:wild])
    found = base.glob("/".join(parts[wild:]))
    return sorted(
        item for item in found if not any(part.startswith(".") for part in item.relative_to(base).parts)
    )
