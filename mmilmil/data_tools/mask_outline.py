"""The outline of a mask along the edges of its pixels, from which COCO's tools make the same mask again."""

from collections import defaultdict

import numpy as np

Loop = list[tuple[int, int]]


def mask_outline(mask: np.ndarray) -> list[int]:
    """One polygon around all pixels of a mask.

    It runs between the pixels, a pixel ``(x, y)`` being the square from there to ``(x + 1, y + 1)``, as COCO has it. COCO's
    polygons know no holes: a hole, and a part apart from the others, hang on a seam that is walked forth and back and so covers
    nothing.

    Args:
        mask: (H, W), what is not 0 is inside; at least one pixel.

    Returns:
        ``[x1, y1, x2, y2, ...]`` in pixels, corners only.
    """
    first, *others = _loops(np.pad(np.asarray(mask, bool), 1))
    for loop in others:
        first = _sewn(first, loop)
    return [coordinate for point in first for coordinate in point]


def _loops(mask: np.ndarray) -> list[Loop]:
    """Closed walks between inside and outside, their first point not repeated; ``mask`` has a border of one pixel outside."""
    inside = mask[1:-1, 1:-1]
    # By the side of a pixel on which the outside is: its first and its last corner, the inside to the right of the walk.
    sides = {(-1, 0): ((0, 0), (1, 0)), (0, 1): ((1, 0), (1, 1)), (1, 0): ((1, 1), (0, 1)), (0, -1): ((0, 1), (0, 0))}
    after = defaultdict(list)  # two where pixels touch at a corner alone
    for (down, right), (start, end) in sides.items():
        neighbour = mask[1 + down:mask.shape[0] - 1 + down, 1 + right:mask.shape[1] - 1 + right]
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            after[x + start[0], y + start[1]].append((x + end[0], y + end[1]))
    loops = []
    for start in list(after):
        while after[start]:
            loop, point = [start], after[start].pop()
            while point != start:
                loop.append(point)
                point = after[point].pop()
            loops.append(_corners(loop))
    return loops


def _corners(loop: Loop) -> Loop:
    """Without the points between two edges of one direction."""
    return [point for before, point, behind in zip([loop[-1], *loop], loop, [*loop[1:], loop[0]])
            if not before[0] == point[0] == behind[0] and not before[1] == point[1] == behind[1]]


def _sewn(polygon: Loop, loop: Loop) -> Loop:
    """Both as one walk, over a seam between their nearest corners."""
    ours, theirs = np.array(polygon), np.array(loop)
    distances = np.abs(ours[:, None] - theirs).sum(axis=2)
    here, there = divmod(int(distances.argmin()), len(loop))
    return [*polygon[:here + 1], *loop[there:], *loop[:there + 1], *polygon[here:]]
