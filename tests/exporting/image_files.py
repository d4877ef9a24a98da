"""Images as people have them."""

import struct

import numpy as np
from PIL import ImageCms


def noise(width, height, channels=3):
    """Blocks of 30 pixels, so that some structure is left in the square."""
    blocks = np.random.default_rng(3).integers(0, 256, (-(-height // 30), -(-width // 30), channels), dtype=np.uint8)
    return blocks.repeat(30, 0).repeat(30, 1)[:height, :width]


def display_p3():
    """The profile of an iPhone's photos: Pillow's of sRGB, with other primaries."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green, blue = (0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)
    for tag, primary in ((b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue)):
        (offset,) = struct.unpack_from(">I", profile, profile.index(tag) + 4)
        struct.pack_into(">3i", profile, offset + 8, *(round(65536 * value) for value in primary))
    return bytes(profile)
