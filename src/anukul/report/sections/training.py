"""Training: loss, learning rate and speed on one axis of tokens, and what each stage did."""

from collections.abc import Callable

from anukul.report.blocks import Block, Figure, Grid, Prose, Section, Table, numeric, text
from anukul.report.data import Point, RunData, StageLog
from anukul.report.format import count, duration, number, percent
from anukul.report.svg import Axes, Dot, Line, chart

LEAD = (
    "How the adapter was trained, stage after stage; each stage goes on from the adapter of the one before."
)
MOST_POINTS = 200  # per stage in a chart; more are averaged


def section(data: RunData) -> Section:
    """Return the section."""
    if not data.stages:
        note = Prose("The config has no training section: nothing was trained in this run folder.", "note")
        return Section("training", "Training", LEAD, (note,))
    blocks: list[Block] = []
    missing = [stage.name for stage in data.stages if not stage.done]
    if missing:
        blocks.append(Prose(f"Not finished in this run folder: {', '.join(missing)}.", "warning"))
    logged = [stage for stage in data.stages if stage.points]
    if logged:
        blocks.append(loss_figure(data, logged))
        blocks.append(Grid((rate_figure(logged), speed_figure(logged))))
    blocks.append(stage_table(data))
    blocks.append(
        Prose(
            "Replay is text of the base language mixed into the training, so that the model keeps what it knew. "
            "“Reached” is the share of the tokens that were in fact replay.",
            "term",
        )
    )
    return Section("training", "Training", LEAD, tuple(blocks))


def thinned(points: tuple[Point, ...]) -> list[Point]:
    """Return at most MOST_POINTS points; a run of neighbours becomes its mean, at its last step."""
    size = -(-len(points) // MOST_POINTS)
    if size <= 1:
        return list(points)
    groups = [points[start : start + size] for start in range(0, len(points), size)]

    def mean(group: tuple[Point, ...], value: Callable[[Point], float | None]) -> float | None:
        known = [v for point in group if (v := value(point)) is not None]
        return sum(known) / len(known) if known else None

    return [
        Point(
            step=group[-1].step,
            tokens=group[-1].tokens,
            loss=mean(group, lambda p: p.loss),
            learning_rate=mean(group, lambda p: p.learning_rate),
            gradient_norm=mean(group, lambda p: p.gradient_norm),
            tokens_per_second=mean(group, lambda p: p.tokens_per_second),
            replay_loss_share=mean(group, lambda p: p.replay_loss_share),
        )
        for group in groups
    ]


def _regions(stages: list[StageLog], name: str | None = None) -> tuple[tuple[float, float, str], ...]:
    start, regions = 0.0, []
    for stage in stages:
        end = stage.points[-1].tokens
        regions.append((start, end, stage.name if name is None else name))
        start = end
    return tuple(regions)


def _lines(stages: list[StageLog], value: Callable[[Point], float | None]) -> list[Line]:
    lines = []
    for stage in stages:
        dots = [
            Dot(point.tokens, shown, None, None, _tip(stage, point))
            for point in thinned(stage.points)
            if (shown := value(point)) is not None
        ]
        if dots:
            lines.append(Line("adapted", tuple(dots)))
    return lines


def _tip(stage: StageLog, point: Point) -> str:
    return (
        f"{stage.name}, step {point.step:,} ({count(point.tokens)} tokens so far)\nloss {number(point.loss)} nats\n"
        f"learning rate {number(point.learning_rate)}, gradient norm {number(point.gradient_norm)}\n"
        f"{number(point.tokens_per_second)} tokens/s, replay {percent(point.replay_loss_share)} of learned tokens"
    )


def loss_figure(data: RunData, stages: list[StageLog]) -> Figure:
    """Return the loss of all stages over the tokens seen."""
    first, last = stages[0].points[0].loss, stages[-1].points[-1].loss
    axes = Axes(
        label=f"Training loss over tokens, from {number(first)} to {number(last)} nats per token",
        x_title="tokens seen, all stages",
        y_title="loss, nats per learned token",
        regions=_regions(stages),
        markers=False,
    )
    caption = (
        "Training loss: surprise per learned token, lower is better. Stages learn from different texts, so a jump "
        "between stages is a change of text, not of the model."
    )
    bad = sum(stage.bad_lines for stage in stages)
    if bad:
        caption += f" {bad} unreadable log lines were left out."
    return Figure(
        "Loss", chart(_lines(stages, lambda p: p.loss), axes), caption, "train/<stage>/metrics.jsonl: loss"
    )


def rate_figure(stages: list[StageLog]) -> Figure:
    """Return the learning rate over the tokens seen."""
    axes = Axes(
        "Learning rate over tokens", "tokens seen", "learning rate", 470, 190,
        regions=_regions(stages, ""), markers=False,
        margins=(22.0, 10.0, 38.0, 60.0), y_low=0.0,
    )  # fmt: skip
    drawing = chart(_lines(stages, lambda p: p.learning_rate), axes)
    return Figure(
        "Learning rate", drawing, "It warms up and decays anew in each stage.", "metrics.jsonl: learning_rate"
    )


def speed_figure(stages: list[StageLog]) -> Figure:
    """Return tokens per second over the tokens seen."""
    axes = Axes(
        "Tokens per second over tokens", "tokens seen", "tokens per second", 470, 190, regions=_regions(stages, ""),
        markers=False, margins=(22.0, 10.0, 38.0, 60.0), y_low=0.0,
    )  # fmt: skip
    drawing = chart(_lines(stages, lambda p: p.tokens_per_second), axes)
    return Figure("Speed", drawing, "Padding is not counted.", "metrics.jsonl: tokens_per_second")


def _ends(stage: StageLog) -> tuple[float | None, float | None]:
    """Return the mean loss of the first and of the last tenth of what was logged."""
    known = [point.loss for point in stage.points if point.loss is not None]
    if not known:
        return None, None
    size = max(1, len(known) // 10)
    return sum(known[:size]) / size, sum(known[-size:]) / size


def stage_table(data: RunData) -> Table:
    """Return one row per stage."""
    rows = []
    for stage in data.stages:
        where = f"train/{stage.name}/done.json: rows"
        first, last = _ends(stage)
        speeds = sorted(p.tokens_per_second for p in stage.points if p.tokens_per_second is not None)
        state = stage.format if stage.done else f"{stage.format} · not finished"
        rows.append(
            (
                text(stage.name, f"config.resolved.json: train.stages ({stage.name})", state),
                numeric(count(stage.rows.get("steps")), f"{where}.steps"),
                numeric(count(stage.rows.get("examples")), f"{where}.examples"),
                numeric(
                    count(stage.rows.get("tokens")),
                    f"{where}.tokens",
                    f"{count(stage.rows.get('loss_tokens'))} learned",
                ),
                numeric(
                    f"{number(first)} → {number(last)}",
                    f"train/{stage.name}/metrics.jsonl: loss, means of the first and last tenth",
                ),
                numeric(
                    percent(stage.replay_reached),
                    f"{where}.replay_tokens / {where}.tokens",
                    f"{percent(stage.replay_asked)} asked",
                ),
                numeric(
                    number(speeds[len(speeds) // 2] if speeds else None),
                    f"train/{stage.name}/metrics.jsonl: tokens_per_second, median",
                ),
                numeric(duration(stage.seconds), f"train/{stage.name}/done.json: seconds"),
            )
        )
    head = ("Stage", "Steps", "Examples", "Tokens", "Loss", "Replay reached", "Tokens/s", "Time")
    return Table("Stages", head, tuple(rows), "train/<stage>/done.json, metrics.jsonl")
