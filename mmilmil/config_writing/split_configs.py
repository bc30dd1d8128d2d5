"""The config files of a split, written as a person would write them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from ..errors import InputError
from ..stage import parse_split
from .code_text import comment

BASES = Path('_base_')
STAGES = Path('ilmil')
ORDINALS = ('First', 'Second', 'Third', 'Fourth', 'Fifth', 'Sixth', 'Seventh', 'Eighth', 'Ninth', 'Tenth', 'Eleventh')
LARGE_GROUP = 10  # classes
DISTILLER = BASES / 'distillers/mfrrk.py'
_JOINT = [
    'joint = dict(',
    '    train_cfg=dict(max_epochs=joint_epochs, val_interval=joint_epochs),',
    '    param_scheduler=[param_scheduler[0], dict(param_scheduler[1], end=joint_epochs, T_max=joint_epochs)])',
]


@dataclass(frozen=True)
class Schedules:
    """Schedules of a data set, by the names of their files in ``_base_/schedules``.

    Attributes:
        first: Of the first stage.
        later: Of the others.
        large: Of those with :data:`LARGE_GROUP` new classes or more, which have more images.
        epochs: Where a schedule leaves the number of epochs to the config: that of a first stage, a later one, and joint
            training, which should see at least as many images as all stages together. The other schedules say it of joint
            training themselves, in `joint`.
    """

    first: str
    later: str
    large: str
    epochs: Optional[tuple[int, int, int]] = None

    def of_group(self, size: int) -> str:
        """The schedule of a later stage with so many new classes."""
        return self.large if size >= LARGE_GROUP else self.later


SGD_VOC = Schedules('sgd_voc', 'sgd_voc_incremental', 'sgd_voc_incremental_large')
SGD_COCO = Schedules('sgd_coco', 'sgd_coco_incremental', 'sgd_coco_incremental')
ADAMW_SMALL = Schedules(*['adamw_small'] * 3, epochs=(14, 10, 24))


@dataclass(frozen=True)
class Recipe:
    """How the stages of a data set are trained.

    Attributes:
        title: What comments call the data set.
        prefix: What file names call it.
        dataset: Its file in ``_base_/datasets``.
        model: The detector's file in ``_base_/models``.
        schedules: How long and how fast.
    """

    title: str
    prefix: str
    dataset: str
    model: str
    schedules: Schedules


MODEL_TITLES = {'frcnn_r50_fpn': 'R50-FPN', 'frcnn_r18_fpn_small': 'small R18-FPN',
                'frcnn_r18_fpn_small_16px': 'small R18-FPN with anchors from 16 px'}
_SMALL = 'frcnn_r18_fpn_small'
RECIPES = {
    'voc07': Recipe('VOC2007', 'voc', 'voc07', 'frcnn_r50_fpn', SGD_VOC),
    'coco17': Recipe('COCO 2017', 'coco', 'coco17', 'frcnn_r50_fpn', SGD_COCO),
    'pcb': Recipe('DeepPCB', 'pcb', 'pcb', _SMALL, ADAMW_SMALL),
    'foda20': Recipe('FODA-20', 'foda20', 'foda20', _SMALL, replace(ADAMW_SMALL, epochs=(14, 10, 14))),
    'foda20x4': Recipe('FODA-20x4', 'foda20x4', 'foda20x4', _SMALL, replace(ADAMW_SMALL, epochs=(14, 10, 27))),
    'shapes': Recipe('the demo set', 'shapes', 'shapes', _SMALL, replace(ADAMW_SMALL, epochs=(12, 7, 19))),
    'shapes_crowded': Recipe('the crowded shapes', 'shapes_crowded', 'shapes_crowded', f'{_SMALL}_16px',
                             replace(ADAMW_SMALL, epochs=(24, 10, 34))),
    'shapes_apart': Recipe('the shapes apart', 'shapes_apart', 'shapes_apart', _SMALL,
                           replace(ADAMW_SMALL, epochs=(18, 16, 17))),
    'shapes_look_alike': Recipe('the look-alike shapes', 'shapes_look_alike', 'shapes_look_alike', _SMALL,
                                replace(ADAMW_SMALL, epochs=(18, 16, 17))),
}
"""The data sets whose configs come with the project, by the name of their file in ``_base_/datasets``."""


class SplitConfigs:
    """The files of one split: its stages. Fine-tuning and joint training are methods that are laid over them.

    Args:
        recipe: How the stages are trained.
        split: The split's name, such as ``10+5+5``.
        classes: The names of all classes in label order.
        shipped: The project's folder of configs, relative to a folder of stages; ``..`` in this repository.
        own_dataset: Whether the data set's file is written beside the stages, not shipped.
        own_model: The detector's file in ``_base_/models`` that is written beside them in the place of the shipped one.

    Raises:
        InputError: the split is not read, has one group, or does not add up to the number of classes.
    """

    def __init__(self, recipe: Recipe, split: str, classes: Sequence[str], shipped: str = '..',
                 own_dataset: bool = False, own_model: Optional[str] = None) -> None:
        self.recipe, self.split, self.classes = recipe, split, tuple(classes)
        self.shipped, self.datasets = shipped, '..' if own_dataset else shipped
        self.model = (shipped, recipe.model) if own_model is None else ('..', own_model)
        self.sizes = parse_split(split)
        if sum(self.sizes) != len(self.classes):
            raise InputError(f'the split {split} adds up to {sum(self.sizes)} classes, but {recipe.title} has '
                             f'{len(self.classes)}: correct the split, or name the classes that you want')
        if len(self.sizes) < 2:
            size = self.sizes[0]
            remedy = f'write one such as {size - 1}+1' if size > 1 else 'it takes two classes at least'
            raise InputError(f'the split {split} has one group, so nothing is learnt later: {remedy}')

    @property
    def last(self) -> Path:
        """The config of the last stage, which stands on all others."""
        return self.stage(len(self.sizes) - 1)

    def stage(self, step: int) -> Path:
        """The config of a stage; 0 is the first."""
        return STAGES / f'{self._name(step)}.py'

    def files(self) -> dict[Path, str]:
        """Content by path, relative to the folder of configs."""
        return {self.stage(0): self._first(), **{self.stage(step): self._later(step) for step in range(1, len(self.sizes))}}

    def _name(self, step: int) -> str:
        """A stage's config without its ending. First stages are shared by all splits that begin alike."""
        if step == 0:
            return f'frcnn_{self.recipe.prefix}_{self.sizes[0]}'
        suffix = f'_step{step}' if len(self.sizes) > 2 else ''
        return f'frcnn_{self.recipe.prefix}_{self.split}{suffix}'

    def _title(self) -> str:
        return f'{self.recipe.title} {self.split}, {MODEL_TITLES.get(self.recipe.model, self.recipe.model)}'

    def _first(self) -> str:
        count = self.sizes[0]
        title = self._title().replace(f' {self.split}', '')
        return '\n'.join([
            comment(f'First stage of {title}: a stock Faster R-CNN on the first {count} classes.'),
            _base_list(self._bases(self.recipe.schedules.first)),
            f'metainfo = dict(classes=_base_.all_classes[:{count}], split=({count}, ))',
            *self._epochs('epochs'),
            '',
            f'model = dict(roi_head=dict(bbox_head=dict(num_classes={count})))',
            *_datasets(),
            *self._epochs_used(),
        ]) + '\n'

    def _later(self, step: int) -> str:
        seen, size = sum(self.sizes[:step + 1]), self.sizes[step]
        classes = '_base_.all_classes' if seen == len(self.classes) else f'_base_.all_classes[:{seen}]'
        before = self._name(step - 1)
        schedules = self.recipe.schedules
        # A step inherits the one before it where only the classes differ.
        schedule_changes = step == 1 or schedules.of_group(size) != schedules.of_group(self.sizes[step - 1])
        by_epochs = schedules.epochs is not None and step == 1
        inherits = schedules.epochs is not None or not schedule_changes
        bases = [f'./{before}.py'] if inherits else self._bases(schedules.of_group(size))
        # What makes it a student; a step that inherits another one has it from there.
        own = step == 1 or not inherits
        return '\n'.join([
            comment(f'{_ordinal(step)} stage of {self._title()}: {self._new(step)} new.'),
            _base_list([*bases, *([f'{self.shipped}/{DISTILLER}'] if own else [])]),
            f'metainfo = dict(classes={classes}, split={self.sizes[:step + 1]})',
            *(self._epochs('epochs', 'joint_epochs') if by_epochs else []),
            '',
            'model = dict(',
            *(["    type='IncrementalFasterRCNN',"] if own else []),
            *_teacher(before, f'work_dirs/{before}/final.pth'),
            *(['    distiller=_base_.distiller,', '    merging=_base_.merging,', '    memory=_base_.memory,',
               '    norm_eval=_base_.norm_eval,'] if own else []),
            f'    roi_head=dict(bbox_head=dict(num_classes={seen})))',
            *_datasets(),
            *(self._epochs_used() + _JOINT if by_epochs else []),
        ]) + '\n'

    def _bases(self, schedule: str) -> list[str]:
        models, model = self.model
        parts = ((models, f'models/{model}'), (self.datasets, f'datasets/{self.recipe.dataset}'),
                 (self.shipped, f'schedules/{schedule}'), (self.shipped, 'default_runtime'))
        return [f'{folder}/{BASES}/{name}.py' for folder, name in parts]

    def _epochs(self, *names: str) -> list[str]:
        """Of a first stage, or with `joint_epochs` of a later one."""
        epochs = self.recipe.schedules.epochs
        return [] if epochs is None else [f'{name} = {value}' for name, value in zip(names, epochs[len(names) - 1:])]

    def _epochs_used(self) -> list[str]:
        if self.recipe.schedules.epochs is None:
            return []
        return [
            'train_cfg = dict(max_epochs=epochs, val_interval=epochs)',
            'param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]',
        ]

    def _new(self, step: int) -> str:
        """The new classes of a stage with their verb."""
        start = sum(self.sizes[:step])
        return new_classes(self.classes[start:start + self.sizes[step]])


def new_classes(new: Sequence[str]) -> str:
    """New classes with their verb, in short."""
    if len(new) == 1:
        return f'{new[0]} is'
    return f'{new[0]} {"and" if len(new) == 2 else "to"} {new[-1]} are'


def _ordinal(step: int) -> str:
    return ORDINALS[step] if step < len(ORDINALS) else f'{step + 1}th'


def _teacher(config: str, checkpoint: str) -> list[str]:
    line = f"    teacher=dict(config='{{{{ fileDirname }}}}/{config}.py', checkpoint='{checkpoint}'),"
    if len(line) <= 120:
        return [line]
    return ['    teacher=dict(', f"        config='{{{{ fileDirname }}}}/{config}.py',", f"        checkpoint='{checkpoint}'),"]


def _base_list(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return f'_base_ = {paths[0]!r}'
    line = f'_base_ = [{", ".join(map(repr, paths))}]'
    return line if len(line) <= 120 else '\n'.join(['_base_ = [', *(f'    {path!r},' for path in paths), ']'])


def _datasets() -> list[str]:
    return [f'{name}_dataloader = dict(dataset=dict(metainfo=metainfo))' for name in ('train', 'val', 'test')]
