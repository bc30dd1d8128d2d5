"""The colours of classes in pictures: a family of them for the old classes, another for the new ones."""

import colorsys

# Hues in degrees, from and to: blue and green for old classes, red and yellow for new ones.
_OLD, _NEW = (260, 140), (340, 410)
_VALUES = (0.85, 0.62)  # of neighbours, so that they differ by more than their hue


def class_colors(split: tuple[int, ...]) -> list[str]:
    """A colour of each class as ``#rrggbb``: those of the last group are warm, all others cool; of a single group, cool.

    Args:
        split: Number of classes of each group.
    """
    new = split[-1] if len(split) > 1 else 0
    return [*_family(_OLD, sum(split) - new), *_family(_NEW, new)]


def _family(hues: tuple[int, int], count: int) -> list[str]:
    colors = []
    for index in range(count):
        hue = hues[0] + (hues[1] - hues[0]) * (index + 0.5) / count
        rgb = colorsys.hsv_to_rgb(hue % 360 / 360, 0.9, _VALUES[index % 2])
        colors.append('#' + ''.join(f'{round(255 * value):02x}' for value in rgb))
    return colors
