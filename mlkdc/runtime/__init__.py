"""Running exported artifacts, without torch and training code, so that it works wherever they ship to.

``mlkdc.runtime.predict`` is apart: it decodes images, for which a device that only runs arrays needs no Pillow.
"""

from mlkdc.runtime.session import Session, open_artifact

__all__ = ["Session", "open_artifact"]
