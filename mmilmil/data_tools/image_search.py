"""Finding images anywhere below a folder by what an annotation calls them."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ..datasets.image_files import IMAGE_EXTENSIONS, files_below
from ..errors import InputError

_LABEL_STUDIO = re.compile(r'[0-9a-f]{8}-(?=.)')  # what it puts in front of the name of an uploaded file


class ImagesBelow:
    """The images below a folder, by name.

    Args:
        folder: The folder.
        option: What names another folder, for messages.
    """

    def __init__(self, folder: Path, option: str = '--images') -> None:
        self.folder = folder
        self.option = option
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in sorted(files_below(folder)):
            path = PurePosixPath(name)
            if path.suffix.lower() in IMAGE_EXTENSIONS:
                self._by_name[path.name].append(name)

    def find(self, name: str, listed: object) -> str | None:
        """The path below the folder of the image that an annotation calls ``name``; None where there is none.

        The file name counts, with the folders before it where several images have it; ``\\`` is ``/``, and what Label Studio
        puts in front of a file name is left out where it is no part of it.

        Raises:
            InputError: several images may be meant: names them.
        """
        parts = PurePosixPath(re.split(r'[?#]', name)[0].replace('\\', '/') if '://' in name else name.replace('\\', '/')).parts
        if not parts:
            return None
        there = self._by_name.get(parts[-1]) or self._by_name.get(_LABEL_STUDIO.sub('', parts[-1], count=1)) or []
        return self._one(there, parts, name, listed)

    def with_stem(self, stem: str, listed: object) -> str | None:
        """The same for a name without extension."""
        parts = PurePosixPath(stem).parts
        there = [path for name, paths in self._by_name.items() if PurePosixPath(name).stem == parts[-1] for path in paths]
        return self._one(there, parts, stem, listed)

    def _one(self, there: list[str], parts: tuple[str, ...], name: str, listed: object) -> str | None:
        if len(there) > 1:
            common = {path: _common(PurePosixPath(path).parts[:-1], parts[:-1]) for path in there}
            there = [path for path, count in common.items() if count == max(common.values())]
        if len(there) > 1:
            raise InputError(f'{listed} names the image {name!r}, which may be {self.folder / there[0]} or '
                             f'{self.folder / there[1]}: write its folder too, or name the right one by {self.option}')
        return there[0] if there else None


def _common(first: Iterable[str], second: Iterable[str]) -> int:
    """How many of the last parts are the same."""
    count = 0
    for one, other in zip(reversed(tuple(first)), reversed(tuple(second))):
        if one != other:
            break
        count += 1
    return count
