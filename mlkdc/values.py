"""Values of a recipe: as YAML gives them, kinds of numbers, and what is said of others."""

from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

Split = TypeVar("Split", bound=str)
Triple = tuple[float, float, float]


def _no_bool(value: object) -> object:
    # pydantic takes true for 1, so that train.lr=yes would be a rate of 1.
    if isinstance(value, bool):
        raise PydanticCustomError("bool_for_number", "expected a number, not true or false (YAML's yes, no, on, off)")
    return value


#: An int and a float that true and false are none of.
Whole = Annotated[int, BeforeValidator(_no_bool)]
Number = Annotated[float, BeforeValidator(_no_bool)]

#: Percentage points of a drop.
Points = Annotated[Number, Field(ge=0, le=100)]
#: One that each term judges, and that may stand next to a bool.
AnyFloat = Annotated[float, Field(allow_inf_nan=True)]
LARGEST_SEED = 2**32 - 1  # that NumPy takes


def _means(values: Triple) -> Triple:
    if not all(0 <= value <= 1 for value in values):
        raise PydanticCustomError("pixel_scale", "expected means of pixels in 0..1; divide those of 0..255 by 255")
    return values


def _deviations(values: Triple) -> Triple:
    if not all(0 < value <= 1 for value in values):
        raise PydanticCustomError(
            "pixel_scale", "expected deviations above 0 and up to 1, of pixels in 0..1; divide those of 0..255 by 255"
        )
    return values


#: Of red, green and blue.
Means = Annotated[tuple[Number, Number, Number], AfterValidator(_means)]
Deviations = Annotated[tuple[Number, Number, Number], AfterValidator(_deviations)]


def once_each(splits: list[Split]) -> list[Split]:
    """Splits of which none is there twice: its images would be, too."""
    if len(set(splits)) < len(splits):
        raise PydanticCustomError("split_twice", "expected each split once")
    return splits


def load_yaml(text: str) -> Any:
    """Plain values from YAML in which a key stands once: of two, PyYAML drops the first without a word.

    Raises:
        yaml.YAMLError: it is not YAML, or a mapping has a key twice.
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            # Merges of other mappings may be repeated, and a key that is no word is refused by whoever reads it.
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in lines:
                raise yaml.YAMLError(f"the key {key.value!r} stands twice, in lines {lines[key.value]} and {line}")
            lines[key.value] = line
        return node
