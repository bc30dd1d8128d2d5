"""Prepared images to compare two forms of a detector on: real ones of the config's sets, else drawn ones."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from mmcv import imwrite
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor, nn

from ..data_tools.shape_scenarios import SCENARIOS
from ..data_tools.shapes import draw_image
from ..errors import InputError
from ..loaders import innermost_dataset, test_loader
from ..registry import DATASETS


@dataclass
class PreparedImage:
    """An image as the detector gets it.

    Attributes:
        name: Its file.
        pixels: (1, 3, H, W), resized, normalised and padded.
        shape: Height and width without the data preprocessor's padding.
    """

    name: str
    pixels: Tensor
    shape: tuple[int, int]


@dataclass
class Images:
    """Images, prepared as they are asked for.

    Attributes:
        source: Where they are from, in words.
        real: Whether they are photographs, as far as the config's sets are.
        number: How many there are.
    """

    source: str
    real: bool
    number: int
    _items: Callable[[], Iterator[dict]]
    _preprocessor: nn.Module

    def __iter__(self) -> Iterator[PreparedImage]:
        for item in self._items():
            ready = self._preprocessor(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), False)
            sample = ready['data_samples'][0]
            yield PreparedImage(sample.metainfo.get('img_path', 'an image'), ready['inputs'], tuple(sample.img_shape))


def spread(number: int, limit: int) -> list[int]:
    """Places of at most ``limit`` out of ``number``, from the first to the last."""
    return np.unique(np.linspace(0, number - 1, min(limit, number)).round().astype(int)).tolist()


def plain_pipeline(cfg: Config) -> Compose:
    """The test pipeline for images that nobody has annotated."""
    return Compose([step for step in innermost_dataset(test_loader(cfg)).pipeline if 'Annotations' not in str(step['type'])])


def images_of(cfg: Config, preprocessor: nn.Module, limit: int) -> Images:
    """Images of the validation set, of a config without one the test set; where there is none, drawn ones.

    Args:
        cfg: The config; MMEngine's default scope is set.
        preprocessor: The detector's data preprocessor.
        limit: How many at most; they are spread over the set.
    """
    reason = 'the config has neither a validation nor a test set'
    for name in ('val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not loader:
            continue
        try:
            dataset = DATASETS.build(loader.dataset)
        except (InputError, OSError) as error:
            reason = f'{name} cannot be read: {" ".join(str(error).split())}'
            break
        places = spread(len(dataset), limit)
        if places:
            return Images(f'of {len(dataset)} in {name}', True, len(places), partial(map, dataset.__getitem__, places),
                          preprocessor)
    return Images(f'drawn ones, as {reason}', False, limit, partial(_drawn, cfg, limit), preprocessor)


def _drawn(cfg: Config, number: int) -> Iterator[dict]:
    """Images of the demo set's kind through the config's test pipeline."""
    pipeline, rng = plain_pipeline(cfg), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(number):
            path = Path(folder) / f'drawn_{index}.png'
            imwrite(draw_image(256, rng, SCENARIOS['mixed'], index)[0], str(path))
            yield pipeline(dict(img_path=str(path), img_id=index))
