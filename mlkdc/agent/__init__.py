"""The program that measures on a device: Python, NumPy and one runtime are all it needs.

It travels as one file (:mod:`mlkdc.devices.bootstrap`), is spoken to over a pipe, and leaves nothing behind.
"""
