"""benchmarks/losses.py at small sizes: every part measures, and the document can be written of it."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a script, on one thread as in benchmarks/losses.py."""
    import torch

    monkeypatch.syspath_prepend(ROOT / "tests" / "losses")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield import_module
    torch.set_num_threads(threads)


def test_the_stored_verdicts_follow_from_the_figures() -> None:
    study = import_module("losses_records").LossesStudy.load(RESULTS)
    assert import_module("losses").targets(study.led, study.mdkd, study.terms, study.steps) == study.targets


def test_a_missed_target_is_reported() -> None:
    render, losses = import_module("losses_render"), import_module("losses")
    text = "\n".join(
        render.targets([losses.promise("speed", "at least", 40, 10), losses.promise("b", "at most", 1, 1)])
    )
    assert "Missed: speed." in text
    assert "| speed | at least 40 | 10 | **missed** | 0.25 |" in text
    assert "| b | at most 1 | 1 | met | 1 |" in text


@pytest.mark.slow
def test_every_part_measures(scripts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    records, losses = scripts("losses_records"), scripts("losses")
    terms, mdkd, steps = scripts("losses_terms"), scripts("losses_mdkd"), scripts("losses_steps")
    sizes = records.Sizes(images=6, labels=5, dim=8, pooled=(8, 8))
    monkeypatch.setattr(terms, "PROBES", {"b q^2": (sizes, 6 * 5**2)})
    monkeypatch.setattr(mdkd, "IMAGES", 4)
    monkeypatch.setattr(steps, "SIZE", 32)
    monkeypatch.setattr(steps, "BATCH", 16)
    monkeypatch.setattr(steps, "TEACHER", "resnet10t")
    stored = records.LossesStudy.load(RESULTS)
    parts = {
        "led": terms.led(sizes, passes=2),
        "mdkd": mdkd.mdkd(6, (4, 5), passes=2),
        "terms": terms.every_term(sizes, 2, ["bce", "mld", "bd2", "reviewkd"]),
        "steps": steps.every_method(2, ["vanilla", "mld", "mskd"]),
    }
    study = stored.model_copy(update={**parts, "targets": losses.targets(*parts.values())})
    study = records.LossesStudy.model_validate(study.model_dump())
    assert study.led.difference < 1e-4
    assert [row.difference < 1e-5 for row in study.mdkd.enumeration] == [True, True]
    assert study.mdkd.extrapolated.paths == 6 * 5 + 6 * 5 * 4 + 6 * 5 * 4 * 3
    assert [term.loop_ms is None for term in study.terms] == [False, False, True, False]
    assert study.steps.of_method("mld").ratio_without_teacher is not None
    assert set(study.steps.of_method("mskd").source_fractions) == {"patches", "previous"}
    text = scripts("losses_render").document(study)
    for name in ("bce", "reviewkd", "mskd"):
        assert f"| `{name}` |" in text


def test_both_enumerations_give_the_same_loss(scripts: Any) -> None:
    import torch
    from losses_tools import draw_batch, only, with_gradient

    mdkd, sizes = scripts("losses_mdkd"), scripts("losses_records").Sizes(images=3, labels=5)
    batch = with_gradient(only(draw_batch(sizes), frozenset({"teacher.logits"})).map(mdkd.in_double))
    paths = {order: torch.tensor(list(mdkd.permutations(range(5), order))) for order in mdkd.ORDERS}
    assert mdkd._enumeration(batch, paths)() == pytest.approx(float(mdkd._enumeration(batch, None)()))
