"""The quickstart student with and without its teacher, three seeds; goes on from what its JSON already holds.

    python benchmarks/quickstart.py

Writes benchmarks/results/quickstart.json.
"""

from pathlib import Path

from study import add, stored, train

RESULTS = Path(__file__).parent / "results" / "quickstart.json"
SEEDS = (0, 1, 2)
PLAIN = ["--set", "distill.method=vanilla", "--set", "distill.weights={mld: 0, cd: 0, id: 0}"]


def main() -> None:
    """Train what is missing."""
    for seed in SEEDS:
        for method in ("l2d", "vanilla"):
            done = {(row["seed"], row["method"]) for row in stored(RESULTS)["rows"]}
            if (seed, method) in done:
                continue
            command = ["mlkdc", "distill", "--recipe", "quickstart", "--set", f"seed={seed}"]
            command += PLAIN if method == "vanilla" else []
            facts = train(command, Path(f"runs/quickstart-study/{method}-seed{seed}"), {})
            add(RESULTS, {"student": facts["model"]["model"], "method": method, "seed": seed, **facts})


if __name__ == "__main__":
    main()
