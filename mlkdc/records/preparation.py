"""How an image becomes a model's input: what a model was made with, and what a manifest tells a stranger to do."""

from typing import Literal

from pydantic import Field
from typing_extensions import Self

from mlkdc.fit import RESIZE, Fit
from mlkdc.records.base import Record

TensorLayout = Literal["NCHW", "NHWC"]

#: In words, for whoever fills the input with other means.
ORDER: dict[TensorLayout, str] = {
    "NCHW": "[1, 3, rows, columns]: all of red, then all of green, then all of blue; rows from the top",
    "NHWC": "[1, rows, columns, 3]: red, green and blue of one pixel after another; rows from the top",
}


class Preprocess(Record):
    """What a model was made with: the square it takes, and the normalization that is its first operation.

    ``mean`` and ``std`` are in units of 0..1 pixels. Models take 0..255 RGB and normalize inside.
    """

    size: int
    fit: Fit = "stretch"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    resize: str = RESIZE["stretch"]
    color: str = "RGB"
    range: str = "0..255"


class Preparation(Record):
    """What is done to an image file outside of an exported model, in this order; nothing else is.

    Args:
        orientation: first of all.
        color: and then.
        color_profile: of the file, such as an iPhone's Display P3: the stored values are taken as they are.
        fit: the recipe's ``data.fit``.
        resize: the same in words.
        size: width and height of the square.
        antialiased: whether the filter widens where an image is reduced.
        range: of the pixels, which are whole numbers whatever their type.
        order: how the pixels lie in the input.
        normalization: done by the model.
    """

    orientation: Literal["upright, by the EXIF tag"] = "upright, by the EXIF tag"
    color: Literal["RGB"] = "RGB"
    color_profile: Literal["ignored"] = "ignored"
    fit: Fit = "stretch"
    resize: str = RESIZE["stretch"]
    size: int = Field(ge=1)
    antialiased: Literal[True] = True
    range: Literal["0..255"] = "0..255"
    order: str = ORDER["NCHW"]
    normalization: Literal["inside the model"] = "inside the model"

    @classmethod
    def of(cls, preprocess: Preprocess, layout: TensorLayout) -> Self:
        """For a model that was made like this and exported in that layout."""
        return cls(fit=preprocess.fit, resize=preprocess.resize, size=preprocess.size, order=ORDER[layout])


class InsideNote(Record):
    """The normalization that an exported model does itself, in units of 0..1 pixels."""

    note: Literal["for information: the model does this itself"] = "for information: the model does this itself"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
