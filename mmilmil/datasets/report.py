"""What a dataset tells about itself at start: what was kept, what was hidden, what was mended."""

from collections import Counter
from dataclasses import dataclass, field

_NAMES_SHOWN = 5


def _listing(counts: dict[str, int]) -> str:
    return ', '.join(f'{name} {count}' for name, count in counts.items()) or 'none'


@dataclass
class StageReport:
    """Counts of one pass over the annotations of a dataset.

    Args:
        ann_file: The file that lists the images (VOC) or holds the annotations (COCO).
        purpose: One phrase on what is kept, e.g. ``'training, newest group'``.
        images_listed: Images named by ``ann_file``.
        images_kept: Images left after the stage filter; equal to ``images_listed`` in test mode.
        boxes: Non-ignored boxes of each kept class in the kept images, in label order (0 where there is none).
        ignored: Boxes of kept classes marked as ignored (difficult, crowd) in the kept images.
        hidden_old: Boxes of old classes taken off the kept images: objects that now look like background.
        not_annotated: In testing, boxes of seen classes that the set annotates in part only, by name: taken off.
        hidden_unlisted: The same for classes that ``metainfo.classes`` does not list, by name.
        unlisted: Boxes of unlisted classes in ALL listed images, by name: classes of later stages, or misspelt ones.
        clipped: Boxes of kept classes that stuck out of their image and were clipped to it.
        dropped: Boxes of kept classes without area inside their image, taken out.
        clipped_files: Annotation of the first few clipped boxes.
        dropped_files: Annotation of the first few dropped boxes.
        replayed: Images kept of earlier stages.
        replayed_new: Those of them that are images of the newest stage too.
        replayed_bytes: Bytes of the files of all of them.
        replayed_boxes: Non-ignored boxes of each old class on them, in label order; empty without replay.
        unlabelled: Images added that nobody has annotated.
        notes: Anything else a user should read.
    """

    ann_file: str
    purpose: str
    images_listed: int = 0
    images_kept: int = 0
    boxes: dict[str, int] = field(default_factory=dict)
    ignored: int = 0
    hidden_old: int = 0
    not_annotated: Counter = field(default_factory=Counter)
    hidden_unlisted: Counter = field(default_factory=Counter)
    unlisted: Counter = field(default_factory=Counter)
    clipped: int = 0
    dropped: int = 0
    clipped_files: list[str] = field(default_factory=list)
    dropped_files: list[str] = field(default_factory=list)
    replayed: int = 0
    replayed_new: int = 0
    replayed_bytes: int = 0
    replayed_boxes: dict[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def images_dropped(self) -> int:
        """Images listed but not kept."""
        return self.images_listed - self.images_kept

    def count_clipped(self, file: str) -> None:
        """Count one clipped box; the first few distinct ``file`` names are remembered."""
        self.clipped += 1
        _remember(self.clipped_files, file)

    def count_dropped(self, file: str) -> None:
        """Count one dropped box; the first few distinct ``file`` names are remembered."""
        self.dropped += 1
        _remember(self.dropped_files, file)

    def summary(self) -> str:
        """The report as a few readable lines."""
        lines = [
            (f'{self.ann_file} ({self.purpose}): {self.images_kept} of {self.images_listed} images kept, '
            f'{self.images_dropped} dropped'),
            f'  boxes: {sum(self.boxes.values())} ({_listing(self.boxes)}), and {self.ignored} ignored',
            (f'  hidden in the kept images: {self.hidden_old} boxes of old classes, '
            f'{self.hidden_unlisted.total()} of classes not in metainfo.classes'),
        ]
        if self.replayed:
            lines.append(f'  replay: {self.replayed} images of old classes, {megabytes(self.replayed_bytes)}; '
                         f'{self.replayed_new} of them are of this stage too; boxes: {_listing(self.replayed_boxes)}')
        if self.unlabelled:
            lines.append(f'  unlabelled: {self.unlabelled} images more, on which the teacher alone teaches')
        if self.not_annotated:
            lines.append('  not measured here, as annotated does not name them; boxes taken off: '
                         f'{_listing(dict(sorted(self.not_annotated.items())))}')
        if self.unlisted:
            lines.append('  not in metainfo.classes (future or unknown), boxes in all listed images: '
                         f'{_listing(dict(sorted(self.unlisted.items())))}')
        if self.clipped:
            lines.append(f'  {self.clipped} boxes outside their image in part were clipped to it: '
                         f'{_files(self.clipped_files)}')
        if self.dropped:
            lines.append(f'  {self.dropped} boxes without area inside their image were dropped: '
                         f'{_files(self.dropped_files)}')
        lines.extend(f'  {note}' for note in self.notes)
        return '\n'.join(lines)


def megabytes(size: int) -> str:
    """A number of bytes as ``3.2 MB``."""
    return f'{size / 1e6:.1f} MB'


def _remember(files: list[str], file: str) -> None:
    if file not in files and len(files) <= _NAMES_SHOWN:
        files.append(file)


def _files(files: list[str]) -> str:
    return ', '.join(files[:_NAMES_SHOWN]) + (', ...' if len(files) > _NAMES_SHOWN else '')
