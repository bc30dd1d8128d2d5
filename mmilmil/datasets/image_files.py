"""Image files in folders: what their names end in, and a walk through everything below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

# In this order of preference where one name stands with two extensions (as a mask beside its photo).
IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')


def files_below(root: Path) -> Iterator[str]:
    """Paths, relative to ``root`` and with ``/``, of the files in it and below; hidden ones, which no dataset sees, left out.

    Links to folders are followed, each folder once.
    """
    visited = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        for name in files:
            if not name.startswith('.'):
                yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, '/')
