"""Label files of YOLO: one text file an image, one line an object, coordinates in shares of the image's size."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from globox import BoundingBox, BoxFormat

from ...datasets.reading import decode, number, read_bytes
from ...errors import InputError
from ..convert import Labelled, Sizes
from ..layouts import shown

_SLACK = 0.01  # rounding of the programs that write such files; the datasets clip it


class Labels:
    """Reads label files.

    Args:
        names: Class names by id.
        source: The file that names them.
        keypoints: The numbers of key points behind each box; they are left out.
    """

    def __init__(self, names: Sequence[str], source: Path, keypoints: int = 0) -> None:
        self.names = names
        self.source = source
        self.keypoints = keypoints
        self._sizes = Sizes()
        self._told: list[str] = []

    def read(self, images: Iterable[Path], split: str) -> list[Labelled]:
        """The objects of images; one without a label file has none.

        Raises:
            InputError: no image has a label file, or a line cannot be read.
        """
        table, background = [], []
        for path in images:
            labelled = Labelled(path, self._sizes.of(path))
            file = next((file for file in label_files(path) if file.is_file()), None)
            if file is None:
                background.append(str(path))
            else:
                for line_number, line in enumerate(_lines(file), start=1):
                    if line.strip():
                        self._add(line, f'{file}, line {line_number}', labelled)
            table.append(labelled)
        if background and len(background) == len(table):
            places = ' and '.join(map(str, label_files(Path(background[0]))))
            raise InputError(f'none of the {len(table)} images of {split} has a label file (looked for {places}): put the '
                             f'label files there, or correct {self.source}')
        if background:
            self._told.append(f'{split}: {len(background)} images without a label file, taken as images without an object: '
                              f'{shown(background)}')
        return table

    def told(self) -> list[str]:
        """Lines to tell."""
        return [*self._told, *self._sizes.lines()]

    def _add(self, line: str, where: str, image: Labelled) -> None:
        words = re.split(r'[\s,]+', line.strip())
        values = [number(word) for word in words]
        if None in values:
            raise InputError(f'{where}: {words[values.index(None)]!r} is not a number; a line is class, centre x, centre y, '
                             'width and height, or class and the points of an outline')
        label, *shares = values
        if label not in range(len(self.names)):
            raise InputError(f'{where}: label {words[0]}, but {self.source} names {len(self.names)} classes, 0 to '
                             f'{len(self.names) - 1}: add the name there, or correct the label')
        if self.keypoints and len(shares) == 4 + self.keypoints:
            shares = shares[:4]
        if len(shares) != 4 and (len(shares) < 6 or len(shares) % 2):
            hint = ' (predictions with a confidence?)' if len(shares) == 5 else ''
            raise InputError(f'{where}: {len(shares)} numbers behind the label{hint}; give four of a box (centre x, centre y, '
                             'width, height) or three points or more of an outline')
        if odd := [share for share in shares if not -_SLACK <= share <= 1 + _SLACK]:
            raise InputError(f'{where}: {odd[0]} is no share of the image between 0 and 1'
                             f'{" but looks like pixels: divide by its width or height" if odd[0] > 1 else ""}; correct it')
        name = self.names[int(label)]
        if len(shares) == 4:
            if min(shares[2:]) < 0:
                raise InputError(f'{where}: the width or height {min(shares[2:])} is negative; correct it')
            image.add(BoundingBox.create(label=name, coords=tuple(shares), box_format=BoxFormat.XYWH, relative=True,
                                         image_size=image.size))
            return
        outline = [share * image.size[index % 2] for index, share in enumerate(shares)]
        xs, ys = outline[::2], outline[1::2]
        image.add(BoundingBox(label=name, xmin=min(xs), ymin=min(ys), xmax=max(xs), ymax=max(ys)), segmentation=[outline])


def label_files(image: Path) -> list[Path]:
    """Where the label file of an image may be: below ``labels`` in the place of its path's last ``images``, or beside it."""
    parts, text = list(image.parts), image.with_suffix('.txt').name
    places = [image.with_name(text)]
    if 'images' in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index('images')
        places.insert(0, Path(*parts[:last], 'labels', *parts[last + 1:-1], text))
    return places


def _lines(file: Path) -> list[str]:
    return decode(read_bytes(str(file), None, f'no file {file}'), str(file)).splitlines()
