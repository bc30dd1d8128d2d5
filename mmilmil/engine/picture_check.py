"""Whether teacher and student read the same pixels: what a pipeline makes of a file before the detector sees it."""

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..loaders import innermost_datasets


def check_pictures(teacher: Mapping, student: Mapping, source: str) -> None:
    """Stop where the images that a student is trained on have other values than those that its teacher was made for.

    Compared are channels and normalisation. Sizes, paddings and augmentations may differ, and so may the library that decodes
    an image, but for ``tifffile``, which gives the channels in the file's order.

    Args:
        teacher: The whole config of the teacher; of one that names no data nothing is known.
        student: The run's config.
        source: What the former is, for the message, as ``the teacher w.pth``.

    Raises:
        InputError: names the setting and both values.
    """
    theirs, mine = _pixels(teacher), _pixels(student)
    for name in theirs if theirs and mine else ():
        if theirs[name] != mine[name]:
            raise InputError(f'{source} and the student would see other values in the same image: {name} is {theirs[name]!r} '
                             f'there and {mine[name]!r} in the train_pipeline of the student. Let the student inherit the '
                             'pipelines that its teacher was trained with')


def _pixels(cfg: Mapping) -> dict[str, Any]:
    """What in the pipeline of a config's images decides on their values; nothing of a config without one."""
    loaders = [cfg.get(f'{name}_dataloader') for name in ('train', 'val', 'test')]
    sets = [part for loader in loaders if loader for part in innermost_datasets(loader.get('dataset'))]
    steps = next((part['pipeline'] for part in sets if part.get('pipeline')), ())
    by_kind = {step['type'].rpartition('.')[2]: step for step in steps if isinstance(step.get('type'), str)}
    if 'LoadImageFromFile' not in by_kind:
        return {}
    load, normalize = by_kind['LoadImageFromFile'], by_kind.get('Normalize')
    return {
        'LoadImageFromFile.color_type': load.get('color_type', 'color'),
        "LoadImageFromFile.imdecode_backend = 'tifffile'": load.get('imdecode_backend') == 'tifffile',
        'Normalize': normalize and {key: [*value] if isinstance(value, (list, tuple)) else value
                                    for key, value in normalize.items() if key in ('mean', 'std', 'to_rgb')},
    }
