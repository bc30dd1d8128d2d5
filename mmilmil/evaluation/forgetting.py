"""What a chain of stages kept and learnt, from its per-class APs (protocol 11). Pure functions on arrays.

Every function takes APs as fractions or in per cent and answers in the same unit, ratios as fractions. A matrix has one
row a stage, oldest first, and one column a class in label order, (T, C). NaN stands where a class was not seen yet or
has no AP; means leave it out, and a mean of nothing is NaN.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def ap_matrix(runs: Sequence[Mapping], classes: Sequence[str] | None = None) -> np.ndarray:
    """Per-class APs of several runs as one matrix.

    Args:
        runs: Contents of ``metrics.json``, one a stage, oldest first.
        classes: Names in label order; by default those of the last run.

    Returns:
        (T, C), NaN where a run does not know a class or has no AP for it.
    """
    classes = runs[-1]['per_class'] if classes is None else classes
    aps = [[run['per_class'].get(name) for name in classes] for run in runs]
    return np.array(aps, dtype=float)  # None becomes NaN


def group_ap(ap: np.ndarray, split: Sequence[int]) -> np.ndarray:
    """Mean AP of each class group.

    Args:
        ap: (..., C).
        split: Sizes of the G groups, oldest first; sums to C.

    Returns:
        (..., G).
    """
    ap = np.asarray(ap, dtype=float)
    if sum(split) != ap.shape[-1]:
        raise ValueError(f'split = {tuple(split)} sums to {sum(split)}, but there are {ap.shape[-1]} classes')
    return np.stack([_mean(part) for part in np.split(ap, np.cumsum(split)[:-1], axis=-1)], axis=-1)


def forgetting(ap: np.ndarray) -> np.ndarray:
    """Best earlier AP minus the final one: positive where something was lost.

    Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, with AP for accuracy. Of a group:
    ``forgetting(group_ap(ap, split))``.

    Args:
        ap: By stage and class or group, (T, C).

    Returns:
        (C,), NaN for what the last stage brought.
    """
    ap = np.asarray(ap, dtype=float)
    earlier = ap[:-1]
    seen = ~np.isnan(earlier)
    best = np.where(seen, earlier, -np.inf).max(axis=0, initial=-np.inf)
    return np.where(seen.any(axis=0), best, np.nan) - ap[-1]


def fpp(ap: np.ndarray, split: Sequence[int]) -> float:
    """Forgetting percentage points: mean AP of the first group after stage 1 minus after the last stage.

    Liu et al., "Multi-Task Incremental Learning for Object Detection", 2020.

    Args:
        ap: (T, C).
        split: Sizes of the class groups, oldest first.
    """
    first = group_ap(ap, split)[:, 0]
    return float(first[0] - first[-1])


def abs_gap(ap: np.ndarray, joint: np.ndarray) -> float:
    """How much the final mean AP is below that of joint training, over the classes that have both.

    Args:
        ap: (T, C), or its last row, (C,).
        joint: APs of the joint run, (C,).
    """
    final, joint = _final(ap, joint)
    return float(_mean(joint) - _mean(final))


def rel_gap(ap: np.ndarray, joint: np.ndarray) -> float:
    """:func:`abs_gap` as a fraction of the joint mean AP; NaN where that is 0. Shapes as there."""
    return _ratio(abs_gap(ap, joint), _mean(_final(ap, joint)[1]))


def omega(ap: np.ndarray, joint: np.ndarray) -> float:
    """Mean over the stages of ``all_t / joint_t``: 1 is as good as joint training all along.

    ``all_t`` is the mean AP of the classes seen at stage t; ``joint_t`` that of joint training over the same classes.
    After Kemker et al., "Measuring Catastrophic Forgetting in Neural Networks", AAAI 2018.

    Args:
        ap: (T, C).
        joint: One joint run for all stages, (C,), or one a stage, (T, C).
    """
    ap = np.asarray(ap, dtype=float)
    joint = np.broadcast_to(np.asarray(joint, dtype=float), ap.shape)
    pairs = [_both(row, bound) for row, bound in zip(ap, joint)]
    ratios = [_ratio(_mean(row), _mean(bound)) for row, bound in pairs]
    return float(_mean(np.array(ratios)))


def rsd(ap: np.ndarray, joint: np.ndarray, split: Sequence[int]) -> float:
    """Rate of stability deficit: mean over the OLD classes of ``(joint - final) / joint``.

    Menezes et al., "Continual Object Detection: A Review of Definitions, Strategies, and Challenges", 2023. Old are all
    groups but the newest. A class that joint training does not find at all has no rate and is left out.

    Args:
        ap: (T, C), or its last row, (C,).
        joint: (C,).
        split: Sizes of the class groups, oldest first.

    Returns:
        The rate; NaN with one group.
    """
    return float(_mean(_deficits(ap, joint, split)[:-split[-1]]))


def rpd(ap: np.ndarray, joint: np.ndarray, split: Sequence[int]) -> float:
    """Rate of plasticity deficit: as :func:`rsd`, over the NEW classes, those of the newest group."""
    return float(_mean(_deficits(ap, joint, split)[-split[-1]:]))


def chain_figures(ap: np.ndarray, split: Sequence[int], joint: np.ndarray | None = None) -> dict:
    """All figures of a chain, ready for JSON.

    Args:
        ap: (T, C).
        split: Sizes of the class groups, oldest first.
        joint: APs of the joint run, (C,); the figures that need it are absent without.

    Returns:
        ``forgetting`` (list by class), ``group_forgetting`` (list by group), ``fpp`` and with ``joint`` also
        ``abs_gap``, ``rel_gap``, ``omega``, ``rsd``, ``rpd``; None where undefined.
    """
    figures = dict(forgetting=forgetting(ap), group_forgetting=forgetting(group_ap(ap, split)), fpp=fpp(ap, split))
    if joint is not None:
        figures.update(
            abs_gap=abs_gap(ap, joint), rel_gap=rel_gap(ap, joint), omega=omega(ap, joint), rsd=rsd(ap, joint, split),
            rpd=rpd(ap, joint, split))
    return {name: _plain(value) for name, value in figures.items()}


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; unlike ``np.nanmean`` silent where there is nothing."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _both(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = ~(np.isnan(first) | np.isnan(second))
    return np.where(there, first, np.nan), np.where(there, second, np.nan)


def _final(ap: np.ndarray, joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ap, joint = np.asarray(ap, dtype=float), np.asarray(joint, dtype=float)
    final = ap[-1] if ap.ndim == 2 else ap
    if final.shape != joint.shape:
        raise ValueError(f'{final.shape[-1]} classes in the chain, but joint has the shape {joint.shape}')
    return _both(final, joint)


def _deficits(ap: np.ndarray, joint: np.ndarray, split: Sequence[int]) -> np.ndarray:
    final, joint = _final(ap, joint)
    if sum(split) != len(joint):
        raise ValueError(f'split = {tuple(split)} sums to {sum(split)}, but there are {len(joint)} classes')
    bound = np.where(joint > 0, joint, np.nan)
    return (bound - final) / bound


def _ratio(value: float, bound: float) -> float:
    return float(value / bound) if bound > 0 else float('nan')


def _plain(value: float | np.ndarray) -> float | None | list:
    if isinstance(value, np.ndarray):
        return [_plain(float(item)) for item in value]
    return None if np.isnan(value) else value
