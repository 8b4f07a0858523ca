"""The report step: a run folder in; index.html, figures, the model card and the data card out."""

import shutil
from pathlib import Path

from anukul import progress
from anukul.config import RunConfig
from anukul.report import card, datacard, page
from anukul.report.figures import for_card, write_figures
from anukul.report.load import load_run
from anukul.rundir import Result, write_atomic

DATA_CARD = "DATA.md"


def run(config: RunConfig, root: Path) -> Result:
    """Write report/index.html, report/figures/, report/README.md and report/DATA.md from whatever steps are done.

    Raises UserError when no step is done, or when a step's file cannot be read.
    """
    data = load_run(config, root)
    folder = root / "report"
    shutil.rmtree(folder / "figures", ignore_errors=True)  # of a killed run: figures are few and quick
    figures = write_figures(data, folder / "figures")
    html = page.render(data)
    write_atomic(folder / "index.html", html)
    write_atomic(folder / "README.md", card.render(data, for_card(figures)))
    write_atomic(folder / DATA_CARD, datacard.render(data))
    progress.say(f"  report: {folder / 'index.html'} ({len(html.encode()) / 1e6:.1f} MB)")
    names = [f"figures/{name}.{suffix}" for name, _ in figures for suffix in ("png", "svg")]
    return Result(["index.html", "README.md", DATA_CARD, *names], {"figures": len(figures)})
