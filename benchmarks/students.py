"""Students on real photos, next to a practitioner's fine-tuning; resumes from what its JSON already holds.

    OMP_NUM_THREADS=1 python benchmarks/students.py methods --photos corel5k=PHOTOS --weights WEIGHTS --seeds 0

PHOTOS is a folder with labels.csv (image, labels, split), WEIGHTS one with the ImageNet weights mobilenetv2_100,
tf_efficientnet_lite0 and tf_efficientnet_lite2 (.safetensors). Writes benchmarks/results/students.json. Two processes
with one thread each are faster than one with two; give each other --rows, and let the first that needs the teacher
train it alone. On two cores a row takes 2 to 40 minutes.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from student_records import Key, StudentRow, StudentsStudy
from study import add, call, set_options, stored, train, with_placeholders

from mlkdc.recipe import load_recipe
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "students.json"
MOBILENET, LITE0, LITE2 = "mobilenetv2", "tf_efficientnet_lite0", "tf_efficientnet_lite2"
FILES = {MOBILENET: "mobilenetv2_100", LITE0: LITE0}
REPVGG, SHUFFLENET = "repvgg_a0", "shufflenetv2_x1_0"

IMAGE_SIZE = 96
SEEDS = (0, 1, 2)
#: Epochs of the student and settings, by data set: about 1,600 steps each.
BUDGETS = {
    "corel5k": (20, []),
    "coco18": (6, ["train.epochs=6", "data.augment.views=6", "teacher.train.epochs=4"]),
}
#: The vanilla training that mlkdc did before the short recipes: the small decoder, and one rate for all.
OLD_DEFAULTS = [
    "student.head={kind: compact, bias: zero}",
    "train.lr=0.001",
    "train.backbone_lr=1",
    "train.weight_decay=0.01",
    "data.augment.views=null",
]
ALONE = ["distill.balance={cd: null, id: null}"]
PUBLISHED = [*ALONE, "distill.terms={mld: 10, cd: 100, id: 1000}", "distill.ramp=0"]
WITH_LABELS = [
    "distill.terms={mld: 2, hint: 40, cd: 5, id: 5}",
    "distill.balance={cd: 0.1, id: 0.1, hint: null}",
    "distill.ramp=0.3",
]
#: Recipe and settings by row. The methods have the weights that were published for them, but for the short recipes'.
METHODS = {
    "vanilla": ("short/vanilla-mobilenet", []),
    "l2d": ("short/l2d-mobilenet", []),
    # As the recipe was, and as L2D's release has it for another head.
    "l2d, weights alone": ("short/l2d-mobilenet", ALONE),
    "l2d, published weights": ("short/l2d-mobilenet", PUBLISHED),
    "hint": ("short/hint-mobilenet", []),
    # As the recipe was.
    "hint, weight alone": ("short/hint-mobilenet", ["distill.balance={hint: null}"]),
    "hint, cd and id": ("short/hint-mobilenet", WITH_LABELS),
    "mld": ("short/mld-mobilenet", []),
    "mdkd": ("short/l2d-mobilenet", ["distill.method=mdkd"]),
    "mld, BCE / b": ("short/l2d-mobilenet", ["distill.method=mld", "distill.form=paper"]),
    "rkd": ("short/l2d-mobilenet", ["distill.method=rkd"]),
    "reviewkd": ("short/l2d-mobilenet", ["distill.method=reviewkd"]),
    "mskd": ("short/vanilla-mobilenet", ["distill.method=mskd", "distill.form=paper"]),
    "old defaults": ("short/vanilla-mobilenet", OLD_DEFAULTS),
}
#: One seed: the teacher's feature maps are too large to be kept, MSKD's student answers for patches in every step, and
#: weights that fail by thirty points do so with any seed.
ONCE = {"reviewkd", "mskd", "l2d, published weights"}
#: Tried for an aim that is missed on one data set.
ALONE_ON = {"hint, cd and id": "corel5k"}
#: One setting of the short recipe of vanilla training changed, at 8 epochs.
ABLATION = {
    "linear head": ["student.head.kind=linear"],
    "compact head": ["student.head.kind=compact"],
    "bias from zero": ["student.head.bias=zero"],
    "one rate": ["train.backbone_lr=1"],
    "half the rate": ["train.lr=0.001"],
    # Of 8 epochs, which see new ones in the recipe.
    "each view twice": ["data.augment.views=4"],
    "averaged weights": ["train.ema=0.998"],
    "head first": ["train.head_first=0.1"],
    "asl": ["distill.base=asl"],
    "focal": ["distill.base=focal"],
    "two-way": ["distill.base=two-way"],
    "zlpr": ["distill.base=zlpr"],
    "smoothing 0.1": ["distill.options={bce: {smoothing: 0.1}}"],
    "positive weight 0.25": ["distill.options={bce: {positive_weight: 0.25}}"],
    "mixup 0.2": ["data.augment.mixup=0.2"],
    "cutmix 1": ["data.augment.cutmix=1"],
}


@dataclass(frozen=True)
class Planned:
    """One training that is not done yet: its key, and the command that does it."""

    key: Key
    command: list[str]

    @property
    def folder(self) -> Path:
        """Where it is trained."""
        return folder_of(self.key)


def folder_of(key: Key) -> Path:
    """A training's folder. Runs of one data set lie next to each other, so that they share their teacher."""
    photos, student, image_size, row, epochs, seed = key
    name = f"{student}-{image_size}-{row}-{epochs}-seed{seed}"
    for character in (", ", " / ", " "):
        name = name.replace(character, "-")
    return Path("runs") / "students" / photos / name


