"""Which classes are measured on which of the evaluated sets: each where its objects are annotated (protocol 9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..stage import Stage


@dataclass(frozen=True)
class EvaluatedSet:
    """One of the sets of an evaluation, as the samples of its images tell it.

    Attributes:
        file: The file that lists its images; None where the samples do not tell, as those of stock datasets.
        annotated: Labels of the classes that it annotates; None for all.
    """

    file: str | None = None
    annotated: frozenset[int] | None = None

    @classmethod
    def of(cls, sample: Mapping) -> 'EvaluatedSet':
        """The set of a data sample, see ``StageFilterMixin.sample_meta``."""
        annotated = sample.get('annotated')
        return cls(sample.get('ann_file'), None if annotated is None else frozenset(annotated))

    def measures(self, label: int) -> bool:
        """Whether a class is measured on it."""
        return self.annotated is None or label in self.annotated


def described(sets: Mapping[EvaluatedSet, tuple[int, int]], stage: Stage) -> list[dict[str, Any]]:
    """What ``metrics.json`` tells of the sets: ``file``, ``images``, ``boxes`` and ``classes``, the names measured there.

    Args:
        sets: Number of images and of boxes that count by set.
        stage: Classes and groups.

    Raises:
        InputError: no set annotates a class of the stage.
    """
    found = [dict(file=one.file, images=images, boxes=boxes,
                  classes=[name for label, name in enumerate(stage.classes) if one.measures(label)])
             for one, (images, boxes) in sets.items()]
    if not any(one['classes'] for one in found):
        raise InputError(f'nothing can be measured: annotated of {" and ".join(str(one["file"]) for one in found)} names no '
                         'class of metainfo.classes. Correct the names (they are compared exactly)')
    return found


def set_lines(sets: Sequence[Mapping]) -> str:
    """The sets of a test by number, a line each; empty where there is one."""
    return ''.join(f'set {number}: {one["file"]}, {one["images"]} images, {one["boxes"]} boxes\n'
                   for number, one in enumerate(sets)) if len(sets) > 1 else ''


def set_column(sets: Sequence[Mapping], classes: Sequence[str]) -> dict[str, list[str]]:
    """A column with the numbers of the sets on which each class is measured; none where there is one set."""
    if len(sets) == 1:
        return {}
    return {'set': [', '.join(str(number) for number, one in enumerate(sets) if name in one['classes']) or '-'
                    for name in classes]}


def unmeasured(sets: Sequence[Mapping], boxes: Mapping[str, int], lacks: str) -> list[str]:
    """What to warn of: the classes without an AP.

    Args:
        sets: See :func:`described`.
        boxes: Boxes that count by class.
        lacks: Why a class that is measured has none, as ``... has no box of it``.
    """
    measured = {name for one in sets for name in one['classes']}
    without = [name for name, count in boxes.items() if not count and name in measured]
    nowhere = [name for name in boxes if name not in measured]
    return [f'no AP for {", ".join(names)}: {reason}; left out of all means'
            for names, reason in ((without, lacks), (nowhere, 'no evaluated set annotates it')) if names]
