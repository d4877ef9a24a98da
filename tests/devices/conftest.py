from phones import adb_server, android, phone, plug

__all__ = ["adb_server", "android", "phone", "plug"]
