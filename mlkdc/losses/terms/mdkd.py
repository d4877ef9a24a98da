"""Multi-order label pair dependencies (MDKD), Wang et al., ACM MM 2024: BD_n and ID_n without enumerating a path.

Let D (q x q) hold the teacher's order-2 dependencies minus the student's. Order n compares the means of D along all
simple paths of n labels. In [-1, 1] the Huber loss is a square, and the mean square over all paths needs three sums
over D only: of squares, of squared row sums, and the squared total, because two edges of a path are the same, share a
label, or do not touch.

With delta = p_T - p_S and sigma = p_T + p_S of one image, D_kl = (delta_k - delta_l)(sigma_k - sigma_l). It does not
change when either is shifted; centered over the labels, the three sums are moments of the image, all terms of the
first one positive: nothing cancels, and nothing larger than [b, q] or [q, q] is made.

At the paper's weights the six terms of the method `mdkd` are a mean over images and paths next to MLD's sum over
labels: far below 1 % of the gradient of BCE and MLD. As printed it is nearly MLD with BCE / b;
`distill.balance` gives the terms a share.
"""

from math import perm

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.term import TERMS, Term

ORDERS = range(2, 7)
Sums = tuple[Tensor, Tensor, Tensor]
"""Of D: the sum of squares, the sum of squared row sums, the squared total; scalars."""


def _centered(batch: Batch) -> tuple[Tensor, Tensor]:
    """delta and sigma ``[b, q]``, each centered over the labels of an image."""
    assert batch.teacher is not None
    student, teacher = batch.student.logits, batch.teacher.logits
    p_student, p_teacher = student.sigmoid(), teacher.sigmoid()
    with torch.no_grad():
        # p_T - p_S from the logits: subtracting two nearly equal probabilities would leave few digits.
        either = p_teacher * (-student).sigmoid() + p_student * (-teacher).sigmoid()
        difference = ((teacher - student) / 2).tanh() * either
    # The bracket is 0; it only lends the difference its exact derivative.
    delta = difference - (p_student - p_student.detach())
    sigma = p_teacher + p_student
    return delta - delta.mean(1, keepdim=True), sigma - sigma.mean(1, keepdim=True)


def _row_sums(delta: Tensor, sigma: Tensor) -> Sums:
    """Mean over the rows of ``[m, q]`` of the sums of each row's D."""
    labels = delta.shape[1]
    product = delta * sigma
    total, fourth = product.sum(1).square(), product.square().sum(1)
    spread = delta.square().sum(1) * sigma.square().sum(1)
    squares = 2 * labels * fourth + 2 * spread + 4 * total
    return squares.mean(), (labels**2 * fourth + 3 * labels * total).mean(), (4 * labels**2 * total).mean()


def _of_images(batch: Batch) -> Sums:
    """ID: D of each image (Eq. 10)."""
    return _row_sums(*batch.once(_centered))


def _of_batch(batch: Batch) -> Sums:
    """BD: D is the mean over the batch of the images' D. With a the mean of delta sigma and C = delta' sigma / b,
    D_kl = a_k + a_l - C_kl - C_lk, where the rows and columns of C sum to 0.
    """
    delta, sigma = batch.once(_centered)
    images, labels = delta.shape
    a = (delta * sigma).mean(0)
    cross = delta.T @ sigma / images
    fourth, total = a.square().sum(), a.sum().square()
    squares = 2 * labels * fourth + 2 * total + (cross + cross.T).square().sum()
    return squares, labels**2 * fourth + 3 * labels * total, 4 * labels**2 * total


def _literal_difference(batch: Batch) -> tuple[Tensor, Tensor]:
    """``[1, q]`` each: D_kl = (delta_k - delta_l)(sigma_k - sigma_l) is b times the one of the mean probabilities."""
    delta, sigma = batch.once(_centered)
    return len(delta) * delta.mean(0, keepdim=True), sigma.mean(0, keepdim=True)


def _of_mean(batch: Batch) -> Sums:
    """BD in form ``literal``: D of Eq. 4 as printed."""
    return _row_sums(*batch.once(_literal_difference))


