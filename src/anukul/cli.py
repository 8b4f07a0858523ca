"""The command line: one command per step. Nothing heavy is imported before a command runs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anukul.errors import UserError

if TYPE_CHECKING:
    from anukul.config import RunConfig

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Adapt an open LLM to a low-resource language on one GPU; say honestly what it learned and forgot.",
)

ConfigFile = Annotated[Path, typer.Argument(help="the run.yaml", metavar="RUN.YAML")]
Override = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", help="override: train.stages.0.epochs=2", metavar="KEY=VALUE"),
]
RunFolder = Annotated[Path | None, typer.Option("--run", help="the run folder; default: runs/NAME")]
Redo = Annotated[bool, typer.Option("--redo", help="discard what this step made before, and make it anew")]


def prepare(path: Path, overrides: list[str] | None, run: Path | None) -> "tuple[RunConfig, Path]":
    """Load and check a config; build its world if it has one; return it with its run folder."""
    from anukul import configfile
    from anukul.config import resolve

    config = configfile.load(path, overrides or ())
    if config.world is not None:
        from anukul.worldbase import build_world

        config = configfile.load(path, overrides or (), world=str(build_world(config.world)))
    configfile.check_files(path, config)
    return config, resolve(run or Path("runs") / config.name)


@app.command()
def init(
    config_file: Annotated[Path, typer.Argument(help="the run.yaml to write", metavar="RUN.YAML")],
    language: Annotated[str, typer.Option(help="FLORES-200 code of the language to learn")],
    base: Annotated[str, typer.Option(help="Hugging Face folder or hub name of the base")],
) -> None:
    """Write a commented run.yaml to start from."""
    from importlib import resources

    from anukul.languages import load
    from anukul.rundir import write_atomic

    if config_file.exists():
        raise UserError(f"{config_file}: exists already; name another file or remove it")
    text = resources.files("anukul").joinpath("configs", "template.yaml").read_text(encoding="utf-8")
    for word, value in (("NAME", config_file.stem), ("LANGUAGE", load(language).code), ("BASE", base)):
        text = text.replace(word, value)
    write_atomic(config_file, text)
    typer.echo(f"{config_file}: written; edit its paths, then: anukul plan {config_file}")


@app.command("run")
def run_all(
    config_file: ConfigFile,
    overrides: Override = None,
    run: RunFolder = None,
    redo: Annotated[list[str] | None, typer.Option(help="discard this step first", metavar="STEP")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="redo from this step on", metavar="STEP")
    ] = None,
) -> None:
    """Run every step of a config; what stands is kept, what was killed goes on."""
    from anukul import pipeline

    for step in [*(redo or []), *([start] if start else [])]:
        if step not in pipeline.STEPS:
            raise UserError(f"'{step}' is no step; the steps are {', '.join(pipeline.STEPS)}")
    config, root = prepare(config_file, overrides, run)
    pipeline.run_steps(config, config_file.read_text("utf-8"), root, pipeline.STEPS, tuple(redo or ()), start)
    typer.echo(root / "report" / "index.html")


def _one_step(
    step: str, config_file: Path, overrides: list[str] | None, run: Path | None, redo: bool
) -> None:
    from anukul import pipeline

    config, root = prepare(config_file, overrides, run)
    pipeline.run_steps(config, config_file.read_text("utf-8"), root, (step,), (step,) if redo else ())


@app.command()
def corpus(
    config_file: ConfigFile, overrides: Override = None, run: RunFolder = None, redo: Redo = False
) -> None:
    """Read text, normalise, check the language, drop duplicates."""
    _one_step("corpus", config_file, overrides, run, redo)


@app.command()
def synth(
    config_file: ConfigFile, overrides: Override = None, run: RunFolder = None, redo: Redo = False
) -> None:
    """Make the bilingual pairs and the instruction rows."""
    _one_step("synth", config_file, overrides, run, redo)


@app.command()
def train(
    config_file: ConfigFile, overrides: Override = None, run: RunFolder = None, redo: Redo = False
) -> None:
    """Train the stages in order, one adapter carried through."""
    _one_step("train", config_file, overrides, run, redo)


@app.command()
def evaluate(
    config_file: ConfigFile, overrides: Override = None, run: RunFolder = None, redo: Redo = False
) -> None:
    """Score base and adapted on the same items."""
    _one_step("evaluate", config_file, overrides, run, redo)


@app.command()
def probe(
    config_file: ConfigFile, overrides: Override = None, run: RunFolder = None, redo: Redo = False
) -> None:
    """Find the attention heads that resolve the grammar."""
    _one_step("probe", config_file, overrides, run, redo)


@app.command()
def report(
    config_file: ConfigFile, overrides: Override = None, run: RunFolder = None, redo: Redo = False
) -> None:
    """Write the HTML report and the model card."""
    _one_step("report", config_file, overrides, run, redo)


@app.command()
def plan(
    config_file: ConfigFile,
    overrides: Override = None,
    throughput: Annotated[
        float | None, typer.Option(help="tokens/s to count hours with; default: the config's GPU class")
    ] = None,
) -> None:
    """Say what a run will cost, without weights or network: parameters, memory, tokens, hours."""
    from anukul import configfile
    from anukul.plan import print_plan

    print_plan(configfile.load(config_file, overrides or ()), throughput)


@app.command()
def demo(
    run: Annotated[Path, typer.Option("--run", help="the run folder")] = Path("runs/demo"),
) -> None:
    """Run the whole road on the embedded world, with and without replay, and write the report."""
    from anukul.demo import run_demo

    typer.echo(run_demo(run))


def main() -> None:
    """Run the command line: a user's error is one clear line and exit code 2."""
    try:
        app(standalone_mode=False)
    except UserError as error:
        typer.echo(f"anukul: {error}", err=True)
        sys.exit(2)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        typer.echo("anukul: interrupted; the same command goes on from here", err=True)
        sys.exit(130)
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
            typer.echo(f"anukul: {error.format_message()}", err=True)
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
