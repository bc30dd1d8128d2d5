"""A feature memory: what the RoI head of a detector saw of its classes, kept without an image."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from .hashes import weights_hash
from .heads import as_list

MEMORY_FILE = 'memory.pth'
"""Name of the file beside the ``final.pth`` of the stage that it was made by."""
VERSION = 1
BUILD = '`python tools/build_memory.py CONFIG CHECKPOINT`'
_LEVELS = 127  # of int8, to either side of zero


@dataclass
class FeatureMemory:
    """Pooled RoI tensors of the classes that a detector knows, and of background that it nearly fell for.

    In the file they have 8 bits a value and a scale a tensor.

    Attributes:
        features: (M, C, h, w), what the box head takes, float32: of RoIAlign, or of the shared head behind it.
        labels: (M,), int64; background is the number of classes.
        classes: Names of the classes, in label order.
        teacher: Hash of the weights that the features are those of (:func:`mmilmil.models.hashes.weights_hash`).
        path: The file that it was read from, for messages.
    """

    features: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    teacher: str
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __deepcopy__(self, memo: dict) -> 'FeatureMemory':
        # Never changed by training, so copies of the student, such as an EMA's, share it.
        return self

    @property
    def nbytes(self) -> int:
        """Bytes that the tensors have in the file."""
        return self.features.numel() + 4 * len(self) + 8 * len(self)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tensors and their labels, by which the same memory is known again."""
        return weights_hash(dict(features=self.features, labels=self.labels))

    @property
    def counts(self) -> list[int]:
        """Number of tensors of each class and, last, of background."""
        return torch.bincount(self.labels, minlength=len(self.classes) + 1).tolist()

    def __str__(self) -> str:
        known = self.counts[:-1] or [0]
        return (f'{self.nbytes / 1e6:.1f} MB, no images: {min(known)} to {max(known)} RoI tensors of each of '
                f'{len(self.classes)} classes, {self.counts[-1]} of background')

    def content(self) -> dict:
        """What :meth:`load` reads: tensors and plain data."""
        flat = self.features.float().flatten(1)
        scale = flat.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / _LEVELS
        values = (flat / scale[:, None]).round().to(torch.int8).reshape(self.features.shape)
        return dict(kind='mmilmil feature memory', version=VERSION, values=values, scale=scale, labels=self.labels,
                    classes=list(self.classes), teacher=self.teacher)

    @classmethod
    def load(cls, path: str | Path) -> 'FeatureMemory':
        """Read a memory.

        Raises:
            InputError: the file is missing, cut off, none of a memory, or of a newer version.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f'there is no feature memory {path}: make it with {BUILD}, or leave model.memory.file out')
        try:
            content = torch.load(path, map_location='cpu', weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f'the feature memory {path} cannot be read ({first}): make it again with {BUILD}') from error
        if not isinstance(content, dict) or content.get('kind') != 'mmilmil feature memory':
            raise InputError(f'{path} is no feature memory: give one that {BUILD} made')
        if content.get('version') != VERSION:
            raise InputError(f'the feature memory {path} is of version {content.get("version")!r}, and this mmilmil reads '
                             f'{VERSION}: update mmilmil, or make it again with {BUILD}')
        try:
            values, scale, labels = content['values'], content['scale'], content['labels'].long()
            memory = cls(values.float() * scale[:, None, None, None], labels, tuple(content['classes']), content['teacher'],
                         path)
            fits = len(values) == len(labels) and bool(((labels >= 0) & (labels <= len(memory.classes))).all())
        except (KeyError, AttributeError, TypeError, IndexError, RuntimeError) as error:
            raise InputError(f'the feature memory {path} is incomplete ({type(error).__name__}: {error}): make it again with '
                             f'{BUILD}') from error
        if not fits:
            raise InputError(f'the feature memory {path} has {len(values)} tensors and {len(labels)} labels of '
                             f'{len(memory.classes)} classes, which do not fit: make it again with {BUILD}')
        return memory

    def check(self, fingerprint: str, classes: Sequence[str], checkpoint: str) -> None:
        """The memory is this teacher's.

        Args:
            fingerprint: Hash of the teacher's weights.
            classes: Names of the teacher's classes.
            checkpoint: The teacher's file, for messages.

        Raises:
            InputError: tells what differs.
        """
        if self.teacher != fingerprint:
            raise InputError(f'the feature memory {self.path} is of another teacher ({self.teacher[:12]}) than {checkpoint} '
                             f'({fingerprint[:12]}): make one for this teacher with {BUILD}, or switch it off by '
                             'model.memory=None')
        if self.classes != tuple(classes):
            raise InputError(f'the feature memory {self.path} knows the classes {list(self.classes)}, and the teacher '
                             f'{checkpoint} {list(classes)}: make one for this teacher with {BUILD}')

    def fits(self, detector: nn.Module) -> bool:
        """Whether its tensors are what this two-stage detector's box head takes."""
        return tuple(self.features.shape[1:]) == roi_shape(detector)

    def other_shape(self, detector: nn.Module) -> str:
        """How its tensors and the detector's differ, for a message."""
        return (f'the feature memory {self.path} has RoI tensors of {tuple(self.features.shape[1:])}, and the box head of the '
                f'student takes {roi_shape(detector)} (channels, height, width)')


def roi_shape(detector: nn.Module) -> tuple[int, int, int]:
    """(channels, height, width) of what a two-stage detector's box head takes of a RoI."""
    head = as_list(detector.roi_head.bbox_head)[0]
    return (head.in_channels, *head.roi_feat_size)
