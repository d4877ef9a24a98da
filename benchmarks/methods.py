"""Every method next to plain training, on an equal budget; resumes from what its JSON already holds.

    python benchmarks/methods.py quickstart
    python benchmarks/methods.py digits

`quickstart`: the README's student with and without its teacher, three seeds. `digits`: the embedded scenes, all
methods, about a minute a run on one core. Writes benchmarks/results/{quickstart,digits}.json. benchmarks/students.py
has real photos. Several processes can work on one study: give each some of the --methods.
"""

import argparse
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study import add, set_options, stored, train
from study_records import MethodsStudy, StudyData, Training

from mlkdc.losses import make_objective
from mlkdc.methods import load_method, method_names
from mlkdc.records.run import Run

HERE = Path(os.path.relpath(Path(__file__).parent))
MDKD = "bd2: 32, bd3: 32, bd4: 32, id2: 32, id3: 32, id4: 32"
L2D = "mld: 30, cd: 5, id: 5"

# Settings by the name of a row, where they are not the method's defaults. The reasons are in docs/methods.md.
DIGITS = {
    "mld": ["distill.method=mld", "distill.terms={mld: 30}"],
    "mld, BCE / b": ["distill.method=mld", "distill.form=paper"],
    # With the default weight this outweighs the cross-entropy of so short a training.
    "mse, 1/30": ["distill.method=mse", "distill.terms={mse: 0.033}"],
    # The same holds for RSD, SSD and USKD.
    "mskd, rsd and ssd 1/10": ["distill.method=mskd", "distill.terms={rsd: 0.2, ssd: 0.2}"],
    "uskd, 1/10": ["distill.method=uskd", "distill.terms={uskd: 0.1}"],
    "mld+cd": ["distill.method=l2d", "distill.terms={mld: 30, cd: 5, id: 0}"],
    "mld+id": ["distill.method=l2d", "distill.terms={mld: 30, cd: 0, id: 5}"],
    "l2d": ["distill.method=l2d", f"distill.terms={{{L2D}}}"],
    "l2d+mdkd": ["distill.method=l2d", f"distill.terms={{{L2D}, {MDKD}}}"],
    # Every image comes twice in an epoch: half as many epochs are as many steps.
    "dlb": ["distill.method=dlb", "train.epochs=2"],
    # It compares draws of the dropout, which the recipe has switched off.
    "ud": ["distill.method=ud", "student.head.dropout=0.1"],
}
#: Compared on real photos only, by benchmarks/students.py.
ON_PHOTOS = {"hint"}


@dataclass(frozen=True)
class Row:
    """One training: which student and method, from which seed; ``command`` is without ``--out``."""

    student: str
    method: str
    seed: int
    command: list[str]

    @property
    def key(self) -> tuple[str, str, int]:
        """As of :class:`~study_records.Training`."""
        return self.student, self.method, self.seed

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        name = f"{self.student}-{self.method}-seed{self.seed}"
        return name.replace(", ", "-").replace(" ", "").replace("/", "-")


def quickstart() -> Iterator[Row]:
    """The quickstart recipe and the same without a teacher."""
    for seed in (0, 1, 2):
        for name, settings in (("l2d", []), ("vanilla", ["distill.method=vanilla"])):
            command = ["mlkdc", "distill", "--recipe", "quickstart", *set_options([f"seed={seed}", *settings])]
            yield Row("mobilenetv2", name, seed, command)


def digits() -> Iterator[Row]:
    """All methods with MobileNetV2 and three seeds, and with a second student and one seed."""
    names = [name for name in dict.fromkeys([*method_names(), *DIGITS]) if name not in ON_PHOTOS]
    for student, seed in (("mobilenetv2", 0), ("mobilenetv2", 1), ("shufflenetv2_x0_5", 0), ("mobilenetv2", 2)):
        for name in names:
            settings = [f"student.model={student}", f"seed={seed}"]
            settings += DIGITS.get(name, [f"distill.method={name}"])
            command = ["mlkdc", "distill", "--recipe", str(HERE / "digits.yaml"), *set_options(settings)]
            yield Row(student, name, seed, command)


def training(row: Row, run: Run, command: str) -> Training:
    """What the study keeps of a finished run."""
    results, distill = run.results, run.recipe.distill
    teacher = results.teacher
    if teacher is not None:
        # Where it lies is another path on every machine.
        teacher = teacher.model_copy(update={"run": Path(teacher.run).name})
    return Training(
        student=row.student,
        method=row.method,
        seed=row.seed,
        command=command,
        training_seconds=results.training_seconds,
        terms=make_objective(distill).weights,
        form=distill.form or load_method(distill.method).form,
        scored_on=results.scored_on,
        metrics=results.metrics,
        val_map_percent=tuple(epoch.val_map_percent for epoch in run.epochs),
        model=results.model,
        teacher=teacher,
        versions=results.versions,
        machine=results.machine,
        data=StudyData.of(results.data),
    )


def measure(row: Row, folder: Path) -> Training:
    """Train one row in a run folder, or resume it."""
    command = [*row.command, "--out", str(folder)]
    return training(row, train(command, folder), shlex.join(command))


STUDIES = {"quickstart": quickstart, "digits": digits}


def chosen(row: Row, options: argparse.Namespace) -> bool:
    """Whether the command line leaves this row in."""
    if options.methods and row.method not in options.methods:
        return False
    if options.students and row.student not in options.students:
        return False
    return options.seeds is None or row.seed in options.seeds


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--seeds", nargs="*", type=int, help="only these")
    parser.add_argument("--students", nargs="*", help="only these")
    options = parser.parse_args()
    results = HERE / "results" / f"{options.study}.json"
    for row in STUDIES[options.study]():
        # Read again for every row: another process may have trained it in the meantime.
        done = {finished.key for finished in stored(results, MethodsStudy).rows}
        if chosen(row, options) and row.key not in done:
            add(results, measure(row, Path("runs") / options.study / row.folder), MethodsStudy)


if __name__ == "__main__":
    main()
