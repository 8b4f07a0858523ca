"""Small readers that never guess: JSON objects, finite numbers, measures with intervals."""

import json
import math
from pathlib import Path
from typing import Any

from anukul.errors import UserError
from anukul.report.data import Measure
from anukul.rundir import read_json


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, None when there is no file; raise UserError when it holds something else."""
    if not path.exists():
        return None
    try:
        data = read_json(path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}; redo the step that wrote it") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: must hold a JSON object; redo the step that wrote it")
    return data


def finite(value: Any) -> float | None:
    """Return a finite number as float; None for everything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def measure(data: Any) -> Measure:
    """Return {"value", "low", "high"} as a Measure; a bare number has no interval."""
    if isinstance(data, dict):
        return Measure(finite(data.get("value")), finite(data.get("low")), finite(data.get("high")))
    return Measure(finite(data))
