"""Times the run's torch model in eager mode, in a process of its own: the baseline row of `mlkdc bench`."""

import argparse
import json
from pathlib import Path

import torch

from mlkdc.runtime.timing import measure
from mlkdc.train.runs import load_run


def main() -> None:
    """``python -m mlkdc.train.eager RUN --runs N --threads N``: one JSON line on standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    run = load_run(arguments.run)
    model = run.model()
    size = run.recipe.data.image_size
    image = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0)).float()
    with torch.inference_mode():
        figures = measure(lambda: model(image).sigmoid(), runs=arguments.runs)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
