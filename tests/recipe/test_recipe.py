"""Recipes: every shipped one loads, every fault is reported at once by key."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mlkdc.commands.check import check_recipe
from mlkdc.errors import RecipeError, UsageError
from mlkdc.recipe import Recipe, apply_settings, load_recipe, make_recipe, read_yaml, shipped_recipes
from mlkdc.resources import shipped


def test_every_yaml_file_is_found() -> None:
    root = shipped("recipes")
    hidden = {*root.rglob("_*/*.yaml"), *root.rglob("_*.yaml")}
    files = set(root.rglob("*.yaml")) - hidden
    assert set(shipped_recipes().values()) == files
    assert len(files) >= 50
    assert shipped_recipes()["paper/l2d-table1/swin_s-swin_t"].is_file()


def test_every_student_has_every_method_and_one_head() -> None:
    for method in ("vanilla", "l2d", "mdkd", "mskd"):
        for name, model in (("mobilenet", "mobilenetv2"), ("repvgg", "repvgg_a0"), ("shufflenet", "shufflenetv2_x1_0")):
            recipe = load_recipe(f"{method}-{name}")
            assert recipe.distill.method == method
            assert (recipe.student.model, recipe.student.head.kind) == (model, "attention")
            assert (recipe.teacher is None) == (method in ("vanilla", "mskd"))


def test_mdkd_and_mskd_recipes_are_the_papers() -> None:
    recipe = load_recipe("mdkd-mobilenet")
    train = recipe.train
    assert (train.optimizer, train.lr, train.batch_size, train.epochs) == ("adam", 1.5e-4, 32, 110)
    assert (train.schedule, train.weight_decay, recipe.data.image_size) == ("cosine", 1e-4, 224)
    assert (recipe.data.augment.flip, recipe.data.augment.cutout, recipe.data.augment.randaugment) == (True, 0.5, False)
    assert recipe.teacher
    assert recipe.teacher.model == "resnet101"
    recipe = load_recipe("mskd-mobilenet")
    train = recipe.train
    assert (train.optimizer, train.lr, train.batch_size, train.epochs) == ("sgd", 0.01, 64, 80)
    assert (train.schedule, train.weight_decay, train.momentum) == ("cosine", 5e-4, 0.9)
    assert recipe.data.augment.randaugment


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_is_valid_and_reads_back(name: str) -> None:
    recipe = load_recipe(name)
    check_recipe(recipe)
    assert recipe.description
    again = make_recipe(yaml.safe_load(recipe.to_yaml()), name)
    assert again == recipe
    assert again.hash() == recipe.hash()


def test_l2d_recipe_is_the_papers() -> None:
    recipe = load_recipe("l2d-mobilenet")
    train = recipe.train
    assert (train.optimizer, train.lr, train.batch_size, train.epochs) == ("adam", 1e-4, 64, 80)
    assert (train.schedule, train.weight_decay, recipe.data.image_size) == ("onecycle", 1e-4, 224)
    assert recipe.data.augment.randaugment
    assert recipe.data.augment.cutout == 0.5
    assert recipe.teacher
    assert recipe.teacher.train.stop_after == 30


def test_a_share_of_null_takes_back_what_a_recipe_holds() -> None:
    held = load_recipe("short/l2d-mobilenet").distill.balance
    assert set(held) == {"cd", "id"}
    assert load_recipe("short/l2d-mobilenet", ["distill.balance.cd=null"]).distill.balance == {"id": held["id"]}
    assert load_recipe("short/l2d-mobilenet", ["distill.balance={cd: null, id: null}"]).distill.balance == {}
    with pytest.raises(RecipeError, match=r"distill\.balance: input should be a valid dictionary"):
        load_recipe("short/l2d-mobilenet", ["distill.balance=null"])


def test_all_unknown_keys_are_reported_at_once_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quickstart", ["train.epoch=3", "studnet.model=x", "data.augment.flop=true", "train.lr=fast"])
    message = str(caught.value)
    assert "4 faults" in message
    for fault in ("train.epoch: unknown key; did you mean epochs", "studnet: unknown key; did you mean student"):
        assert fault in message
    assert "data.augment.flop: unknown key; did you mean flip" in message
    assert "train.lr: input should be a valid number" in message
    assert "'fast'" in message


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("teacher.head.dropot=0.2", "teacher.head.dropot: unknown key; did you mean dropout?"),
        ("teacher.train.epoch=3", "teacher.train.epoch: unknown key; did you mean epochs?"),
        ("data.zzz=true", "data.zzz: unknown key; valid: allow_unseen, augment, digits_images, fit, image_size"),
        ("export.max_fall=2", "export.max_fall: unknown key; did you mean max_drop"),
        ("seed=4294967296", "seed: input should be less than or equal to 4294967295"),
        ("data.augment.seed=4294967296", "data.augment.seed: input should be less than or equal to 4294967295"),
        ("teacher.seed=4294967296", "teacher.seed: input should be less than or equal to 4294967295"),
        ("distill.terms.mld=heavy", "distill.terms.mld: input should be a valid number"),
        ("export.max_drop=200", "export.max_drop: input should be less than or equal to 100, got 200"),
        ("export.max_drop=.nan", "export.max_drop: input should be a finite number, got nan"),
        ("export.max_class_drop=.inf", "export.max_class_drop: input should be a finite number, got inf"),
        ("bench.threads=[0]", "bench.threads.0: input should be greater than or equal to 1, got 0"),
        ("bench.seconds=.inf", "bench.seconds: input should be a finite number, got inf"),
        ("train.lr=.inf", "train.lr: input should be a finite number, got inf"),
        ("distill.terms.mld=.nan", "distill.terms.mld: input should be a finite number, got nan"),
        ("student.weights_mean=[.inf,0,0]", "student.weights_mean.0: input should be a finite number, got inf"),
        ("student.width=1000", "student.width: input should be less than or equal to 10, got 1000"),
        ("student.weights_mean=[123.7,116.3,103.5]", "student.weights_mean: expected means of pixels in 0..1; divide"),
        ("student.weights_mean=[-0.1,0,0]", "student.weights_mean: expected means of pixels in 0..1"),
        ("student.weights_std=[0,0,0]", "student.weights_std: expected deviations above 0 and up to 1, of pixels in 0"),
        ("student.weights_std=[0.2,-0.2,0.2]", "student.weights_std: expected deviations above 0 and up to 1"),
        ("teacher.weights_std=[58.4,57.1,57.4]", "teacher.weights_std: expected deviations above 0 and up to 1"),
        ("data.train_splits=[train,train]", "data.train_splits: expected each split once, got ['train', 'train']"),
        ("data.separator=''", "data.separator: string should have at least 1 character, got ''"),
    ],
)
def test_a_mistyped_key_is_named_wherever_it_is(setting: str, fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quickstart", [setting])
    assert fault in str(caught.value)


def numbers_in(section: dict[str, Any], before: str = "") -> list[str]:
    """The keys of a JSON schema's numbers, as ``--set`` takes them: also those in lists and by name."""
    keys = []
    for name, field in section["properties"].items():
        for kind in field.get("anyOf", [field]):
            if reference := kind.get("$ref"):
                keys += numbers_in(SCHEMA["$defs"][reference.rpartition("/")[2]], f"{before}{name}.")
            elif kind.get("type") in NUMBERS:
                keys.append(f"{before}{name}=true")
            elif "items" in kind and kind["items"].get("type") in NUMBERS:
                keys.append(f"{before}{name}=[true]")
            elif "prefixItems" in kind:
                keys.append(f"{before}{name}=[0.5, true, 0.5]")
            elif kind.get("additionalProperties", {}).get("type") in NUMBERS:
                keys.append(f"{before}{name}.mld=true")
    return keys


