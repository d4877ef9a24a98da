"""Distill, re-parameterize, export and measure multi-label image models for devices.

Importing this package loads neither torch nor timm; each subpackage loads what it needs.
"""

__version__ = "0.1.0"
