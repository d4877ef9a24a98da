"""The ways in which an image becomes a square; :func:`mlkdc.images.square` follows them."""

from typing import Literal

Fit = Literal["stretch", "crop", "pad"]

#: In words, for whoever prepares images for an exported model with other means.
RESIZE: dict[Fit, str] = {
    "stretch": "bilinear, antialiased, aspect ratio not kept",
    "crop": "the central square, with the shorter side of the image; bilinear, antialiased",
    "pad": "longer side to the size, aspect ratio kept, centered on a square of gray (114, 114, 114); bilinear, "
    "antialiased",
}
