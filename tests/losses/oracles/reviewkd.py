"""ReviewKD (Chen et al. 2021). The term's convolutions and normalizations are called; all between them is loops."""

import torch


def _nearest(maps, height, width):
    """The value at floor(position * old / new)."""
    _, _, old_height, old_width = maps.shape
    rows = []
    for y in range(height):
        row = [maps[:, :, y * old_height // height, x * old_width // width] for x in range(width)]
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def _mean_square(first, second):
    total = torch.zeros((), dtype=torch.float64)
    for a, b in zip(first.flatten(), second.flatten(), strict=True):
        total = total + (a - b) ** 2
    return total / first.numel()


def _grid(maps, side):
    """Averages over side x side cells; cell i reaches from floor(i h / side) to ceil((i + 1) h / side)."""
    _, _, height, width = maps.shape
    rows = []
    for i in range(side):
        row = []
        for j in range(side):
            top, bottom = i * height // side, -(-(i + 1) * height // side)
            left, right = j * width // side, -(-(j + 1) * width // side)
            row.append(maps[:, :, top:bottom, left:right].mean((2, 3)))
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def _context(first, second):
    """Hierarchical context loss."""
    losses = [(1.0, _mean_square(first, second))]
    for side, weight in zip(
        [side for side in (4, 2, 1) if side < min(first.shape[2:])], (0.5, 0.25, 0.125), strict=False
    ):
        losses.append((weight, _mean_square(_grid(first, side), _grid(second, side))))
    return sum(weight * loss for weight, loss in losses) / sum(weight for weight, _ in losses)


def reviewkd(batch, form, term):
    """From the coarsest pair of stages to the finest."""
    pairs = list(zip(reversed(batch.student.stages), reversed(batch.teacher.stages), strict=False))
    total, coarser = 0, None
    for layer, (student, teacher) in zip(term.layers, pairs, strict=True):
        fused = layer.narrow(student)
        if coarser is not None:
            coarser = _nearest(coarser, *student.shape[2:])
            attention = 1 / (1 + torch.exp(-layer.attention(torch.cat([fused, coarser], dim=1))))
            mixed = torch.empty_like(fused)
            for i in range(len(fused)):
                for y in range(fused.shape[2]):
                    for x in range(fused.shape[3]):
                        fine, coarse = attention[i, :, y, x]
                        mixed[i, :, y, x] = fine * fused[i, :, y, x] + coarse * coarser[i, :, y, x]
            fused = mixed
        coarser = _nearest(fused, *teacher.shape[2:])
        total = total + _context(layer.output(coarser), teacher)
    return total


ORACLES = {"reviewkd": reviewkd}
