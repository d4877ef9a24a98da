"""The papers' tables: every row is a recipe, every figure is one of the paper's, every method is known."""

from pathlib import Path

import pytest

from mlkdc.commands.reproduce import load_table, table_names
from mlkdc.commands.reproduce.compare import TEACHER
from mlkdc.commands.reproduce.train import NOWHERE, _cells
from mlkdc.losses import Objective, make_objective
from mlkdc.recipe import Recipe, load_recipe, shipped_recipes
from mlkdc.train.checks import check_heads, check_names

pytestmark = pytest.mark.slow

OURS = {"mAP", "OF1@n", "CF1@n", "CP", "CR", "F1(CP,CR)", "OF1"}
TABLES = {name: load_table(name) for name in table_names()}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_are_the_recipes_of_the_folder(table) -> None:
    recipes = {name.rpartition("/")[2] for name in shipped_recipes() if name.startswith(f"{table.name}/")}
    assert set(table.rows) == recipes


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_figures_are_percentages_of_known_metrics_and_methods(table) -> None:
    assert all(ours in OURS or ours == f"AP({theirs})" for theirs, ours in table.metrics.items())
    for row in table.rows.values():
        assert set(row) - {TEACHER} == set(table.methods)
        for figures in row.values():
            assert len(figures) == len(table.metrics)
            assert all(figure is None or (37 < figure < 99 and round(figure, 2) == figure) for figure in figures)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_method_of_every_row_can_be_trained(table, tmp_path) -> None:
    for cell in _cells(table, "somewhere", [], 0, tmp_path):
        check_heads(cell.recipe, check_names(cell.recipe))
        assert cell.recipe.data.layout in ("coco", "voc", "nuswide", "mirflickr")


def objectives(name: str) -> dict[str, Objective]:
    """What each method of a table minimizes, as the recipes of its rows have it."""
    cells = _cells(TABLES[f"paper/{name}"], None, [], 0, Path())
    return {cell.method: make_objective(cell.recipe.distill) for cell in cells}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_losses_of_a_table_have_one_scale(table, tmp_path) -> None:
    """Adam's decay is part of the gradient, and SGD's rate belongs to one scale: other rows could not be compared."""
    expected = 64 if table.name.startswith("paper/l2d") else 1  # times the mean over images of the loss of the labels
    for cell in _cells(table, None, [], 0, tmp_path):
        objective = make_objective(cell.recipe.distill)
        images = {"paper": 1, "reference": cell.recipe.train.batch_size}
        # TF-KD and PS-KD use the labels in their terms too.
        scales = [
            weight * images[objective.terms[name].form]
            for name, weight in objective.weights.items()
            if name in ("bce", "tfkd", "pskd")
        ]
        assert sum(scales) == pytest.approx(expected), cell.method


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_mskd_is_the_printed_loss_over_the_batch(number: int) -> None:
    for objective in objectives(f"mskd-table{number}").values():
        sums = {name for name, term in objective.terms.items() if term.form != "paper"}
        assert sums <= {"ud"}  # which is a mean in its only form
        if {"lsd", "rsd", "ssd"} & set(objective.terms):
            printed = {"bce": 1, "lsd": 1.5, "rsd": 2, "ssd": 2}
            assert objective.weights == {name: printed[name] for name in objective.terms}


def test_ablations_of_mskd_reach_its_terms() -> None:
    rounds = {name: objective.terms["rsd"].options.rounds for name, objective in objectives("mskd-table4").items()}
    assert rounds == {"tau-1": 1, "tau-2": 2, "tau-3": 3}
    for name, objective in objectives("mskd-table3").items():
        used = set(name.removesuffix("-alpha").split("+"))
        for term in ("rsd", "ssd"):
            assert (term in objective.terms) == bool({term, "mskd"} & used)
            if term in objective.terms:
                assert objective.terms[term].options.softmax == name.endswith("-alpha")


# The release's, or the papers' for a mean: for L2D's tables times 64, L2D's for MDKD's divided by 32.
PEERS = {
    "l2d-table1": {
        "rkd": {"bce": 1, "rkd_d": 10 * 64, "rkd_a": 10},
        "pkt": {"bce": 1, "pkt": 30000 * 64},
        "reviewkd": {"bce": 1, "reviewkd": 64},
        "mse": {"bce": 1, "mse": 1},
        "ps": {"bce": 1, "ps": 10},
        "mld": {"bce": 1, "mld": 10},
        "l2d": {"bce": 1, "mld": 10, "cd": 100, "id": 1000},
    },
    "mdkd-table1": {
        "rkd": {"bce": 1, "rkd_d": 25, "rkd_a": 50},
        "pkt": {"bce": 1, "pkt": 30000},
        "reviewkd": {"bce": 1, "reviewkd": 1},
        "mse": {"bce": 1, "mse": 1},
        "ps": {"bce": 1, "ps": 10 / 32},
        "l2d": {"bce": 1 / 32, "mld": 10 / 32, "cd": 100 / 32, "id": 1000 / 32},
    },
}