SCHEMA = Recipe.model_json_schema()
NUMBERS = ("integer", "number")
KEYS_OF_NUMBERS = numbers_in(SCHEMA)


def test_every_kind_of_number_is_among_those_that_are_checked() -> None:
    listed = {"seed=true", "train.lr=true", "data.augment.views=true", "teacher.train.clip_grad=true"}
    inner = {"bench.threads=[true]", "student.weights_std=[0.5, true, 0.5]", "distill.terms.mld=true"}
    assert listed | inner | {"distill.balance.mld=true", "export.max_drop=true"} < set(KEYS_OF_NUMBERS)
    assert len(KEYS_OF_NUMBERS) > 60


@pytest.mark.parametrize("setting", KEYS_OF_NUMBERS)
def test_true_is_no_number(setting: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quickstart", [setting])
    (found,) = caught.value.faults
    assert found.startswith(setting.partition("=")[0])
    assert found.endswith(": expected a number, not true or false (YAML's yes, no, on, off), got True")


def test_yes_and_no_stay_what_they_are_where_they_belong() -> None:
    recipe = load_recipe("quickstart", ["data.augment.flip=no", "export.equalize=yes", "distill.options.asl.x=true"])
    assert (recipe.data.augment.flip, recipe.export.equalize) == (False, True)
    assert recipe.distill.options["asl"]["x"] is True
    # Text that YAML 1.1 does not take for a number, and whole numbers in the place of others.
    assert load_recipe("quickstart", ["train.lr=2e-1"]).train.lr == 0.2
    assert load_recipe("quickstart", ["train.lr=1", "train.epochs=3.0"]).train.epochs == 3
    with pytest.raises(ValidationError, match="expected a number"):
        recipe.train.epochs = True


def test_deviations_and_means_at_their_limits() -> None:
    settings = ["student.weights_mean=[0, 1, 0.5]", "student.weights_std=[1, 0.00392, 0.5]"]
    recipe = load_recipe("quickstart", [*settings, "data.train_splits=[val, train]"])
    assert recipe.student.weights_mean == (0, 1, 0.5)
    assert recipe.student.weights_std == (1, 0.00392, 0.5)
    assert recipe.data.train_splits == ["val", "train"]


def test_all_unknown_names_are_reported_at_once() -> None:
    settings = ["student.model=mobilnetv2", "teacher.model=resnet1o1", "distill.method=l3d", "targets=[onx]"]
    with pytest.raises(RecipeError) as caught:
        check_recipe(load_recipe("quickstart", settings))
    message = str(caught.value)
    for name in ("mobilenetv2", "resnet101", "l2d", "onnx"):
        assert f"did you mean {name}" in message or f" {name}" in message
    assert "4 faults" in message


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (["student.head.kind=linear"], "student.head.kind is linear, which has no label-wise embeddings"),
        (["teacher=null"], "the method 'l2d' needs a teacher: `--teacher MODEL`"),
        (["distill.method=ud", "student.head.dropout=0"], "ud compares draws of the head's dropout, which is 0"),
        (["distill.method=dlb", "train.batch_size=15"], "train.batch_size: expected an even number, as dlb repeats"),
        (
            ["distill.method=dlb", "train.batch_size=2", "data.image_size=32"],
            "train.batch_size: expected at least 4 for 2 equal parts",
        ),
        (["data.layout=coko"], "data.layout: unknown layout 'coko'; did you mean coco"),
        (["data.layout=digits", "data.path=photos"], "data.layout: unknown layout 'digits'"),
    ],
)
def test_what_a_training_would_refuse_is_not_valid(settings: list[str], fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe(load_recipe("quickstart", settings))
    (found,) = caught.value.faults
    assert found.startswith(fault)


def test_what_a_training_takes_is_valid() -> None:
    check_recipe(load_recipe("quickstart", ["distill.method=dlb", "train.batch_size=16"]))
    check_recipe(load_recipe("quickstart", ["distill.method=dlb", "train.batch_size=4", "data.image_size=32"]))
    check_recipe(load_recipe("quickstart", ["distill.method=dlb", "train.batch_size=2", "data.image_size=64"]))
    check_recipe(load_recipe("quickstart", ["distill.method=vanilla", "train.batch_size=15"]))
    check_recipe(load_recipe("quickstart", ["data.layout=digits"]))


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="l2d-mobilenet"):
        load_recipe("l2d-moblenet")


