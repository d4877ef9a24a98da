"""The quickstart student with and without its teacher, three seeds; goes on from what its JSON already holds.

    python benchmarks/quickstart.py

Writes benchmarks/results/quickstart.json.
"""

import argparse
from pathlib import Path

from study import add, stored, train

RESULTS = Path(__file__).parent / "results" / "quickstart.json"
SEEDS = (0, 1, 2)


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=["l2d", "vanilla"], help="so that two processes can share")
    arguments = parser.parse_args()
    for seed in SEEDS:
        for method in arguments.methods:
            done = {(row["seed"], row["method"]) for row in stored(RESULTS)["rows"]}
            if (seed, method) in done:
                continue
            command = ["mlkdc", "distill", "--recipe", "quickstart", "--set", f"seed={seed}"]
            command += ["--set", "distill.method=vanilla"] if method == "vanilla" else []
            facts = train(command, Path(f"runs/quickstart-study/{method}-seed{seed}"), {})
            add(RESULTS, {"student": facts["model"]["model"], "method": method, "seed": seed, **facts})


if __name__ == "__main__":
    main()
