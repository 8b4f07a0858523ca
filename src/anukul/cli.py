"""The command line: one command per step. Nothing heavy is imported before a command runs."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anukul.disk import full_by, not_written
from anukul.errors import LostProcessError, UserError

if TYPE_CHECKING:
    from anukul.config import RunConfig

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Adapt an open LLM to a low-resource language on one GPU; say honestly what it learned and forgot.",
)

tokenizer_app = typer.Typer(no_args_is_help=True, help="Look at the base's tokenizer.")
app.add_typer(tokenizer_app, name="tokenizer")

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
    from anukul.rundir import StaleStepError

    config, root = prepare(config_file, overrides, run)
    try:
        pipeline.run_steps(config, config_file.read_text("utf-8"), root, (step,), (step,) if redo else ())
    except StaleStepError as stale:  # `anukul run` is told which step to redo; a step's own command knows
        raise UserError(stale.said("--redo")) from None


@app.command()
def corpus(
    config_file: Annotated[Path | None, typer.Argument(help="the run.yaml", metavar="RUN.YAML")] = None,
    overrides: Override = None,
    run: RunFolder = None,
    redo: Redo = False,
    estimate: Annotated[
        Path | None,
        typer.Option(
            help="only print thresholds of quality that this trusted text proposes", metavar="SAMPLE"
        ),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="with --estimate: FLORES-200 code; default: that of RUN.YAML")
    ] = None,
    quantile: Annotated[float, typer.Option(help="with --estimate: of the sample, that is kept")] = 0.995,
) -> None:
    """Read text, normalise, check language and quality, drop duplicates."""
    if estimate is not None:
        _estimate(estimate, config_file, overrides, language, quantile)
        return
    if language is not None or quantile != 0.995:
        raise UserError(
            "--language and --quantile go with --estimate; a run's language stands in its run.yaml"
        )
    if config_file is None:
        raise UserError("corpus: name the run.yaml, or a trusted text with --estimate")
    _one_step("corpus", config_file, overrides, run, redo)


def _estimate(
    sample: Path, config_file: Path | None, overrides: list[str] | None, code: str | None, quantile: float
) -> None:
    """Print what a trusted sample proposes; a language without a YAML is measured by its script alone."""
    from anukul import configfile, languages
    from anukul.corpus.estimate import as_yaml, read_sample
    from anukul.corpus.estimate import estimate as propose

    if config_file is not None and code is None:
        code = configfile.load(config_file, overrides or ()).language
    known = languages.load(code) if code in languages.available() else None
    typer.echo(as_yaml(propose(read_sample(sample), known, quantile), str(sample), known), nl=False)


@app.command()
def synth(
    config_file: ConfigFile,
    overrides: Override = None,
    run: RunFolder = None,
    redo: Redo = False,
    show: Annotated[
        int | None,
        typer.Option(help="print so many examples of every stage as the model will see them", min=1),
    ] = None,
    stage: Annotated[str | None, typer.Option(help="with --show: this stage alone")] = None,
) -> None:
    """Make the bilingual pairs and the instruction rows."""
    if stage is not None and show is None:
        raise UserError("--stage goes with --show")
    _one_step("synth", config_file, overrides, run, redo)
    if show is not None:
        from anukul.train.show import show_examples

        show_examples(*prepare(config_file, overrides, run), show, stage)


@app.command()
def train(
    config_file: ConfigFile,
    overrides: Override = None,
    run: RunFolder = None,
    redo: Redo = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="take 5 steps, keep nothing but what was measured")
    ] = False,
    stage: Annotated[str | None, typer.Option(help="with --dry-run: default: the first")] = None,
) -> None:
    """Train the stages in order, one adapter carried through."""
    if not dry_run and stage is not None:
        raise UserError("--stage goes with --dry-run; training takes the stages in their order")
    if dry_run and redo:
        raise UserError("--dry-run and --redo do not go together: a dry run discards nothing")
    if not dry_run:
        _one_step("train", config_file, overrides, run, redo)
        return
    config, root = prepare(config_file, overrides, run)
    from anukul.plan.tried import try_stage

    try_stage(config, root, stage)


@app.command()
def evaluate(
    config_file: ConfigFile, overrides: Override = None, run: RunFolder = None, redo: Redo = False
) -> None:
    """Score base and adapted on the same items."""
    _one_step("evaluate", config_file, overrides, run, redo)


@app.command()
def probe(
    config_file: ConfigFile,
    overrides: Override = None,
    run: RunFolder = None,
    redo: Redo = False,
    sentence: Annotated[
        str | None,
        typer.Option(help="a case study: look at this sentence only, in a trained run", metavar="TEXT"),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="its word that attends, the later one", metavar="WORD")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="the earlier word; WORD#2 for the second of equal ones", metavar="WORD")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="the head shown as arcs; default: that which changed most", metavar="L.H"),
    ] = None,
) -> None:
    """Find the attention heads that resolve the grammar; with --sentence, show one sentence."""
    from anukul import casestudies

    asked = casestudies.asked_case(sentence, query, key, head)
    if asked is None:
        _one_step("probe", config_file, overrides, run, redo)
        return
    if redo:
        raise UserError("--sentence and --redo do not go together: a case study discards nothing")
    config, root = prepare(config_file, overrides, run)
    typer.echo(casestudies.run_case(config, root, *asked))


@app.command()
def report(
    config_file: ConfigFile, overrides: Override = None, run: RunFolder = None, redo: Redo = False
) -> None:
    """Write the HTML report and the model card."""
    _one_step("report", config_file, overrides, run, redo)


@app.command()
def export(
    config_file: ConfigFile,
    to: Annotated[str, typer.Option("--to", help="merged, adapter, gguf or hub", metavar="KIND")],
    overrides: Override = None,
    run: RunFolder = None,
    redo: Redo = False,
    quantization: Annotated[
        str | None, typer.Option("--type", help="of a gguf file: bf16, f16 or q8_0; default: export.gguf")
    ] = None,
    what: Annotated[
        str, typer.Option(help="with --to hub: merged, adapter or gguf", metavar="KIND")
    ] = "merged",
    repo: Annotated[str | None, typer.Option(help="with --to hub: owner/name")] = None,
    public: Annotated[bool, typer.Option("--public", help="with --to hub: for all to see")] = False,
    push: Annotated[
        bool, typer.Option("--push", help="with --to hub: really send it; token in HF_TOKEN")
    ] = False,
) -> None:
    """Merge the adapter, write it as GGUF, or upload it; what comes back is checked first."""
    from anukul import exports

    kind = what if to == "hub" else to
    if kind not in exports.KINDS:
        raise UserError(f"'{kind}' cannot be exported to; there are {', '.join(exports.KINDS)} and --to hub")
    if to == "hub" and repo is None:
        raise UserError("--to hub needs --repo owner/name")
    more = [f"export.gguf={quantization}"] if quantization else []
    config, root = prepare(config_file, [*(overrides or []), *more], run)
    folder = exports.run_export(config, config_file.read_text("utf-8"), root, kind, redo)
    if repo is not None and to == "hub":
        typer.echo(exports.upload(config, root, kind, folder, repo, not public, push))
    else:
        typer.echo(folder)


@app.command()
def plan(
    config_file: ConfigFile,
    overrides: Override = None,
    run: RunFolder = None,
    throughput: Annotated[
        float | None,
        typer.Option(help="tokens/s of one GPU to count hours with; default: the last dry run's", min=1e-9),
    ] = None,
    gpus: Annotated[int, typer.Option(help="processes that share the work, one for each GPU", min=1)] = 1,
) -> None:
    """Say what a run will cost, without weights or network: parameters, memory, tokens, hours."""
    from anukul import configfile
    from anukul.config import resolve

    config = configfile.load(config_file, overrides or ())
    if config.world is not None:
        from anukul.worldbase import world_folder

        folder = world_folder(config.world)
        if not folder.exists():
            raise UserError(
                f"plan: the world of {config_file} is not built yet; `anukul corpus {config_file}` builds it and its "
                "base, in a few minutes"
            )
        config = configfile.load(config_file, overrides or (), world=str(folder))
    from anukul.plan import print_plan

    print_plan(config, throughput, resolve(run or Path("runs") / config.name), gpus)


@tokenizer_app.command("report")
def tokenizer_report(
    config_file: ConfigFile,
    overrides: Override = None,
    run: RunFolder = None,
    throughput: Annotated[
        float | None, typer.Option(help="tokens/s to count hours with; default: an 8B QLoRA on one RTX 4090")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say how the base's tokenizer cuts both languages, and whether more pieces are worth their cost."""
    import json

    from anukul import configfile
    from anukul.config import resolve
    from anukul.tokenizer.report import make_report, print_report

    config = configfile.load(config_file, overrides or ())
    report = make_report(config, resolve(run or Path("runs") / config.name), throughput)
    if as_json:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=False, indent=1))
    else:
        print_report(report, config, typer.echo)


