"""AP of one group of classes on the images that hold its objects, and on those that hold no others."""

from collections.abc import Sequence

import numpy as np

from .average_precision import Image, class_results

SUBSETS = ('all', 'holding', 'alone')
"""All images; those with an object of the group that counts; of these the ones without any object, ignored or not, of another
group."""


def subset_aps(images: Sequence[Image], labels: Sequence[int], num_classes: int) -> dict[str, dict[str, float | int | None]]:
    """Mean AP of a group of classes on subsets of the images.

    What is lost from ``alone`` to ``all`` is lost to other groups' objects: the group's classes are looked for, and wrongly
    found, on images that hold none of them.

    Args:
        images: All images with their detections.
        labels: The group's labels.
        num_classes: Number of classes of all groups.

    Returns:
        By name of :data:`SUBSETS`: ``images``, their number, and ``ap``, the mean over the group's classes with a box there of
        AP at IoU 0.5 (area under the curve); None without one.
    """
    subsets = dict(
        all=list(images),
        holding=[image for image in images if np.isin(image.labels, labels).any()],
        alone=[image for image in images if np.isin(image.labels, labels).any()
               and np.isin(image.ignored_labels, labels).all() and np.isin(image.labels, labels).all()])
    return {name: dict(images=len(chosen), ap=_mean_ap(chosen, labels, num_classes)) for name, chosen in subsets.items()}


def _mean_ap(images: Sequence[Image], labels: Sequence[int], num_classes: int) -> float | None:
    found = class_results(images, num_classes)
    aps = [found[label].ap['area'] for label in labels if found[label].boxes]
    return float(np.mean(aps)) if aps else None
