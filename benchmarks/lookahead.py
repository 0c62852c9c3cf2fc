"""What a stream gains by waiting longer: quality over frames of look-ahead, each trained for the same short time.

    python benchmarks/lookahead.py STORE -o FOLDER --pairs PAIRS --metric-weights WEIGHTS
        [--lookahead 0 1 2 4 8] [--content-steps 1500] [--pitch-steps 500] [--converter-steps 300]

Content encoder and pitch tracker of each look-ahead are trained from nothing by recipes/release/streaming.yaml. The
built-in stream bundle lends its renderer and its converter, which look no frame ahead. The converter trains on with the
new content, without a discriminator and without pretrained judges. The result is exported and evaluated. Prints a
Markdown table. What is finished is kept in FOLDER, so a killed run continues.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fastvoicegrad.mel import MEL
from fastvoicegrad.stream.frontend import beyond
from fastvoicegrad.training.checkpoint import read_meta
from fastvoicegrad.training.loop import Trainer
from fastvoicegrad.training.recipe import overridden, read_yaml
from fastvoicegrad.training.tasks.registry import make_task

RECIPE = Path(__file__).parents[1] / "recipes" / "release" / "streaming.yaml"
COLUMNS = ("CER % Moonshine", "CAM++ target", "ECAPA target", "DistillMOS", "F0 correlation")


def cli(*arguments: object) -> None:
    """Run ``fastvoicegrad dev``."""
    subprocess.run([sys.executable, "-m", "fastvoicegrad", "dev", *map(str, arguments)], check=True)


def train(part: str, out: Path, steps: int, threads: int, settings: dict[str, object]) -> Path:
    """Train a part of the recipe, unless that is done; gives its checkpoint."""
    checkpoint = out / "last.safetensors"
    if not checkpoint.exists() or read_meta(checkpoint)["step"] < steps:
        loop = {"loop.steps": steps, "loop.threads": threads}
        changed = overridden(read_yaml(RECIPE), [f"{part}.{key}={value}" for key, value in (loop | settings).items()])
        task, recipe = make_task(part, changed)
        Trainer(task, out, recipe).run()
    return checkpoint


def trained(frames: int, out: Path, base: Path, arguments: argparse.Namespace) -> dict[str, Path]:
    """Checkpoints of a stream bundle with so many frames of look-ahead."""
    model = {"store": arguments.store, "model.lookahead": frames}
    threads = arguments.threads
    content = train("stream-content", out / "content", arguments.content_steps, threads, model)
    pitch = train("stream-pitch", out / "pitch", arguments.pitch_steps, threads, model)
    lent = base / "stream-converter.safetensors"
    given = {
        "data.store": arguments.store,
        "model": json.dumps(read_meta(lent)["model"]),
        "loop.start_from": lent,
        "train_content": "true",
        "content": content,
        "teacher": base / "student.safetensors",
        "vocoder": base / "vocoder.safetensors",
        **{f"weights.{name}": 0.0 for name in ("adv", "fm", "speaker", "recogniser")},
    }
    converter = train("stream-converter", out / "converter", arguments.converter_steps, threads, given)
    return {
        "content": converter,
        "pitch": pitch,
        "converter": converter,
        "renderer": base / "stream-renderer.safetensors",
    }


def measured(frames: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Means of the evaluation of one look-ahead."""
    out: Path = arguments.output / f"lookahead-{frames}"
    report = out / "report"
    if not (report / "report.json").exists():
        checkpoints = trained(frames, out, arguments.output / "base", arguments)
        options = [part for name, path in checkpoints.items() for part in (f"--{name}", path)]
        cli("export-stream", "-o", out / "bundle", "--recipe", RECIPE.parent / "export-stream.yaml", *options)
        judged = ["--pairs", arguments.pairs, "--metric-weights", arguments.metric_weights, "--no-speed"]
        cli("evaluate", f"stream=stream:{out / 'bundle'}", "-o", report, *judged)
    summary: dict[str, Any] = json.loads((report / "report.json").read_text())["summary"]["stream"]
    return {name: summary[name]["mean"] for name in COLUMNS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--metric-weights", type=Path, required=True)
    parser.add_argument("--lookahead", type=int, nargs="+", default=[0, 1, 2, 4, 8])
    parser.add_argument("--content-steps", type=int, default=1500)
    parser.add_argument("--pitch-steps", type=int, default=500)
    parser.add_argument("--converter-steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if not (arguments.output / "base" / "stream-renderer.safetensors").exists():
        cli("restore", "-o", arguments.output / "base")
        cli("restore-stream", "-o", arguments.output / "base")
    window = read_yaml(RECIPE)["stream-content"]["model"]["window"]
    rows = []
    for frames in arguments.lookahead:
        delay = 1e3 * (MEL.hop_length * (frames + 1) + beyond(window) - 1) / MEL.sample_rate
        means = measured(frames, arguments)
        rows.append(f"| {frames} | {delay:.1f} |" + "".join(f" {means[name]:.2f} |" for name in COLUMNS))
    head = "| look-ahead | delay ms |" + "".join(f" {name} |" for name in COLUMNS)
    text = "\n".join([head, "|---:" * (2 + len(COLUMNS)) + "|", *rows])
    (arguments.output / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
