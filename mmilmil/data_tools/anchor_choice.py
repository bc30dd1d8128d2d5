"""Which anchors and which image scale fit a training set: chosen for the small detector, named for any other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from .anchor_fit import Anchors, by_class, unmatched
from .training_scale import TrainBoxes, TrainingScale, scaled

LIMIT = 0.05
"""Share of the boxes of a class that may be without a positive anchor."""
ANCHOR_SCALES = ([8], [4], [4, 8], [2, 4, 8])
"""Of the small detector, cheapest first: with its strides of 4 to 32, anchors from 32, 16 or 8 px on; the first is the shipped
detector's."""
IMAGE_SCALES = (256, 384, 512)
"""Of the small detector, in pixels; the first is the shipped one."""
TINY = 8
"""Pixels: two cells of the small detector's finest feature map, and the side of its smallest anchors."""
_LARGER = (1.5, 2, 3, 4)
_SHOWN = 10  # class names


@dataclass(frozen=True)
class Choice:
    """What the small detector is given.

    Attributes:
        scales: Of its anchor generator.
        side: Images fit into a square of it, in pixels.
        tiny: By class, the share of boxes below :data:`TINY` at the shipped image scale.
        before: By class, the share of boxes without a positive anchor by the shipped scales at this image scale.
        left: The same by this choice.
    """

    scales: list[int]
    side: int
    tiny: dict[str, float]
    before: dict[str, float]
    left: dict[str, float]

    @property
    def why_side(self) -> Optional[str]:
        """The reason for other images than the shipped detector's; None where they are the same."""
        if self.side == IMAGE_SCALES[0]:
            return None
        name, share = _worst(self.tiny)
        reason = f'{share:.1%} of the boxes of {name!r} would have a side below {TINY} px' if share > LIMIT else \
            f'none of the anchor scales {", ".join(map(str, ANCHOR_SCALES))} would fit all classes'
        return f'images of {self.side}x{self.side} px: at {IMAGE_SCALES[0]}x{IMAGE_SCALES[0]} px {reason}'

    def why_scales(self, needed: float) -> Optional[str]:
        """The reason for other anchors than the shipped detector's; None where they are the same.

        Args:
            needed: IoU from which an anchor is positive.
        """
        if self.scales == ANCHOR_SCALES[0]:
            return None
        name, share = _worst(self.before)
        return (f'anchor scales {self.scales}: at {self.side}x{self.side} px with {ANCHOR_SCALES[0]} no anchor would reach an '
                f'IoU of {needed:g} with {share:.1%} of the boxes of {name!r}; with these it is at most '
                f'{_worst(self.left)[1]:.1%} of any class')


def choose(data: TrainBoxes, anchors: Anchors) -> Choice:
    """Anchors and image scale for the small detector.

    The image scale is the first of :data:`IMAGE_SCALES` at which at most :data:`LIMIT` of the boxes of any class have a side
    below :data:`TINY`; images are not made larger than the largest file for it. The anchor scales are the first of
    :data:`ANCHOR_SCALES` by which at most :data:`LIMIT` of the boxes of any class have no positive anchor there. Where no
    scales do, the next image scale is tried; where none does at all, it is the pair with the smallest share of the worst class,
    of equal ones the first.

    Args:
        data: Boxes of the training set.
        anchors: The shipped detector's.
    """
    sides = [side for side in IMAGE_SCALES if side == IMAGE_SCALES[0] or side <= data.sizes.max(initial=0)]
    tiny = {side: _tiny(data, side) for side in sides}
    first = next((index for index, side in enumerate(sides) if _worst(tiny[side])[1] <= LIMIT), len(sides) - 1)
    tried = []
    for side in sides[first:]:
        lefts = [unmatched(data, anchors.with_scales(scales), TrainingScale((side, side))) for scales in ANCHOR_SCALES]
        tried += [Choice(scales, side, tiny[sides[0]], lefts[0], left) for scales, left in zip(ANCHOR_SCALES, lefts)]
    fits = [choice for choice in tried if _worst(choice.left)[1] <= LIMIT]
    return fits[0] if fits else min(tried, key=lambda choice: _worst(choice.left)[1])


def _tiny(data: TrainBoxes, side: int) -> dict[str, float]:
    boxes = scaled(data, TrainingScale((side, side))).boxes
    return by_class(data, (boxes[:, 2:] - boxes[:, :2]).min(axis=1) < TINY)


def _worst(shares: dict[str, float]) -> tuple[str, float]:
    return max(shares.items(), key=lambda item: item[1])


def fit_lines(data: TrainBoxes, anchors: Anchors, scale: TrainingScale) -> list[str]:
    """Classes of which more than :data:`LIMIT` of the boxes have no positive anchor, and what would change that.

    Args:
        data: Boxes of the training set.
        anchors: The detector's.
        scale: That of its training.

    Returns:
        Lines to tell; none where all is well.
    """
    left = {name: share for name, share in unmatched(data, anchors, scale).items() if share > LIMIT}
    if not left:
        return []
    names = sorted(left, key=left.get, reverse=True)
    told = ', '.join(f'{name!r} ({left[name]:.1%})' for name in names[:_SHOWN])
    more = f' and {len(names) - _SHOWN} more classes' if len(names) > _SHOWN else ''
    line = (f'at {scale} no anchor reaches an IoU of {anchors.needed:g} with boxes of {told}{more}, so the detector learns '
            'these boxes badly or not at all')
    remedies = []
    if anchors.generator.get('scales'):
        own = list(anchors.generator['scales'])
        found = [(f'{anchors.place}.scales={scales}', unmatched(data, anchors.with_scales(scales), scale))
                 for scales in _other_scales(own)]
        remedies += _named(found, left)
    larger = [scale.times(factor) for factor in _LARGER]
    remedies += _named([(f'images of {one}', unmatched(data, anchors, one)) for one in larger], left)
    return [line, f'what would: {"; ".join(remedies)}' if remedies else 'neither smaller and larger anchors nor larger images '
            'would: look at the aspect ratios of these boxes (anchor_generator.ratios)']


def _named(tried: Iterable[tuple[str, dict[str, float]]], now: dict[str, float]) -> Sequence[str]:
    """The first that leaves no class above the limit, else the one that leaves least of the worst class; none if none helps."""
    tried = [(name, max(left.values())) for name, left in tried]
    fits = [one for one in tried if one[1] <= LIMIT]
    name, worst = fits[0] if fits else min(tried, key=lambda one: one[1])
    return [f'{name} (of no class more than {worst:.1%} left)'] if worst < max(now.values()) else []


def _other_scales(own: list) -> list[list]:
    half, quarter, double = min(own) / 2, min(own) / 4, max(own) * 2
    sets = ([one / 2 for one in own], [half, *own], [*own, double], [quarter, half, *own], [half, *own, double],
            [quarter, half, *own, double])
    return [[int(one) if one == int(one) else one for one in scales] for scales in sets]