def test_a_changed_method_does_not_keep_the_weights_of_the_old_one() -> None:
    assert load_recipe("quickstart").distill.terms
    assert load_recipe("quickstart", ["distill.method=vanilla"]).distill.terms == {}
    assert load_recipe("quickstart", ["distill.method=mld", "distill.terms.mld=7"]).distill.terms == {"mld": 7}
    assert load_recipe("quickstart", ["distill.terms.mld=7"]).distill.terms["cd"]


def test_a_file_that_changes_the_method_of_what_it_extends_does_not_keep_its_terms(tmp_path: Path) -> None:
    (tmp_path / "changed.yaml").write_text("extends: quickstart\ndistill: {method: vanilla}\n", encoding="utf-8")
    recipe = load_recipe(tmp_path / "changed.yaml")
    assert recipe.distill.terms == {}
    assert recipe.distill.ramp == load_recipe("quickstart").distill.ramp


def test_paths_are_not_read_as_yaml() -> None:
    path = "/data/photos #1: trip"
    assert load_recipe("quickstart", overrides={"data": {"path": path}}).data.path == path


def test_settings_reach_into_sections_and_keep_the_rest() -> None:
    values = apply_settings({"train": {"epochs": 1, "lr": 1.0}}, ["train.epochs=20", "student.model=repvgg_a0"])
    assert values == {"train": {"epochs": 20, "lr": 1.0}, "student": {"model": "repvgg_a0"}}
    with pytest.raises(UsageError, match="key=value"):
        apply_settings({}, ["train.epochs"])