@pytest.mark.parametrize("name", PEERS)
def test_peers_have_the_weights_of_the_scale(name: str) -> None:
    found = objectives(name)
    assert {peer: found[peer].weights for peer in PEERS[name]} == PEERS[name]
    assert found["reviewkd"].terms["reviewkd"].options.channels == 256
    assert not found["ps"].terms["ps"].options.normalized
    for term in ("cd", "id"):
        assert found["l2d"].terms[term].form == "reference"
    first = TABLES[f"paper/{name}"].methods
    for other, table in TABLES.items():
        if other.startswith(f"paper/{name.partition('-')[0]}"):
            settings = {peer: values for peer, values in table.methods.items() if peer in (*PEERS[name], "vanilla")}
            assert settings == {peer: first[peer] for peer in settings}


def test_classes_of_a_table_by_class_average_to_its_map() -> None:
    for name, least, most in (("paper/mdkd-table3", -0.006, 0.006), ("paper/l2d-table3", 0.5, 1.1)):
        for figures in TABLES[name].rows["resnet50-resnet18"].values():
            assert least < sum(figures[:20]) / 20 - figures[20] < most  # L2D's two figures do not agree


def test_a_plain_student_scores_the_same_whoever_would_have_taught_it() -> None:
    """The papers print a student's row once for each teacher."""
    for names in (("l2d-table1", "l2d-table2", "l2d-table4"), ("l2d-supplement-table3", "l2d-supplement-table4")):
        seen: dict[str, list[float | None]] = {}
        for name in names:
            for row, methods in TABLES[f"paper/{name}"].rows.items():
                student = row.partition("-")[2]
                assert seen.setdefault(student, methods["vanilla"]) == methods["vanilla"], row


# Read off the papers by eye, one in each table: table, row, method, figures.
BY_EYE = [
    ("l2d-table1", "wrn_101-wrn_50", "ps", [75.12, 76.05, 71.63]),
    ("l2d-table2", "swin_t-mobilenetv2", "l2d", [74.21, 75.72, 70.87]),
    ("l2d-table3", "resnet50-resnet18", "mse", [58.26, 68.02]),
    ("l2d-table4", "resnet101-resnet34", "mld+id", [71.79, 73.62, 68.43]),
    ("l2d-supplement-table1", "swin_t-mobilenetv2", "teacher", [59.73, 77.30, 65.44]),
    ("l2d-supplement-table2", "resnet34-resnet101", "l2d", [75.51, 76.25, 71.75]),
    ("l2d-supplement-table3", "resnet50-resnet18", "mld", [84.48, 84.07, 80.29]),
    ("l2d-supplement-table4", "resnet50-mobilenetv2", "pkt", [86.10, 84.84, 81.66]),
    ("mdkd-table1", "resnet56-resnet20", "mdkd", [73.37, 74.08, 68.29]),
    ("mdkd-table2", "vgg13-mobilenetv2", "teacher", [74.08, 75.05, 72.20]),
    ("mdkd-table3", "resnet50-resnet18", "mdkd", [59.96, 72.88]),
    ("mdkd-table4", "resnet101-resnet34", "up-to-6", [74.26, 74.79, 69.85]),
    ("mdkd-table5", "resnet34-resnet101", "vanilla", [73.02, 73.81, 68.24]),
    ("mskd-table1", "mobilenetv2", "ud", [80.89, 81.17, 68.27, 74.24, 76.51]),
    ("mskd-table2", "mirflickr-swin_t", "mskd", [81.77, 81.56, 70.20, 75.46, 83.48]),
    ("mskd-table3", "resnet34", "mskd", [86.83, 85.42, 74.98, 79.37, 80.29]),
    ("mskd-table4", "resnet34", "tau-3", [83.66, 85.85, 65.49, 74.33, 75.70]),
]


@pytest.mark.parametrize(("name", "row", "method", "figures"), BY_EYE, ids=[each[0] for each in BY_EYE])
def test_figures_are_those_printed(name: str, row: str, method: str, figures: list[float]) -> None:
    assert TABLES[f"paper/{name}"].rows[row][method][: len(figures)] == figures


def trained(recipe: Recipe) -> tuple:
    train = recipe.train
    return train.optimizer, train.schedule, train.lr, train.batch_size, train.epochs, train.weight_decay


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith("paper/")])
def test_rows_are_trained_as_their_papers_say(name: str) -> None:
    recipe = load_recipe(name)
    data, paper = recipe.data, name.removeprefix("paper/").partition("-")[0]
    assert data.path.startswith(NOWHERE)
    assert data.image_size == 224
    assert recipe.distill.method == paper
    assert data.train_splits == (["train", "val"] if data.layout in ("voc", "mirflickr") else ["train"])
    if paper == "mskd":
        coco = data.layout == "coco"
        assert trained(recipe) == ("sgd", "cosine", 0.1 if coco else 0.01, 128 if coco else 64, 80, 5e-4)
        assert (recipe.distill.form, recipe.distill.terms) == ("paper", {})
        assert (data.augment.randaugment, recipe.train.momentum, recipe.teacher) == (True, 0.9, None)
        return
    assert recipe.teacher
    assert recipe.student.head.kind == recipe.teacher.head.kind == "decoder"
    if paper == "mdkd":
        assert trained(recipe) == ("adam", "cosine", 1.5e-4, 32, 110, 1e-4)
        assert (data.augment.randaugment, data.augment.cutout) == (False, 0.5)
    else:
        assert trained(recipe) == ("adam", "onecycle", 1e-4, 64, 80, 1e-4)
        assert (data.augment.randaugment, recipe.teacher.train.stop_after) == (True, 30)
