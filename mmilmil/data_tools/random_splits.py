"""Drawing the splits of a data set at random."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from ..errors import InputError
from .layouts import SPLITS

SEEDS = 100
"""So many seeds are tried for one by which no class is missing."""


def pools(names: Sequence[str], given: Mapping[str, Sequence[str]]) -> list[tuple[list[str], list[str]]]:
    """What is to be drawn from what.

    Args:
        names: All images.
        given: The lists that are there, of ``train``, ``val``, ``test`` and ``trainval``. None of their images is drawn into
            another split; but what ``trainval`` lists is divided into ``train`` and ``val``.

    Returns:
        Splits and the images to draw them from, in the order of ``names``.
    """
    lacking = [split for split in SPLITS if split not in given]
    taken = set().union(*(given[split] for split in SPLITS if split in given))
    rest = [name for name in names if name not in taken]
    if 'trainval' not in given:
        found = [(lacking, rest)]
    else:
        inner = set(given['trainval'])
        found = [([split for split in lacking if split != 'test'], [name for name in rest if name in inner]),
                 ([split for split in lacking if split == 'test'], [name for name in rest if name not in inner])]
    return [(splits, pool) for splits, pool in found if splits]


def check_shares(shares: Sequence[float]) -> None:
    """Shares are positive and sum to 1.

    Raises:
        InputError: they are not.
    """
    if not (all(share > 0 for share in shares) and abs(sum(shares) - 1) <= 1e-6):
        raise InputError(f'--shares {_text(shares)}: give three positive numbers that sum to 1, such as 0.7 0.1 0.2')


def parted(count: int, shares: Sequence[float], seed: int) -> list[list[int]]:
    """Indices below ``count``, drawn by shares that sum to 1; those of a part in ascending order."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    ends = [round(count * sum(shares[:i])) for i in range(len(shares) + 1)]
    return [sorted(order[start:end]) for start, end in zip(ends, ends[1:])]


def draw(boxes: Sequence[Mapping[str, int]], splits: Sequence[str], shares: Sequence[float],
         seed: int) -> tuple[dict[str, list[int]], list[str]]:
    """Draw splits from a pool of images.

    Args:
        boxes: Boxes of each image by class name.
        splits: The splits to draw.
        shares: Those of ``train``, ``val`` and ``test``; they count relative to one another.
        seed: Of the draw.

    Returns:
        Indices of the images by split, and lines that tell which class is in a split without a box.

    Raises:
        InputError: a split would be empty, there is no box at all, or a class of the pool would have none to train on.
    """
    if not any(boxes):
        raise InputError(f'none of the {len(boxes)} images to draw from has a box to train on: all are ignored (difficult, '
                         'crowd), without an area inside the image, or there is none; coordinates are pixels, not shares of '
                         'the image')
    relative = _relative(shares, splits)
    parts = parted(len(boxes), relative, seed)
    if not all(parts):
        raise InputError(f'{len(boxes)} images cannot be split into {", ".join(splits)} as {_text(relative)} without an '
                         f'empty split: {_room(len(boxes), splits, shares)}')
    without = dict(zip(splits, _without(boxes, parts)))
    lines = [f'{split} has no box of {", ".join(map(repr, names))}' for split, names in without.items() if names]
    if without.get('train'):
        better = _seed_for(boxes, relative, splits, ('train', ))
        remedy = f'--seed {better} draws some' if better is not None else \
            f'no --seed below {SEEDS} draws some of each: give train a larger share, or lists of your own'
        raise InputError(f'with --seed {seed} {lines[0]}, which could not be learnt: {remedy}')
    if lines and (better := _seed_for(boxes, relative, splits, splits)) is not None:
        lines[-1] += f' (--seed {better} draws some for every split)'
    return dict(zip(splits, parts)), lines


def _without(boxes: Sequence[Mapping[str, int]], parts: Sequence[Sequence[int]]) -> list[list[str]]:
    """By part, the classes of the pool that have no box in it."""
    names = sorted({name for one in boxes for name in one})
    counts = [Counter(name for index in part for name in boxes[index]) for part in parts]
    return [[name for name in names if not count[name]] for count in counts]


def _seed_for(boxes: Sequence[Mapping[str, int]], shares: Sequence[float], splits: Sequence[str],
              needed: Sequence[str]) -> int | None:
    """The first seed by which all classes have a box in each of the needed splits."""
    for seed in range(SEEDS):
        without = dict(zip(splits, _without(boxes, parted(len(boxes), shares, seed))))
        if not any(without[split] for split in needed):
            return seed
    return None


def _room(count: int, splits: Sequence[str], shares: Sequence[float]) -> str:
    """What to do about an empty split."""
    if count < len(splits):
        return f'it takes {len(splits)} images at least'
    for least in range(1, 34):
        hundredths = [max(least, round(100 * share)) for share in shares]
        hundredths[hundredths.index(max(hundredths))] -= sum(hundredths) - 100
        larger = [number / 100 for number in hundredths]
        if all(parted(count, _relative(larger, splits), seed=0)):
            break
    return f'give such as --shares {_text(larger)}'


def _relative(shares: Sequence[float], splits: Sequence[str]) -> list[float]:
    """Those of the three shares that belong to the splits, as shares of their sum."""
    if len(splits) == len(SPLITS):
        return list(shares)
    wanted = [shares[SPLITS.index(split)] for split in splits]
    return [share / sum(wanted) for share in wanted]


def _text(shares: Sequence[float]) -> str:
    return ' '.join(f'{share:g}' for share in shares)
