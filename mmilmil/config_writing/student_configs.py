"""The config files by which a detector that a user brings learns new classes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .code_text import Code, comment, statement, tuple_of_names
from .dataset_config import root_text
from .split_configs import BASES, STAGES, new_classes
from .teachers import BroughtTeacher

META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
# As many images as a later stage on VOC2007 sees (configs/_base_/schedules/sgd_voc_incremental.py), in 12 to 36 epochs.
_IMAGES_SEEN, _EPOCHS = 36000, (12, 36)
# One step of SGD moves weights by its rate times the gradient: a tenth of the first stage's keeps what is known, as in
# Faster-ILOD and MMA. AdamW moves every weight by about its rate (configs/_base_/schedules/adamw_voc_incremental.py).
_LATER_RATE = dict(SGD=0.1)
_LARGEST_BATCH = 8  # a teacher and a student on one GPU
# Where a detector's config tells no optimizer: SGD at the rate of a later stage on VOC2007.
_DEFAULT = (dict(optimizer=dict(type='SGD', lr=8e-4, momentum=0.9, weight_decay=1e-4), clip_grad=dict(max_norm=35.0)), 8)


@dataclass(frozen=True)
class MeasuredSet:
    """A set that figures come from.

    Attributes:
        kind: The dataset's class.
        settings: Its settings beside pipeline and classes; without ``data_root`` it lies in the new data's folder.
        annotated: The classes whose objects are annotated there, of those that the student knows.
    """

    kind: str
    settings: Mapping[str, Any]
    annotated: tuple[str, ...]


@dataclass(frozen=True)
class NewData:
    """Where the new classes are learnt from, and where all are measured.

    Attributes:
        name: What files call it.
        root: Its folder.
        kind: The class of its datasets.
        train: Settings of the training set, beside pipeline and classes.
        images: How many images a training has to learn from.
        measured: The sets by ``val`` and ``test``.
    """

    name: str
    root: Path
    kind: str
    train: Mapping[str, Any]
    images: int
    measured: Mapping[str, Sequence[MeasuredSet]]


class StudentConfigs:
    """The files of one student: the detector, the data, the teacher as it is tested on the same sets, and the stage itself.

    Args:
        teacher: The detector.
        data: The data.
        new: Names of the new classes in label order.
        shipped: The project's folder of configs, relative to a folder of stages.
        epochs: How long is learnt; by default by the number of images.
    """

    def __init__(self, teacher: BroughtTeacher, data: NewData, new: Sequence[str], shipped: str = '..',
                 epochs: Optional[int] = None) -> None:
        self.teacher, self.data, self.new, self.shipped = teacher, data, tuple(new), shipped
        self.classes = (*teacher.classes, *new)
        self.split = (*teacher.split, len(new))
        self.epochs = epochs or min(max(_IMAGES_SEEN // data.images, _EPOCHS[0]), _EPOCHS[1])
        self.name = f'{teacher.prefix}_{data.name}'
        self.wrapper, self.batch_size = self._optimizer()

    @property
    def dataset_file(self) -> Path:
        """The data's."""
        return BASES / 'datasets' / f'{self.name}.py'

    @property
    def tested(self) -> Path:
        """The config by which the teacher is tested."""
        return STAGES / f'{self.name}_{len(self.teacher.classes)}.py'

    @property
    def stage(self) -> Path:
        """The student's."""
        return STAGES / f'{self.name}_{"+".join(map(str, self.split))}.py'

    @property
    def told(self) -> str:
        """How fast and how long is learnt, as a line to tell."""
        own, base = self.teacher.optim_wrapper, self.teacher.batch_size
        optimizer = self.wrapper['optimizer']
        source = f'of the teacher, {own["optimizer"]["lr"]:g} for {base} images a step' if own else 'by default'
        return (f'{optimizer.get("type")} at {optimizer["lr"]:g} for {self.batch_size} images a step ({source}), epochs: '
                f'{self.epochs}')

    def files(self) -> dict[Path, str]:
        """Content by path, relative to the folder of configs."""
        return {BASES / 'models' / f'{self.name}.py': self._model(), self.dataset_file: self._dataset(),
                self.tested: self._tested(), self.stage: self._stage()}

    def _optimizer(self) -> tuple[dict, int]:
        wrapper, base = self.teacher.optim_wrapper, self.teacher.batch_size
        factor = 1.0
        if wrapper is None:
            wrapper, base = _DEFAULT
        elif not self.teacher.later:
            factor = _LATER_RATE.get(str(wrapper['optimizer'].get('type')), 1.0)
        batch = min(base, _LARGEST_BATCH)
        rate = float(f"{wrapper['optimizer']['lr'] * factor * batch / base:.3g}")
        return {**wrapper, 'optimizer': {**wrapper['optimizer'], 'lr': rate}}, batch

    def _model(self) -> str:
        told = f'{self.teacher.model.type} as it stands in {self.teacher.config}; written by tools/new_split.py.'
        return f'{comment(told)}\n{statement("model", self.teacher.model.to_dict())}\n'

    def _dataset(self) -> str:
        loader, *steps = self.teacher.steps
        masks = dict(with_mask=True) if self.teacher.with_mask else {}
        annotations = dict(type='LoadAnnotations', with_bbox=True, **masks)
        # The homography lets cached teacher boxes follow the image.
        # Padding stays at the right and the bottom, as the teacher has it.
        pad = next((index for index, step in enumerate(steps) if step['type'] == 'Pad'), len(steps))
        train = [loader, annotations, *steps[:pad], dict(type='RandomFlip', prob=0.5), *steps[pad:],
                 dict(type='PackDetInputs', meta_keys=(*META_KEYS, 'homography_matrix'))]
        test = [loader, *steps, dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs', meta_keys=META_KEYS)]
        known = len(self.teacher.classes)
        lines = [
            comment(f'{self.data.name}: the data of a student of {self.teacher.config}, images prepared as for that detector; '
                    'written by tools/new_split.py.'),
            f'data_root = {root_text(self.data.root, self.data.name)}',
            f'# In label order; the teacher knows the first {known}.',
            tuple_of_names('all_classes', self.classes),
            '',
            statement('train_pipeline', train),
            statement('test_pipeline', test),
            statement('train_dataloader', dict(
                batch_size=self.batch_size, num_workers=2, persistent_workers=True,
                sampler=dict(type='DefaultSampler', shuffle=True), batch_sampler=dict(type='AspectRatioBatchSampler'),
                dataset=dict(type=self.data.kind, data_root=Code('data_root'), **self.data.train,
                             pipeline=Code('train_pipeline')))),
        ]
        for role in ('val', 'test'):
            sets = [self._set(measured) for measured in self.data.measured[role]]
            dataset = sets[0] if len(sets) == 1 else dict(type='ConcatDataset', datasets=sets)
            lines.append(statement(f'{role}_dataloader', dict(
                batch_size=4, num_workers=2, persistent_workers=True, drop_last=False,
                sampler=dict(type='DefaultSampler', shuffle=False), dataset=dataset)))
            lines.append(statement(f'{role}_evaluator', self._evaluator(role)))
        return '\n'.join(lines) + '\n'

    def _set(self, measured: MeasuredSet) -> dict:
        root = {} if 'data_root' in measured.settings else dict(data_root=Code('data_root'))
        return dict(type=measured.kind, **root, **measured.settings, annotated=self._annotated(measured.annotated),
                    test_mode=True, pipeline=Code('test_pipeline'))

    def _annotated(self, names: tuple[str, ...]) -> Code | tuple[str, ...]:
        known = len(self.teacher.classes)
        texts = {self.classes: 'all_classes', self.classes[:known]: f'all_classes[:{known}]',
                 self.classes[known:]: f'all_classes[{known}:]'}
        return Code(texts[names]) if names in texts else names

    def _evaluator(self, role: str) -> dict:
        sets = self.data.measured[role]
        if any(one.kind != 'IncrementalCocoDataset' for one in sets):  # VOC XML has no outlines, which COCO's areas go by
            return dict(type='IncrementalVOCMetric', eval_mode='area')
        files = [_ann_file(one.settings) for one in sets]
        masks = dict(metric=['bbox', 'segm']) if self.teacher.with_mask else {}
        return dict(type='IncrementalCocoMetric', ann_file=files[0] if len(files) == 1 else files, **masks)

    def _tested(self) -> str:
        known = len(self.teacher.classes)
        told = f'The teacher of {self.stage.name}, {self.teacher.model.type} with {known} classes, tested on the sets of its ' \
            f'student. It is trained already: {self.teacher.config}, {self.teacher.checkpoint}.'
        return '\n'.join([
            comment(told),
            self._bases(),
            *self._imports(),
            f'metainfo = dict(classes=_base_.all_classes[:{known}], split={self.teacher.split})',
            '',
            'train_dataloader = None',
            *self._teacher_measured(),
        ]) + '\n'

    def _stage(self) -> str:
        told = f'{self.data.name}: {new_classes(self.new)} new to the {len(self.teacher.classes)} classes of ' \
            f'{self.teacher.config}; written by tools/new_split.py.'
        given = self.teacher.told_classes
        teacher = dict(config=f'{{{{ fileDirname }}}}/{self.tested.name}', checkpoint=self.teacher.checkpoint,
                       **({} if given is None else dict(classes=given)))
        levels = self.teacher.neck_levels
        fewer = levels < (4 if self.teacher.distiller == 'mfrrk' else 3)
        distiller = Code(f'dict(_base_.distiller, neck_levels={tuple(range(levels))})' if fewer else '_base_.distiller')
        more = ('memory', 'norm_eval') if self.teacher.distiller == 'mfrrk' else ()
        memory = {name: Code(f'_base_.{name}') for name in more}
        model = dict(type=self.teacher.student, teacher=teacher, distiller=distiller, merging=Code('_base_.merging'),
                     **memory, **_heads(self.teacher.model, len(self.classes)))
        rate = self.wrapper['optimizer']
        drop = dict(type='MultiStepLR', by_epoch=True, milestones=[Code('3 * epochs // 4')], gamma=0.1)
        if rate.get('type') != 'SGD':
            drop = dict(type='CosineAnnealingLR', eta_min_ratio=0.05, by_epoch=True, begin=Code('epochs // 2'),
                        end=Code('epochs'), T_max=Code('epochs - epochs // 2'), convert_to_iter_based=True)
        warm_up = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100)
        return '\n'.join([
            comment(told),
            self._bases(f'distillers/{self.teacher.distiller}'),
            *self._imports(),
            f'metainfo = dict(classes=_base_.all_classes, split={self.split})',
            f'epochs = {self.epochs}',
            '',
            statement('model', model),
            'train_dataloader = dict(dataset=dict(metainfo=metainfo))',
            *self._measured(),
            statement('optim_wrapper', dict(type='OptimWrapper', **self.wrapper)),
            f'auto_scale_lr = dict(enable=False, base_batch_size={self.batch_size})',
            statement('param_scheduler', [warm_up, drop] if self.epochs > 1 else [warm_up]),
            "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=epochs)",
        ]) + '\n'

    def _bases(self, *more: str) -> str:
        folder = f'../{BASES}'
        shipped = f'{self.shipped}/{BASES}'
        paths = [f'{folder}/models/{self.name}.py', f'{folder}/datasets/{self.name}.py', f'{shipped}/default_runtime.py',
                 *(f'{shipped}/{name}.py' for name in more)]
        return statement('_base_', paths)

    def _imports(self) -> list[str]:
        own = [name for name in self.teacher.imports if name != 'mmilmil']
        return [f'custom_imports = dict(imports={["mmilmil", *own]!r}, allow_failed_imports=False)'] if own else []

    def _teacher_measured(self) -> Iterable[str]:
        known = set(self.teacher.classes)
        for role in ('val', 'test'):
            if any(known & set(one.annotated) for one in self.data.measured[role]):
                yield from self._measured(role)
            else:  # nothing of what it knows is annotated there
                yield f'{role}_dataloader = {role}_evaluator = {role}_cfg = None'

    def _measured(self, *roles: str) -> Iterable[str]:
        for role in roles or ('val', 'test'):
            several = len(self.data.measured[role]) > 1
            sets = f'_base_.{role}_dataloader.dataset.datasets'
            what = f'datasets=[dict(_set, metainfo=metainfo) for _set in {sets}]' if several else 'metainfo=metainfo'
            yield statement(f'{role}_dataloader', dict(dataset=Code(f'dict({what})')))


def _heads(model: Mapping, number: int) -> dict:
    """What changes in the heads for another number of classes; a list is replaced, not merged."""
    owner, path = (model['roi_head'], '_base_.model.roi_head') if model.get('roi_head') else (model, '_base_.model')
    heads = {}
    for name in ('bbox_head', 'mask_head'):
        head = owner.get(name)
        if isinstance(head, (list, tuple)):
            heads[name] = Code(f'[dict(_head, num_classes={number}) for _head in {path}.{name}]')
        elif head:
            heads[name] = dict(num_classes=number)
    return dict(roi_head=heads) if model.get('roi_head') else heads


def _ann_file(settings: Mapping[str, Any]) -> Code | str:
    """The path of a COCO file as a metric takes it, not relative to a root."""
    file = settings['ann_file']
    if 'data_root' in settings:
        return str(Path(settings['data_root']) / file)
    return Code('f' + repr('{data_root}/' + file.replace('{', '{{').replace('}', '}}')))
