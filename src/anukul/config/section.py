"""What every section of run.yaml is: a frozen model that takes no unknown key."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of run.yaml: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def resolve(path: str | Path) -> Path:
    """Return `path` as an absolute path, `~` expanded; relative paths count from the working directory."""
    return Path(path).expanduser().absolute()
