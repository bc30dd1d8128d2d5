"""The images that int8 is calibrated on, and which classes they show."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import nn

from ..datasets.image_files import IMAGE_EXTENSIONS, files_below
from ..datasets.reading import decode, text_lines
from ..errors import InputError
from ..loaders import innermost_dataset, innermost_datasets, test_loader
from ..registry import DATASETS
from ..runtime.detector import Detector
from .agreement import FOUND_FROM
from .images import Images, plain_pipeline, spread
from .model import fitted

FEWEST = 10
MOST = 500
"""Of a folder or a list; more of them change no range and cost time."""

Inputs = dict[str, np.ndarray]
"""What an exported model is given, by the names of its inputs."""

_WAYS = ('a folder of images, a text file with the path of one in each line, or a number of images of the training set, such '
         'as 100')


@dataclass(frozen=True)
class Annotated:
    """What the annotation of an image tells.

    Attributes:
        shown: Classes that it has an object of.
        told: Classes whose objects it has all of; of the others nothing is known.
    """

    shown: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()


@dataclass
class CalibrationImages:
    """Images that go through the config's test pipeline when they are asked for.

    Attributes:
        source: Where they are from, in words.
        annotations: What is known of each.
        items: Gives what the pipeline makes of them.
    """

    source: str
    annotations: Sequence[Annotated]
    items: Callable[[], Iterator[dict]]

    def prepared(self, preprocessor: nn.Module) -> Images:
        """The images as the detector gets them."""
        return Images(self.source, True, len(self.annotations), self.items, preprocessor)


def calibration_images(cfg: Config, given: str) -> CalibrationImages:
    """The images that ``--int8`` names.

    Args:
        cfg: The config; MMEngine's default scope is set.
        given: A number of images of the config's training set, a folder of images, or a list: a text file with one path in
            each line, from the list's folder or from the working directory.

    Raises:
        InputError: it is none of these, an image is missing, or there are fewer than ten.
    """
    found = _of_training_set(cfg, int(given)) if given.isdecimal() else _of_files(cfg, given)
    number = len(found.annotations)
    if number < FEWEST:
        raise InputError(f'--int8 {given}: {number} image{"s" * (number != 1)} ({found.source}) are too few to calibrate on: '
                         f'give {FEWEST} or more, better a hundred that show every class')
    return found


def _of_training_set(cfg: Config, number: int) -> CalibrationImages:
    if not cfg.get('train_dataloader'):
        raise InputError(f'--int8 {number}: the config has no train_dataloader to take images of: give a folder of images, or '
                         'a text file with the path of one in each line')
    pipeline = innermost_dataset(test_loader(cfg)).pipeline
    datasets = [DATASETS.build({**one, 'pipeline': copy.deepcopy(pipeline)})
                for one in innermost_datasets(cfg.train_dataloader.dataset)]
    places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    chosen = [places[place] for place in spread(len(places), number)]
    return CalibrationImages(f'{len(chosen)} of {len(places)} in train_dataloader',
                             [_annotated(*one) for one in chosen], lambda: (dataset[index] for dataset, index in chosen))


def _annotated(dataset: Any, index: int) -> Annotated:
    info, classes = dataset.get_data_info(index), dataset.metainfo['classes']
    if info.get('unlabelled'):
        return Annotated()
    shown = {classes[one['bbox_label']] for one in info['instances'] if not one.get('ignore_flag')}
    return Annotated(frozenset(shown), frozenset(getattr(dataset, 'kept_classes', classes)))


def _of_files(cfg: Config, given: str) -> CalibrationImages:
    path = Path(given)
    if path.is_dir():
        paths = sorted(path / name for name in files_below(path) if Path(name).suffix.lower() in IMAGE_EXTENSIONS)
    elif not path.is_file():
        raise InputError(f'--int8 {given} does not exist: give {_WAYS}')
    elif path.suffix.lower() in IMAGE_EXTENSIONS:
        raise InputError(f'--int8 {given} is an image: give {_WAYS}')
    else:
        paths = _listed(path)
    chosen = [paths[place] for place in spread(len(paths), MOST)]
    return CalibrationImages(f'{len(chosen)} of {len(paths)} in {given}', [Annotated()] * len(chosen),
                             partial(_read, chosen, plain_pipeline(cfg)))


def _listed(path: Path) -> list[Path]:
    found = []
    for name in text_lines(decode(path.read_bytes(), str(path))):
        there = next((one for one in (path.parent / name, Path(name)) if one.is_file()), None)
        if there is None:
            raise InputError(f'--int8 {path} lists {name}, which is no file, neither from the folder of the list nor from '
                             'here: correct the path')
        found.append(there)
    return found


def _read(paths: Sequence[Path], pipeline: Compose) -> Iterator[dict]:
    for index, path in enumerate(paths):
        try:
            yield pipeline(dict(img_path=str(path), img_id=index))
        except Exception as error:  # a broken file can break a decoder in any way
            raise InputError(f'--int8: the image {path} cannot be read ({" ".join(str(error).split())[:200]}): replace it, or '
                             'take it out') from error


class Calibration:
    """Goes through the images once, each of them in memory alone, and notes what they show.

    Args:
        images: The images.
        preprocessor: The detector's.
        model: The exported model in float, which is asked for the classes that no annotation tells, as for the old ones in the
            images of a later stage.

    Attributes:
        used: Images gone through.
        left_out: Images that do not fit into the model's fixed input.
        shown: By class the number of images that show it.
    """

    def __init__(self, images: CalibrationImages, preprocessor: nn.Module, model: Detector) -> None:
        self.images, self.preprocessor, self.model = images, preprocessor, model
        self.used = self.left_out = 0
        self.shown: Counter[str] = Counter()
        self.asked: set[str] = set()

    def __iter__(self) -> Iterator[Inputs]:
        classes = self.model.metadata.classes
        annotations = self.images.annotations
        for image, known in zip(self.images.prepared(self.preprocessor), annotations):
            try:
                pixels = fitted(image.pixels, self.model.metadata, image.name).numpy()
            except InputError:
                self.left_out += 1
                continue
            given = dict(image=pixels, image_shape=np.array(image.shape, np.int64))
            shown, asked = set(known.shown), set(classes) - known.told
            if asked:
                self.asked |= asked
                _, scores, labels = self.model.run(**given)
                shown |= asked & {classes[label] for label in labels[scores >= FOUND_FROM]}
            self.shown.update(shown)
            self.used += 1
            yield given
        if self.used < FEWEST:
            raise InputError(f'--int8: only {self.used} of {len(annotations)} images fit into the input of '
                             f'{self.model.metadata.input_size}, and {FEWEST} are the fewest to calibrate on: export with '
                             '--dynamic, or with a larger --size')

    @property
    def unseen(self) -> list[str]:
        """Classes that no image shows."""
        return [name for name in self.model.metadata.classes if not self.shown[name]]

    def as_dict(self) -> dict:
        """As plain data."""
        classes = self.model.metadata.classes
        return dict(images=self.used, source=self.images.source, left_out=self.left_out, unseen=self.unseen,
                    shown={name: self.shown[name] for name in classes},
                    by_the_model=[name for name in classes if name in self.asked])