def test_extends_is_looked_up_next_to_the_file_and_among_the_shipped(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 3\ntrain: {epochs: 5, lr: 0.1}\n", encoding="utf-8")
    (tmp_path / "derived.yaml").write_text("extends: base\ntrain: {epochs: 7}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "derived.yaml") == {"seed": 3, "train": {"epochs": 7, "lr": 0.1}}
    (tmp_path / "other.yaml").write_text("extends: quickstart\nseed: 9\n", encoding="utf-8")
    assert load_recipe(tmp_path / "other.yaml").data.image_size == load_recipe("quickstart").data.image_size
    (tmp_path / "orphan.yaml").write_text("extends: nowhere\n", encoding="utf-8")
    with pytest.raises(UsageError, match="nowhere"):
        load_recipe(tmp_path / "orphan.yaml")
    (tmp_path / "a.yaml").write_text("extends: b\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("extends: a\n", encoding="utf-8")
    with pytest.raises(UsageError, match="extends"):
        load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("train: {epochs: 1}\nseed: 3\ntrain: {lr: 0.1}\n", "the key 'train' stands twice, in lines 1 and 3"),
        ("train:\n  lr: 0.1\n  lr: 0.2\n", "the key 'lr' stands twice, in lines 2 and 3"),
        ("", "is empty: expected a recipe"),
        ("# nothing yet\n", "is empty: expected a recipe"),
    ],
)
def test_a_file_that_would_lose_settings_is_refused(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=fault):
        load_recipe(tmp_path / "mine.yaml")


def test_settings_that_are_merged_may_be_given_again(tmp_path: Path) -> None:
    text = "student: &net {width: 0.5, weights: none}\nteacher: {<<: *net, <<: *net, width: 1.0}\n"
    (tmp_path / "merged.yaml").write_text(text, encoding="utf-8")
    recipe = load_recipe(tmp_path / "merged.yaml")
    assert recipe.teacher is not None
    assert (recipe.teacher.weights, recipe.teacher.width, recipe.student.width) == ("none", 1.0, 0.5)


def test_a_width_that_a_model_does_not_have_is_a_fault_of_the_recipe() -> None:
    settings = ["student.model=resnet18", "student.width=0.5", "teacher.width=2", "teacher.model=resnet1o1"]
    with pytest.raises(RecipeError) as caught:
        check_recipe(load_recipe("quickstart", settings))
    assert caught.value.faults[0].startswith("student.width 0.5: resnet18 has no channel multiplier")
    assert caught.value.faults[1].startswith("teacher.model: ")


def test_not_yaml_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("train: [1, 2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is not YAML"):
        load_recipe(tmp_path / "bad.yaml")
    (tmp_path / "deep.yaml").write_text("train: " + "[" * 3000, encoding="utf-8")
    with pytest.raises(UsageError, match=r"deep\.yaml is not YAML"):
        load_recipe(tmp_path / "deep.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="expected a mapping"):
        load_recipe(tmp_path / "list.yaml")
