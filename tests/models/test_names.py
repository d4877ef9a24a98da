"""Short names are the same with and without the libraries, and need none of them."""

import subprocess
import sys

from mlkdc.model_names import ALIASES, CIFAR_NAMES, STUDENTS, short_names
from mlkdc.models import check_name, model_names
from mlkdc.models.cifar import CIFAR

HEAVY = ("torch", "torchvision", "timm")


def test_short_names_do_not_import_torch():
    code = f"import sys, mlkdc.model_names as names; names.short_names(); print(set(sys.modules) & set({HEAVY}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_short_names_come_first_and_are_all_valid():
    names = short_names()
    assert names == model_names()[: len(names)]
    assert len(set(names)) == len(names)
    assert names[: len(STUDENTS)] == list(STUDENTS)
    for name in [*names, *ALIASES.values()]:
        check_name(name)


def test_every_cifar_name_has_a_network():
    assert tuple(CIFAR) == CIFAR_NAMES