def _over_paths(sums: Sums, order: int, labels: int) -> Tensor:
    """Half the mean square of D's mean along a path, over all simple paths of ``order`` of ``labels`` labels.

    0 where there is no such path. The factors are exact integers until the division.
    """
    squares, rows, total = sums
    paths, edges = perm(labels, order), order - 1
    if paths == 0:
        return 0 * squares
    # The number of (path, edge, edge) for given edges that are the same, share a label, or are disjoint.
    same = edges * _completions(labels, order, 2)
    touching = 2 * (edges - 1) * _completions(labels, order, 3)
    apart = (edges - 1) * (edges - 2) * _completions(labels, order, 4)
    # The sum over touching edges is rows - squares, over disjoint ones total - 4 rows + 2 squares.
    scale = 2 * edges**2 * paths
    of_squares, of_rows = same - touching + 2 * apart, touching - 4 * apart
    return of_squares / scale * squares + of_rows / scale * rows + apart / scale * total


def _completions(labels: int, order: int, fixed: int) -> int:
    """In how many ways the rest of a path of ``order`` can be chosen when ``fixed`` of its labels are."""
    if order < fixed:
        return 0
    return perm(labels - fixed, order - fixed)


class _Dependencies(Term):
    order: int
    needs = frozenset({"teacher.logits"})
    uses_labels = False
    relational = True


class _InstanceLevel(_Dependencies):
    def compute(self, batch: Batch) -> Tensor:
        return _over_paths(batch.once(_of_images), self.order, batch.student.logits.shape[1])


class _BatchLevel(_Dependencies):
    forms = ("reference", "literal")

    @property
    def batch_degree(self) -> int:
        """See :class:`mlkdc.losses.Term`."""
        if self.form == "literal":
            return 2  # the square of a squared sum divided by b; order 2 grows slower where a difference exceeds 1
        return super().batch_degree

    def compute(self, batch: Batch) -> Tensor:
        labels = batch.student.logits.shape[1]
        if self.form == "reference":
            return _over_paths(batch.once(_of_batch), self.order, labels)
        if self.order > 2 or labels < 2:
            return _over_paths(batch.once(_of_mean), self.order, labels)
        delta, sigma = batch.once(_literal_difference)
        difference = (delta.T - delta) * (sigma.T - sigma)
        return F.huber_loss(difference, torch.zeros_like(difference), reduction="sum") / perm(labels, 2)


_BATCH_LEVEL = """Batch-level label pair dependencies of order {order} (BD_{order}, Eq. 4-8).

    ``L = mean over paths of H(mean_m [Psi_T - Psi_S](k_m, k_m+1)), with Psi(k, l) = 1 / b * sum_i (p_ik - p_il)^2``

    Psi is the text's "mean square difference" of two labels over the batch. The paths are all sequences of {order}
    labels without repeats; 0 if there are fewer than {order} labels. All orders share their sums: O(b q^2) once.

    ``literal``: Psi(k, l) = (sum_i p_ik - sum_i p_il)^2 / b, Eq. 4 as printed. Its differences may exceed 1. Order 2 is
    the exact Huber loss; the higher orders use its quadratic branch throughout, which is exact while no path's
    difference exceeds 1, and larger than the Huber loss beyond.

    Args:
        form: ``reference`` or ``literal``.
    """
_INSTANCE_LEVEL = """Instance-level label pair dependencies of order {order} (ID_{order}, Eq. 10-13).

    ``L = mean over i and paths of H(mean_m [Phi_T,i - Phi_S,i](k_m, k_m+1)), with Phi_i(k, l) = (p_ik - p_il)^2``

    The paths are all sequences of {order} labels without repeats; 0 if there are fewer than {order} labels. All orders
    share their sums: O(b q) once. No arguments.
    """


def _register(name: str, base: type[_Dependencies], order: int, text: str) -> None:
    namespace = {"order": order, "__doc__": text.format(order=order), "__module__": __name__}
    term = type(name.upper(), (base,), namespace)
    assert issubclass(term, Term)
    TERMS.register(name)(term)


for _order in ORDERS:
    _register(f"bd{_order}", _BatchLevel, _order, _BATCH_LEVEL)
    _register(f"id{_order}", _InstanceLevel, _order, _INSTANCE_LEVEL)
