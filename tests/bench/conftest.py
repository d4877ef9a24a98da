from tiny_artifact import expected_fixture, images, make_artifact

__all__ = ["expected_fixture", "images", "make_artifact"]
