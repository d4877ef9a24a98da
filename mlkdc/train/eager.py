"""Times the run's torch model in eager mode, in a separate process: the baseline row of `mlkdc bench`."""

import argparse
from pathlib import Path

import torch

from mlkdc.records.bench import Timing
from mlkdc.records.run import load_run
from mlkdc.runtime.timing import measure
from mlkdc.train.score import load_model


def main() -> None:
    """``python -m mlkdc.train.eager RUN --runs N --threads N``: a :class:`Timing` as one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(time_run(arguments.run, arguments.runs).model_dump_json())


def time_run(path: Path, runs: int) -> Timing:
    """Latency of the run's model on one image of noise; ``runs`` timed calls."""
    run = load_run(path)
    model = load_model(run)
    size = run.recipe.data.image_size
    image = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0)).float()
    with torch.inference_mode():
        return measure(lambda: model(image).sigmoid(), runs=runs)


if __name__ == "__main__":
    main()