def plain(photos: str, data: str, weights: str, epochs: int, seed: int, student: str = MOBILENET) -> Planned:
    """benchmarks/plain.py, which takes its output folder before what differs from MobileNetV2."""
    file = f"{weights}/{FILES[student]}.safetensors" if student in FILES else "none"
    key = (photos, student, IMAGE_SIZE, "plain", epochs, seed)
    command = ["python", "benchmarks/plain.py", data, file, str(epochs), str(seed), str(folder_of(key))]
    if student != MOBILENET:
        rate = "6e-4" if student in FILES else "2e-3"
        command += [FILES.get(student, student), str(IMAGE_SIZE), rate]
    return Planned(key, command)


def distilled(photos: str, data: str, weights: str, row: str, seed: int, changes: list[str] | None = None) -> Planned:
    """A row of METHODS, or with ``changes`` another name for the vanilla recipe with these."""
    _, budget = BUDGETS[photos]
    recipe, settings = METHODS.get(row, METHODS["vanilla"])
    settings = [*budget, *settings, *(changes or [])]
    resolved = load_recipe(recipe, settings)
    student = resolved.student.model
    initial = "none"
    if student in FILES:
        initial = f"{weights}/{FILES[student]}.safetensors"
    settings += [f"student.weights={initial}", f"teacher.weights={weights}/{LITE2}.safetensors", f"seed={seed}"]
    if recipe == METHODS["vanilla"][0]:
        settings = [setting for setting in settings if not setting.startswith("teacher.")]
    key = (photos, student, resolved.data.image_size, row, resolved.train.epochs, seed)
    command = ["mlkdc", "distill", "--recipe", recipe, "--data", data, *set_options(settings)]
    return Planned(key, [*command, "--out", str(folder_of(key))])


def methods(photos: str, data: str, weights: str) -> Iterator[Planned]:
    """Every method, one budget, three seeds but for ``ONCE``."""
    rows = [row for row in METHODS if ALONE_ON.get(row, photos) == photos]
    for seed in SEEDS:
        yield plain(photos, data, weights, BUDGETS[photos][0], seed)
        for row in rows:
            if row not in ONCE or seed == SEEDS[0]:
                yield distilled(photos, data, weights, row, seed)


def budget(photos: str, data: str, weights: str) -> Iterator[Planned]:
    """Fewer epochs; the longest are among the methods."""
    for epochs in (3, 8):
        changes = [f"train.epochs={epochs}"]
        for seed in SEEDS:
            yield plain(photos, data, weights, epochs, seed)
            for row in ("vanilla", "hint"):
                yield distilled(photos, data, weights, row, seed, changes)


def students(photos: str, data: str, weights: str) -> Iterator[Planned]:
    """Other students, and our own recipe at a larger image; one seed."""
    for student in (LITE0, SHUFFLENET, REPVGG):
        settings = [f"student.model={student}"]
        if student not in FILES:
            # From random weights every layer has as much to learn.
            settings.append("train.backbone_lr=1")
        if student != SHUFFLENET:  # which timm does not have
            yield plain(photos, data, weights, BUDGETS[photos][0], SEEDS[0], student)
        for row in ("vanilla", "l2d", "hint"):
            yield distilled(photos, data, weights, row, SEEDS[0], settings)
    yield distilled(photos, data, weights, "hint", SEEDS[0], ["data.image_size=160"])


def ablation(photos: str, data: str, weights: str) -> Iterator[Planned]:
    """One change at a time, two seeds."""
    for seed in (0, 1):
        for row, settings in ABLATION.items():
            yield distilled(photos, data, weights, row, seed, ["train.epochs=8", *settings])


GROUPS = {"methods": methods, "budget": budget, "students": students, "ablation": ablation}


def measured(planned: Planned, placeholders: dict[str, str]) -> StudentRow:
    """Train one row, or resume it."""
    photos, student, image_size, row, epochs, seed = planned.key
    command = shown(planned.command, placeholders)
    if row != "plain":
        return StudentRow.of(photos, row, train(planned.command, planned.folder), command)
    scores = planned.folder / "scores.json"
    if not scores.is_file():
        call([Path(sys.executable).name, *planned.command[1:]])
    return StudentRow(
        photos=photos,
        student=student,
        image_size=image_size,
        row=row,
        epochs=epochs,
        seed=seed,
        command=command,
        map_percent=json.loads(scores.read_text(encoding="utf-8"))["map_percent"],
        versions=versions(("torch", "torchvision", "timm", "scikit-learn", "pillow")),
        machine=machine("cpu"),
    )


def shown(command: list[str], placeholders: dict[str, str]) -> str:
    """The command with words for this machine's paths."""
    return with_placeholders(shlex.join(command), placeholders)


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--photos", required=True, help="NAME=FOLDER, with NAME one of " + ", ".join(BUDGETS))
    parser.add_argument("--weights", required=True, help="the folder of ImageNet weights")
    parser.add_argument("--rows", nargs="*", help="only these")
    parser.add_argument("--seeds", nargs="*", type=int, help="only these")
    options = parser.parse_args()
    name, _, folder = options.photos.partition("=")
    placeholders = {folder: "PHOTOS", options.weights: "WEIGHTS"}
    for planned in GROUPS[options.group](name, folder, options.weights):
        row, seed = planned.key[3], planned.key[5]
        if (options.rows and row not in options.rows) or (options.seeds and seed not in options.seeds):
            continue
        # Read again for every row: another process may have trained it in the meantime.
        if planned.key not in {finished.key for finished in stored(RESULTS, StudentsStudy).rows}:
            add(RESULTS, measured(planned, placeholders), StudentsStudy)


if __name__ == "__main__":
    main()
