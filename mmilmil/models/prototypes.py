"""Regional prototypes: what stands for a class in replay, in the place of single objects."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .memory import FeatureMemory

SIMILARITY = 0.6
"""Cosine from which two RoI tensors are neighbours."""
PER_CLASS = 10
"""Prototypes of a class, at most."""


def prototypes(features: Tensor, similarity: float = SIMILARITY, limit: int = PER_CLASS) -> Tensor:
    """The coarse prototype of a class, then fine ones.

    The coarse one is the mean of all. For the fine ones the tensor with most neighbours is taken that is no neighbour of one
    taken before, and the mean of its neighbours, itself among them, is the prototype. The third of the tensors that has the
    fewest neighbours is not taken.

    Source: RePRE (arXiv 2502.05540).

    Args:
        features: RoI tensors of one class, (N, C, h, w), N >= 1.
        similarity: Cosine, of the flattened tensors, from which two are neighbours.
        limit: Prototypes at most, the coarse one counted.

    Returns:
        (P, C, h, w), 1 <= P <= ``limit``.
    """
    unit = F.normalize(features.flatten(1), dim=1)
    near = unit @ unit.T >= similarity
    near.fill_diagonal_(True)
    order = near.sum(dim=1).argsort(descending=True, stable=True)
    found = [features.mean(dim=0)]
    covered = torch.zeros(len(features), dtype=torch.bool)
    for index in order[:len(features) - len(features) // 3].tolist():
        if len(found) == limit:
            break
        if not covered[index]:
            found.append(features[near[index]].mean(dim=0))
            covered |= near[index]
    return torch.stack(found)


def prototypes_of(memory: FeatureMemory) -> FeatureMemory:
    """A memory of the prototypes of each class; it has no background."""
    features, labels = [], []
    for label in range(len(memory.classes)):
        mine = memory.features[memory.labels == label]
        if len(mine):
            features.append(prototypes(mine))
            labels.append(torch.full((len(features[-1]), ), label))
    if not features:
        return replace(memory, features=memory.features[:0], labels=memory.labels[:0])
    return replace(memory, features=torch.cat(features), labels=torch.cat(labels))
