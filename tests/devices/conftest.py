from phones import adb_server, android, phone, plug
from tiny_artifact import expected_fixture, images, make_artifact

__all__ = ["adb_server", "android", "expected_fixture", "images", "make_artifact", "phone", "plug"]
