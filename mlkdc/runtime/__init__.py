"""Running exported artifacts, without torch and training code, so that it works wherever they ship to."""

from mlkdc.records.manifest import Manifest
from mlkdc.runtime.session import Session, open_artifact, predict_files

__all__ = ["Manifest", "Session", "open_artifact", "predict_files"]
