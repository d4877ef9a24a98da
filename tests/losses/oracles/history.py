"""PS-KD (Kim et al. 2021) and DLB (Shen et al. 2022), one Bernoulli distribution per label."""

import torch

from oracles.teacherfree import kl, next_to_bce, softened


def pskd(batch, form, term):
    images, labels = batch.targets.shape
    alpha = 0.8 * batch.progress
    total = 0.0
    for i in range(images):
        for k in range(labels):
            y = float(batch.targets[i, k])
            last = batch.last_epoch.logits[i, k].detach()
            soft = y if torch.isnan(last) else (1 - alpha) * y + alpha * softened(last, 1)
            p = softened(batch.student.logits[i, k], 1)
            total = total - soft * torch.log(p) - (1 - soft) * torch.log(1 - p)
    return next_to_bce(total / images, batch, form)


def dlb(batch, form, term):
    images, labels = batch.targets.shape
    total, repeated = 0.0, 0
    for i in range(images):
        last = batch.last_batch.logits[i].detach()
        if torch.isnan(last).any():
            continue
        repeated += 1
        for k in range(labels):
            total = total + 3**2 * kl(softened(last[k], 3), softened(batch.student.logits[i, k], 3))
    return next_to_bce(total / repeated if repeated else 0.0, batch, form)


ORACLES = {"pskd": pskd, "dlb": dlb}
