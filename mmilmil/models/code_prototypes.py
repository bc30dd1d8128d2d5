"""Prototypes of classes in the space before a classifier: made of codes, carried over to a moved detector, taught to it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Prototypes:
    """Codes that stand for classes.

    Attributes:
        codes: (P, D), what the classifier is given.
        labels: (P,), int64.
        spreads: (P,), mean squared distance of a class's codes to their mean.
    """

    codes: Tensor
    labels: Tensor
    spreads: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def prototypes(codes: Tensor, labels: Tensor, local: int = 0, neighbours: int = 8) -> Prototypes:
    """One prototype for all of a class and others for its parts: the multi-granularity prototypes of FaCHD (2026).

    The first of a class is the mean of its codes. Each local one is the mean of a code's ``neighbours`` nearest codes of the
    class by cosine, itself among them; the codes are taken from the far end: each next one is the least similar to those taken
    before, the first the least similar to the mean.

    Args:
        codes: (N, D).
        labels: (N,), int64.
        local: Local prototypes of a class, at most; none of a class with fewer codes than neighbours.
        neighbours: Codes of a local prototype.
    """
    found: list[tuple[Tensor, int, Tensor]] = []
    for label in labels.unique().tolist():
        mine = codes[labels == label]
        mean = mine.mean(dim=0)
        spread = (mine - mean).square().sum(dim=1).mean()
        found.append((mean, label, spread))
        found += [(part, label, spread) for part in _local(mine, mean, local, neighbours)]
    if not found:
        return Prototypes(codes, labels, codes.new_zeros(0))
    return Prototypes(torch.stack([code for code, _, _ in found]), torch.tensor([label for _, label, _ in found]),
                      torch.stack([spread for _, _, spread in found]))


def _local(codes: Tensor, mean: Tensor, number: int, neighbours: int) -> list[Tensor]:
    if len(codes) < neighbours:
        return []
    unit = F.normalize(codes, dim=1)
    nearest = unit @ F.normalize(mean, dim=0)  # by code, its similarity to the nearest that was taken
    parts = []
    for _ in range(min(number, len(codes))):
        similarity = unit @ unit[nearest.argmin()]
        parts.append(codes[similarity.topk(neighbours).indices].mean(dim=0))
        nearest = torch.maximum(nearest, similarity)
    return parts


def carried_over(known: Prototypes, before: Tensor, after: Tensor) -> Prototypes:
    """Prototypes moved as the codes around them have moved: semantic drift compensation (SDC, Yu et al. 2020), as FaCHD has it.

    ``mu += sum_i a_i (after_i - before_i) / sum_i a_i`` with ``a_i = exp(-|before_i - mu|^2 / (2 s))``, s the class's spread.

    Args:
        known: Prototypes of the detector that gave ``before``.
        before, after: (N, D), codes of the same RoIs by the detector before and the one after.
    """
    if len(before) == 0:
        return known
    distance = torch.cdist(known.codes, before).square()
    # A softmax, since it is the same ratio and stays one where all are far away.
    weights = torch.softmax(-distance / (2 * known.spreads.clamp(min=torch.finfo(distance.dtype).eps)[:, None]), dim=1)
    return Prototypes(known.codes + weights @ (after - before), known.labels, known.spreads)


def calibrate(classifier: nn.Linear, old: Prototypes, new: Prototypes, new_weight: float = 0.4, steps: int = 100,
              lr: float = 1e-3) -> tuple[float, float]:
    """Train a classifier alone on prototypes: ``-mean_old log p(mu) - new_weight mean_new log p(mu)`` (FaCHD 2026).

    Args:
        classifier: Its weight and bias are changed in place.
        old: Prototypes of old classes, and of background.
        new: Prototypes of new classes, labels as the classifier has them.
        new_weight: Weight of the new ones.
        steps: Steps of Adam.
        lr: Its learning rate.

    Returns:
        The loss before and after.
    """
    weights = list(classifier.parameters())
    trained = [weight.requires_grad for weight in weights]
    device = weights[0].device
    optimizer = torch.optim.Adam([weight.requires_grad_(True) for weight in weights], lr=lr)

    def loss() -> Tensor:
        parts = [factor * F.cross_entropy(classifier(known.codes.to(device)), known.labels.to(device))
                 for factor, known in ((1.0, old), (new_weight, new)) if len(known)]
        return sum(parts)

    with torch.enable_grad():
        first = loss().item()
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        last = loss().item()
    for weight, flag in zip(weights, trained):
        weight.grad = None
        weight.requires_grad_(flag)
    return first, last
