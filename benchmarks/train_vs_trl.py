"""Training an adapter: anukul against TRL's SFTTrainer, the same examples in the same optimizer steps.

    python benchmarks/train_vs_trl.py [--steps 16] [--rank 32]       58 M Llama in NF4 on the CPU, under 10 minutes
    python benchmarks/train_vs_trl.py --gpu [--work FOLDER]          Llama-3-8B shape on one GPU; FOLDER takes 16 GB

Data are prompt and completion pairs shaped as those of the translation stage, the prompt not learnt: real parallel
text where ANUKUL_REAL_DATA names its folder, else the embedded world's. Both engines start from the same NF4 base with
random weights and the same adapter, and follow the same learning rates. Every optimizer step holds the same examples
for both, laid out as each likes: hence the losses must be the same up to rounding, and comparing the curves means
something. TRL runs packed (`bfd`, padding-free) and padded (examples of like length together), each with the batch and
the attention that are fastest for it on a sample; `group_by_length`, which chooses the examples of a step itself, is
sampled too, and run where it is the fastest. Each engine runs in a process of its own, so that its peak memory is its
own; the first step (on a GPU the first three) is not timed.

On a CPU TRL's loss works on every position, learnt or not. So its packed run is repeated with the loss of transformers'
Trainer in its place: no setting of TRL, but three lines of a subclass. Needs `pip install -e .[bench]`, on a GPU
`.[bench,liger]`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from training_setup import Job, smoothed

CHANGED = (
    "changed"  # TRL packed, its loss replaced: not TRL's own, hence not what is compared in the first place
)
WINDOW = 5  # steps over which the loss curves are smoothed
CONTEXTS = (2048, 4096)  # with --gpu


def in_process(job: Job) -> dict[str, Any]:
    """Do the job in a process of its own; an empty report where it fails, the reason having been printed."""
    command = [sys.executable, "-W", "ignore", __file__, "--job", json.dumps(asdict(job))]
    quiet = {
        "BITSANDBYTES_NOWELCOME": "1",
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | quiet)
    if done.returncode:
        print(
            f"  {job.engine} {job.task} {job.layout}: failed (exit {done.returncode}), not measured",
            flush=True,
        )
        return {}
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def do_job(job: Job) -> None:
    """Do one job; the last line printed is its report."""
    from training_engines import run, sample
    from training_setup import prepare

    report = {"prepare": prepare, "sample": sample, "run": run}[job.task](job)
    print(json.dumps(report), flush=True)


def fastest(job: Job, engine: str, layout: str) -> tuple[Job, float]:
    """The job with the settings that are fastest on a sample, and their learnt tokens per second (0: none works)."""
    job = replace(job, engine=engine, layout=layout)
    found = in_process(replace(job, task="sample"))
    if not found:
        return job, 0.0
    rate = float(found.pop("rate"))
    return replace(job, task="run", **found), rate


def compare(job: Job) -> dict[str, Any]:
    """Run both engines on one case, print what was seen, and return it."""
    made = in_process(replace(job, task="prepare"))
    if not made:
        return {}
    print(
        f"{job.base}, {job.quantization}, rank {job.rank}: {made['trainable']:,} trained on "
        f"{made['base_parameters']:,}; {job.data}, context {job.context}: {made['steps']} steps of "
        f"{job.batch_tokens:,} tokens at most, {made['examples']:,} examples, {made['tokens']:,} tokens, "
        f"{made['learnt']:,} learnt; rows {made['full']:.1%} full; "
        f"bf16 matrix rate {made['bf16_rate'] / 1e12:.2f} TFLOP/s",
        flush=True,
    )
    found, rate = fastest(job, "anukul", "packed")
    ours = in_process(found) if rate else {}
    if not ours:
        return {}
    tried = {layout: fastest(job, "trl", layout) for layout in ("packed", "padded", "grouped")}
    best = max(tried, key=lambda layout: tried[layout][1])
    wanted = ["packed", "padded"] + ["grouped"] * (best == "grouped")
    theirs = {layout: in_process(tried[layout][0]) for layout in wanted if tried[layout][1]}
    if theirs.get("packed") and not made["cuda"]:
        changed = replace(tried["packed"][0], loss="transformers")
        theirs[CHANGED] = in_process(changed)
    sampled = {layout: rate for layout, (_, rate) in tried.items()}
    report = {"job": asdict(job), "made": made, "anukul": ours, "trl": theirs, "trl_sampled": sampled}
    show(report)
    return report


def show(report: dict[str, Any]) -> None:
    """Print the comparison of one case."""
    job, made, ours = Job(**report["job"]), report["made"], report["anukul"]
    runs = {"anukul": ours} | {f"TRL {layout}": run for layout, run in report["trl"].items() if run}
    necessary = sum(made["flops"][job.warm_up :]) / made["bf16_rate"]
    for name, run in runs.items():
        told = f"{run['micro']} {'rows at once' if run['layout'] == 'packed' else 'parts of a step'}"
        if run["engine"] == "trl":
            told += f", {run['attention']}{', checkpointing' if run['checkpointing'] else ''}"
        told += ", compiled" if run["compile"] else ""
        if run["layout"] != "grouped":  # which puts other examples in its steps than the plan
            used = necessary / sum(run["seconds"][job.warm_up - 1 :])
            told += f"; necessary FLOPs at {used:.0%} of the matrix rate"
        rate, peak = learnt_rate(job, run), run["peak_mib"]
        print(f"  {name + ':':<13}{rate:10,.1f} learnt tokens/s, peak {peak:7,.0f} MiB ({told})")
    rivals = [name for name in runs if name not in ("anukul", f"TRL {CHANGED}")]
    if not rivals:
        return
    first = max(rivals, key=lambda name: learnt_rate(job, runs[name]))
    least = min(runs[name]["peak_mib"] for name in rivals)
    print(
        f"  learnt tokens/s, anukul to {first} (TRL's fastest): {ratio(job, ours, runs[first], made['cuda'])}"
    )
    print(
        f"  peak memory, anukul to {first}: {ours['peak_mib'] / runs[first]['peak_mib']:.2f}, "
        f"to TRL's least: {ours['peak_mib'] / least:.2f}"
    )
    if f"TRL {CHANGED}" in runs:
        more = ratio(job, ours, runs[f"TRL {CHANGED}"], made["cuda"])
        print(f"  the same to TRL packed with the loss of transformers' Trainer, by a subclass: {more}")
    for name in runs:
        if name != "anukul" and runs[name]["layout"] != "grouped":
            show_curves(name, ours["losses"], runs[name]["losses"])
    packed = report["trl"].get("packed")
    if packed:
        print(
            f"  rows of the packed layout: {packed['rows']:,}; TRL's own bfd makes {packed['own_rows']:,}",
            flush=True,
        )


def show_curves(name: str, ours: list[float], theirs: list[float]) -> None:
    """Print how far the two loss curves are from each other."""
    mine, other = smoothed(ours, WINDOW), smoothed(theirs, WINDOW)
    apart = [abs(a - b) for a, b in zip(mine, other, strict=True)]
    relative = max(gap / b for gap, b in zip(apart, other, strict=True))
    learnt = other[0] - other[-1]
    share = f", {max(apart) / learnt:.2%} of what was learnt" if learnt > 0.01 else ""
    print(
        f"  loss against {name}: from {ours[0]:.4f} to {ours[-1]:.4f}, theirs {theirs[0]:.4f} to {theirs[-1]:.4f}; "
        f"curves (mean of {WINDOW} steps) at most {relative:.3%} apart{share}"
    )


def learnt_rate(job: Job, run: dict[str, Any], clock: str = "seconds") -> float:
    """Learnt tokens per second, the first steps left out."""
    return float(sum(run["learnt"][job.warm_up :]) / sum(run[clock][job.warm_up - 1 :]))


def ratio(job: Job, ours: dict[str, Any], theirs: dict[str, Any], cuda: bool) -> str:
    """Our learnt tokens per second to theirs; on a CPU by processor time too, which other work changes less."""
    told = f"{learnt_rate(job, ours) / learnt_rate(job, theirs):.2f}x"
    if cuda:
        return told
    clock = "core_seconds"
    return (
        f"{told} ({learnt_rate(job, ours, clock) / learnt_rate(job, theirs, clock):.2f}x by processor time)"
    )


def least_memory(job: Job) -> dict[str, Any]:
    """Peak memory of one row at once with 8-bit optimizer states, rank 16 and 128."""
    report: dict[str, Any] = {}
    for rank in (16, 128):
        one = replace(
            job, rank=rank, batch_tokens=job.context, steps=4, micro=1,
            optimizer="adamw_8bit", quantization="nf4", lean=True, checkpointing=True,
        )  # fmt: skip
        if not in_process(replace(one, task="prepare")):
            continue
        runs = {engine: in_process(replace(one, task="run", engine=engine)) for engine in ("anukul", "trl")}
        told = [f"{engine} {run['peak_mib'] / 1024:.2f} GiB" for engine, run in runs.items() if run]
        print(f"least memory, context {one.context}, batch 1, rank {rank}: {', '.join(told)}", flush=True)
        report[f"rank {rank}"] = runs
    return report


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", action="store_true", help="the Llama-3-8B shape on one GPU")
    parser.add_argument(
        "--data", choices=("pairs", "text"), help="default: pairs; with --gpu text, all learnt"
    )
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rank", type=int, help="default: 32; with --gpu 128")
    parser.add_argument("--context", type=int, default=256, help="with --gpu: 2048 and 4096")
    parser.add_argument("--batch-tokens", type=int, help="default: 4096; with --gpu 16384")
    parser.add_argument("--learning-rate", type=float, help="default: 1e-3; with --gpu 1e-4")
    parser.add_argument("--work", type=Path, help="folder for the base; default: a temporary one")
    parser.add_argument("--output", type=Path, help="write all that was measured to this .json file")
    parser.add_argument(
        "--tiny", action="store_true", help=argparse.SUPPRESS
    )  # --gpu's code on a small shape
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        do_job(Job(**json.loads(options.job)))
        return
    reports: list[Any] = []
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        job = Job(
            task="prepare",
            folder=name,
            base="58m",
            data=options.data or ("text" if options.gpu else "pairs"),
            context=options.context,
            batch_tokens=options.batch_tokens or (16_384 if options.gpu else 4096),
            steps=options.steps,
            rank=options.rank or (128 if options.gpu else 32),
            learning_rate=options.learning_rate or (1e-4 if options.gpu else 1e-3),
        )
        if options.gpu:
            job = replace(job, base="tiny" if options.tiny else "llama-3-8b")
            contexts = (128, 256) if options.tiny else CONTEXTS
            for context in contexts:
                reports += [
                    compare(replace(job, context=context, quantization=kind)) for kind in ("nf4", "none")
                ]
            reports.append(least_memory(replace(job, context=contexts[0])))
        else:
            reports.append(compare(job))
    if options.output:
        options.output.write_text(json.dumps(reports), encoding="utf-8")


if __name__ == "__main__":
    main()
