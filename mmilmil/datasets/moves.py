"""Which training pipelines tell where they moved an image, so that boxes kept in pixels of its file can follow it.

MMDetection's transforms move annotated boxes; some of them also write down how, in ``homography_matrix``. Nothing tells which:
Expand moves the boxes and leaves the matrix as it is. So only transforms that were tried are taken (tests/test_moves.py holds
each of them against the boxes that it moves).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Optional

from mmcv import transforms as mmcv
from mmdet.datasets import transforms as mmdet
from mmdet.engine.hooks import PipelineSwitchHook
from mmdet.models.data_preprocessors import BatchFixedSizePad
from mmengine.dataset import Compose
from torch import nn

from ..errors import InputError

META_KEYS = ('img_id', 'img_shape', 'homography_matrix')
"""What a packed sample has to tell."""

# Leave boxes where they are.
STILL = (
    mmcv.LoadAnnotations, mmcv.LoadImageFromFile, mmcv.Normalize, mmcv.RandomGrayscale, mmdet.AutoContrast, mmdet.Brightness,
    mmdet.Color, mmdet.ColorTransform, mmdet.Contrast, mmdet.CutOut, mmdet.Equalize, mmdet.FilterAnnotations, mmdet.Invert,
    mmdet.LoadAnnotations, mmdet.PhotoMetricDistortion, mmdet.Posterize, mmdet.Sharpness, mmdet.Solarize, mmdet.SolarizeAdd,
    mmdet.YOLOXHSVRandomAug)
# Draw a size and let another transform resize to it.
RESIZERS = (mmcv.RandomChoiceResize, mmcv.RandomResize, mmdet.ResizeShortestEdge)
# Write the matrix down for every image.
ALWAYS = (mmdet.FixScaleResize, mmdet.FixShapeResize, mmdet.RandomCrop, mmdet.Resize)
# Cut boxes off at the border of the image, which they leave.
CUTTING = (mmdet.RandomCrop, mmdet.Rotate, mmdet.ShearX, mmdet.ShearY, mmdet.TranslateX, mmdet.TranslateY)
# Go wrong with boxes that were cut off before: they turn the box, not what is left of it, or put a border of filling around the
# image, which hides where the boxes end.
AFTER_CUT_WRONG = (mmdet.FixShapeResize, mmdet.Pad, *CUTTING[1:])
MOVING = (*ALWAYS, mmdet.Pad, mmdet.RandomFlip, *CUTTING[1:])
# Of these one list of transforms is drawn; of those all are applied, or none.
CHOOSING = (mmcv.RandomChoice, mmdet.AutoAugment)
GROUPING = (mmcv.Compose, Compose)
KNOWN = (*STILL, *RESIZERS, *MOVING, *CHOOSING, *GROUPING, mmcv.RandomApply, mmdet.PackDetInputs)

CACHED = 'cached teacher boxes (model.teacher_boxes)'
REMEDY = 'Leave it out of {}, or leave model.teacher_boxes out, so that the teacher looks at each batch as it is'


@dataclass(frozen=True)
class _State:
    """How far a pipeline was followed: what cut boxes off, whether the matrix is there, whether the sample is packed."""

    cut_by: Optional[str] = None
    written: bool = False
    packed: bool = False


def check_moves(dataset, data_preprocessor: nn.Module, hooks: Iterable = ()) -> None:
    """Every training sample tells truly how its image was moved.

    Args:
        dataset: The training set, built, in whatever wrappers.
        data_preprocessor: The detector's, which may move images too.
        hooks: The runner's; one of them may bring another pipeline.

    Raises:
        InputError: a transform is not known to tell it, comes where it does not, or the sample is packed without it.
    """
    for steps in [*_pipelines(dataset), *(Compose(hook.switch_pipeline).transforms
                                          for hook in hooks if isinstance(hook, PipelineSwitchHook))]:
        state = _follow(steps, _State())
        if not state.packed:
            raise InputError(f'{CACHED} follow samples that PackDetInputs packs, which the training pipeline does not have: '
                             'add it as the last transform, or leave model.teacher_boxes out')
        if not state.written:
            raise InputError(f'{CACHED} follow an image by its homography_matrix, which no transform of the training pipeline '
                             "writes for every image: add dict(type='Resize', scale_factor=1.0), which leaves it as it is, "
                             'or leave model.teacher_boxes out')
    for augment in getattr(data_preprocessor, 'batch_augments', None) or ():
        if type(augment) is not BatchFixedSizePad:
            raise _not_known(augment, 'model.data_preprocessor.batch_augments')


def _pipelines(dataset) -> Iterator[list]:
    """The transforms that each innermost dataset's samples pass, with those of the wrappers around it."""
    own = getattr(dataset, 'pipeline', ())
    own = list(getattr(own, 'transforms', own))
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', None)
    if inner is None:
        yield own
        return
    for part in inner:
        for steps in _pipelines(part):
            yield [*steps, *own]


def _follow(steps: Iterable, state: _State) -> _State:
    for step in steps:
        kind = type(step)
        if kind not in KNOWN:
            raise _not_known(step, 'the training pipeline')
        if kind in GROUPING:
            state = _follow(step.transforms, state)
        elif kind in RESIZERS:
            state = _follow([step.resize], state)
        elif kind is mmcv.RandomApply:
            state = _worst([state, _follow(step.transforms, state)])
        elif kind in CHOOSING:
            state = _worst([_follow(branch, state) for branch in step.transforms])
        elif kind is mmdet.PackDetInputs:
            _check_packing(step)
            state = replace(state, packed=True)
        else:
            state = _move(step, state)
    return state


def _move(step, state: _State) -> _State:
    kind = type(step)
    if kind in AFTER_CUT_WRONG and state.cut_by:
        raise InputError(f'{kind.__name__} after {state.cut_by} in the training pipeline: {CACHED} do not follow there, since '
                         f'{state.cut_by} cuts boxes off at the border of the image. '
                         f'Put {kind.__name__} first or leave one of the two out, or leave model.teacher_boxes out')
    return replace(state, cut_by=kind.__name__ if kind in CUTTING else state.cut_by, written=state.written or kind in ALWAYS)


def _worst(states: list[_State]) -> _State:
    cut_by = next((state.cut_by for state in states if state.cut_by), None)
    return _State(cut_by, all(state.written for state in states), all(state.packed for state in states))


def _check_packing(step: mmdet.PackDetInputs) -> None:
    absent = [key for key in META_KEYS if key not in step.meta_keys]
    if absent:
        raise InputError(f'{CACHED} need {", ".join(map(repr, absent))} of each sample: add to the meta_keys of PackDetInputs '
                         'in the training pipeline, or leave model.teacher_boxes out')


def _not_known(step, place: str) -> InputError:
    kind = type(step)
    return InputError(f'{CACHED} cannot follow an image through {kind.__module__}.{kind.__name__}, which is not among the '
                      f'transforms that are known to tell how they move it. {REMEDY.format(place)}')
