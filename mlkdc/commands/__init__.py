"""The commands as functions, where they join several layers."""
