"""Times the run's torch model in eager mode, in a separate process: the baseline row of `mlkdc bench`."""

import argparse
import time
from pathlib import Path

import torch

from mlkdc.agent.process import end_with_parent
from mlkdc.agent.worker import add_load_options, turn_json
from mlkdc.records.run import load_run
from mlkdc.runtime.conditions import Watch, cool_down
from mlkdc.runtime.timing import measure
from mlkdc.train.score import load_model


def main() -> None:
    """``RUN --threads N``, the command line of its process: a :class:`mlkdc.records.bench.Turn` as one JSON line."""
    end_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    add_load_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(time_run(options))


def time_run(options: argparse.Namespace) -> str:
    """Latency of the run's model on one image of noise, as :func:`turn_json` writes it."""
    cooled_seconds = cool_down(options.cool_to)
    start = time.perf_counter()
    run = load_run(options.run)
    model = load_model(run)
    load_ms = (time.perf_counter() - start) * 1000
    size = run.recipe.data.image_size
    image = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0)).float()
    watch = Watch(options.threads, cooled_seconds)
    with torch.inference_mode():
        timed = measure(lambda: model(image).sigmoid(), runs=options.runs, seconds=options.seconds)
    return turn_json(timed, load_ms, watch.read())
