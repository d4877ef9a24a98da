"""Running exported artefacts, without torch and training code, so that it works wherever they ship to."""

from mlkdc.runtime.manifest import Manifest
from mlkdc.runtime.session import Session, open_artefact, predict_files

__all__ = ["Manifest", "Session", "open_artefact", "predict_files"]
