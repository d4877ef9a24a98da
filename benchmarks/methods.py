"""Every method against plain training, equal budget; goes on from what its JSON already holds.

    python benchmarks/methods.py quickstart
    python benchmarks/methods.py digits
    python benchmarks/methods.py corel5k --data PHOTOS --weights WEIGHTS

`quickstart`: the README's student with and without its teacher, three seeds. `digits`: the embedded scenes, all
methods, about a minute a run on one core. `corel5k`: PHOTOS is a folder that `mlkdc data` understands, WEIGHTS
one with the ImageNet weights tf_efficientnet_lite0.safetensors and tf_efficientnet_lite2.safetensors. Writes
benchmarks/results/{quickstart,digits,corel5k}.json. Several processes can share a study: give each some of the
--methods.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study import add, stored, train

from mlkdc.methods import method_names

HERE = Path(os.path.relpath(Path(__file__).parent))
LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
ORDERS = ", ".join(f"{level}{order}: 32" for level in ("bd", "id") for order in (2, 3, 4))
L2D = "mld: 30, cd: 5, id: 5"
PHOTOS = "mld: 10, cd: 10, id: 10"

# Settings by the name of a row, where they are not the method's own. The reasons are in docs/results.md.
DIGITS = {
    "mld": ["distill.method=mld", "distill.terms={mld: 30}"],
    "mld, BCE / b": ["distill.method=mld", "distill.form=paper"],
    # With their own weights these outweigh the cross-entropy of so short a training.
    "mse, 1/30": ["distill.method=mse", "distill.terms={mse: 0.033}"],
    "mskd, rsd and ssd 1/10": ["distill.method=mskd", "distill.terms={rsd: 0.2, ssd: 0.2}"],
    "uskd, 1/10": ["distill.method=uskd", "distill.terms={uskd: 0.1}"],
    "mld+cd": ["distill.method=l2d", f"distill.terms={{{L2D.replace('id: 5', 'id: 0')}}}"],
    "mld+id": ["distill.method=l2d", f"distill.terms={{{L2D.replace('cd: 5', 'cd: 0')}}}"],
    "l2d": ["distill.method=l2d", f"distill.terms={{{L2D}}}"],
    "l2d+mdkd": ["distill.method=l2d", f"distill.terms={{{L2D}, {ORDERS}}}"],
    # Every image comes twice in an epoch: half as many epochs are as many steps.
    "dlb": ["distill.method=dlb", "train.epochs=2"],
    # It compares draws of the dropout, which the recipe has switched off.
    "ud": ["distill.method=ud", "student.head.dropout=0.1"],
}
COREL = {
    "mld": ["distill.method=mld"],
    "l2d": ["distill.method=l2d", f"distill.terms={{{PHOTOS}}}"],
    "l2d+mdkd": ["distill.method=l2d", f"distill.terms={{{PHOTOS}, {ORDERS}}}"],
}
COREL_METHODS = ("vanilla", "l2d", "mdkd", "mskd", "mld", "l2d+mdkd")


@dataclass(frozen=True)
class Row:
    """One training: which student and method, from which seed."""

    student: str
    method: str
    seed: int
    pretrained: bool
    command: list[str]

    @property
    def key(self) -> tuple[str, str, int]:
        """What names the row in the study."""
        return self.student, self.method, self.seed


def _settings(values: list[str]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def quickstart() -> Iterator[Row]:
    """The quickstart recipe and the same without a teacher."""
    for seed in (0, 1, 2):
        for name, settings in (("l2d", []), ("vanilla", ["distill.method=vanilla"])):
            command = ["mlkdc", "distill", "--recipe", "quickstart", *_settings([f"seed={seed}", *settings])]
            yield Row("mobilenetv2", name, seed, False, command)


def digits() -> Iterator[Row]:
    """All methods with MobileNetV2 and three seeds, and with a second student and one."""
    names = [*method_names(), *(name for name in DIGITS if name not in method_names())]
    for student, seed in (("mobilenetv2", 0), ("mobilenetv2", 1), ("shufflenetv2_x0_5", 0), ("mobilenetv2", 2)):
        for name in names:
            settings = DIGITS.get(name, [f"distill.method={name}"])
            own = [f"student.model={student}", f"seed={seed}"]
            command = ["mlkdc", "distill", "--recipe", str(HERE / "digits.yaml"), *_settings([*own, *settings])]
            yield Row(student, name, seed, False, command)


def corel5k(data: Path, weights: Path) -> Iterator[Row]:
    """The papers' three methods, and their sum, on real photos."""
    for name in COREL_METHODS:
        for student, seed in ((LITE0, 0), ("mobilenetv2", 0), (LITE0, 1)):
            pretrained = student == LITE0
            first = str(weights / f"{student}.safetensors") if pretrained else "none"
            own = [f"student.model={student}", f"student.weights={first}", f"seed={seed}"]
            own.append(f"teacher.weights={weights / f'{LITE2}.safetensors'}")
            settings = _settings([*own, *COREL.get(name, [f"distill.method={name}"])])
            command = ["mlkdc", "distill", "--recipe", str(HERE / "corel5k.yaml"), "--data", str(data), *settings]
            yield Row(student, name, seed, pretrained, command)


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["quickstart", "digits", "corel5k"])
    parser.add_argument("--data", type=Path, help="corel5k: the photos")
    parser.add_argument("--weights", type=Path, help="corel5k: the folder of ImageNet weights")
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--seeds", nargs="*", type=int, help="only these")
    parser.add_argument("--students", nargs="*", help="only these")
    given = parser.parse_args()
    if given.study == "corel5k" and not (given.data and given.weights):
        parser.error("corel5k needs --data and --weights")
    results = HERE / "results" / f"{given.study}.json"
    embedded = {"quickstart": quickstart, "digits": digits}
    rows = embedded[given.study]() if given.study in embedded else corel5k(given.data, given.weights)
    for row in rows:
        if (
            row.method not in (given.methods or [row.method])
            or row.seed not in (given.seeds if given.seeds is not None else [row.seed])
            or row.student not in (given.students or [row.student])
            or row.key in {(done["student"], done["method"], done["seed"]) for done in stored(results)["rows"]}
        ):
            continue
        name = f"{row.student}-{row.method}-seed{row.seed}".replace(", ", "-").replace(" ", "").replace("/", "-")
        shown = {str(given.data): "PHOTOS", str(given.weights): "WEIGHTS"} if given.data else {}
        facts = train(row.command, Path("runs") / given.study / name, shown)
        identity = {"student": row.student, "method": row.method, "seed": row.seed, "pretrained": row.pretrained}
        add(results, {**identity, **facts})


if __name__ == "__main__":
    main()