@app.command()
def demo(
    run: Annotated[Path, typer.Option("--run", help="the run folder")] = Path("runs/demo"),
) -> None:
    """Run the whole road on the embedded world, with and without replay, and write the report."""
    from anukul.demo import run_demo

    typer.echo(run_demo(run))


def main() -> None:
    """Run the command line; under `accelerate launch` this process's part of it."""
    from anukul import launch

    sys.exit(launch.run(_guarded, partial(app, standalone_mode=False), sys.argv[1:]))


def _guarded(work: Callable[[], None]) -> int:
    """Do `work` and return the exit code: a user's error is one clear line and 2, and so is a full disk."""
    try:
        work()
    except UserError as error:
        typer.echo(f"anukul: {error}", err=True)
        return 2
    except LostProcessError as error:
        typer.echo(f"anukul: {error}", err=True)
        return 1
    except typer.Exit as stop:
        return stop.exit_code
    except KeyboardInterrupt:
        typer.echo("anukul: interrupted; the same command goes on from here", err=True)
        return 130
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
            typer.echo(f"anukul: {error.format_message()}", err=True)
            return 2
        number = full_by(error)
        if number is not None:  # outside of the steps, which name their folder
            typer.echo(f"anukul: {not_written(error, number, Path())}", err=True)
            return 2
        raise
    return 0


if __name__ == "__main__":
    main()
