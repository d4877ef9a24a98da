"""The commands as functions, where they join several layers.

Those that use an artifact or a finished run work without torch; the others import the making half when they are called.
"""
