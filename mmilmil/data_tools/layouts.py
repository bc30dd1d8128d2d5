"""What all layouts of one's own data share: splits and their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

SPLITS = ('train', 'val', 'test')
WORDS = {'train': ('train', ), 'val': ('val', 'valid', 'validation'), 'test': ('test', )}
"""What folders and files call a split."""
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
"""The split by what it may be called."""
LISTS = Path('ImageSets/Main')
_SHOWN = 5


@dataclass(frozen=True)
class Given:
    """What a user says about their data beside its path.

    Attributes:
        images: The folder of images.
        annotations: The folder of XML files.
        converted: The folder for converted files.
        need_images: Whether the folder of images of XML files has to be there.
    """

    images: Optional[str] = None
    annotations: Optional[str] = None
    converted: Optional[str] = None
    need_images: bool = True


@dataclass(frozen=True)
class CocoFiles:
    """COCO files that were found or made.

    Attributes:
        files: The file by split; of one that holds all images, ``train``.
        images: Folder of the images of each, where it is known already.
        told: Lines to tell.
        absent: Why a split lacks that is named somewhere.
        whole: Whether it is one file of everything, without splits.
    """

    files: dict[str, Path]
    images: Mapping[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False


def shown(names: Sequence[str], count: int = _SHOWN) -> str:
    """The first few names."""
    return ', '.join(names[:count]) + (f' and {len(names) - count} more' if len(names) > count else '')
