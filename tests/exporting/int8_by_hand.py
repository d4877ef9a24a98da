"""Rounding to int8 written out, for tests of what rounds: it shares no code with it."""

import torch


def weights(w, most):
    """In steps of each output channel's largest weight."""
    step = w.abs().flatten(1).amax(1).view(-1, *[1] * (w.ndim - 1)) / most
    return torch.clamp(torch.round(w / step), -int(most), int(most)) * step


def inputs(rough, exact, clip):
    """Rounded in the steps that the exact values ask for."""
    lows, highs = exact.flatten(1).amin(1), exact.flatten(1).amax(1)
    low, high = (lows.mean(), highs.mean()) if clip else (lows.min(), highs.max())
    low, high = min(low.item(), 0.0), max(high.item(), 0.0)
    step = (high - low) / 255
    zero = round(-low / step)
    return (torch.clamp(torch.round(rough / step) + zero, 0, 255) - zero) * step
