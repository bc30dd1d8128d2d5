"""What a student's config leaves out, so that two configs can be compared whatever they leave to the defaults.

A run writes it all into its config (:class:`ResumeCheckHook`), and so into its checkpoints. What an older checkpoint leaves out
it had the defaults of its time for, which are kept here as they were: when the library's change, it is of another run.
"""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mmdet.models import TwoStageDetector

from ..models import Teacher
from ..models.detectors.incremental import UNSET
from ..models.merging import SAMPLING
from ..registry import MODELS
from ..stock import is_student

Defaults = Callable[[str], dict]
"""Default settings of a type, by its name."""

# Of the time before runs wrote them out. Not to be changed with the library's; a setting that is new since then joins them with
# the value that makes no difference.
FIRST_DEFAULTS: dict[str, dict] = {
    'IncrementalFasterRCNN': dict(
        distiller=dict(type='MFRRKDistiller'),
        merging=dict(score_thr=0.5, iou_thr=0.3, nms_iou_thr=0.4),
        memory=None,
        frozen=(),
        norm_eval=False,
        teacher_boxes=None,
        start='pruned'),
    'Teacher': dict(max_proposals=128),
    'MFRRKDistiller': dict(
        feature=dict(type='FeatureNormMSELoss', loss_weight=0.2),
        backbone_levels=(),
        neck_levels=(0, 1, 2, 3),
        spare_new=True,
        rpn_cls=dict(type='RPNObjectnessHingeLoss', loss_weight=0.02),
        rpn_reg=dict(type='RPNForegroundDeltaLoss', loss_weight=0.02),
        roi_cls=dict(type='UnbiasedKDLoss', subtract_entropy=True, normalize=False, loss_weight=0.2),
        roi_reg=dict(type='RoIDeltaLoss', by_probability=True, loss_weight=0.2),
        score=dict(type='ScoreL1Loss', loss_weight=0.02),
        apart_cls=None,
        apart_reg=None,
        roi_feature=None,
        cross_head=None,
        cross_head_reg=None,
        candidates=128,
        ranking='objectness',
        num_rois=32,
        exclude_iou=0.3),
    'FeatureHingeLoss': dict(loss_weight=1.0),
    'FeatureMSELoss': dict(loss_weight=1.0),
    'FeatureNormMSELoss': dict(loss_weight=1.0),
    'RPNObjectnessBCELoss': dict(loss_weight=1.0),
    'RPNObjectnessHingeLoss': dict(loss_weight=1.0),
    'RPNObjectnessMSELoss': dict(loss_weight=1.0),
    'RPNDeltaLoss': dict(margin=0.1, loss_weight=1.0),
    'RPNForegroundDeltaLoss': dict(threshold=0.5, beta=0.1111111111111111, loss_weight=1.0),
    'UnbiasedKDLoss': dict(temperature=1.0, normalize=True, subtract_entropy=False, loss_weight=1.0),
    'LogitMSELoss': dict(loss_weight=1.0),
    'RoIDeltaLoss': dict(beta=1.0, squared=False, by_probability=False, loss_weight=1.0),
    'ScoreL1Loss': dict(loss_weight=1.0),
}


def defaults_now(name: str) -> dict:
    """The library's defaults of a type as they are. What has none is to be in the config."""
    kind = Teacher if name == 'Teacher' else MODELS.get(name)
    if kind is None:
        return {}
    given = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()
             if parameter.default is not parameter.empty and parameter.default is not UNSET}
    return copy.deepcopy(given)


def first_defaults(name: str) -> dict:
    """The defaults of a type in the first runs; of a type that is not this library's or newer, those of now."""
    return copy.deepcopy(FIRST_DEFAULTS[name]) if name in FIRST_DEFAULTS else defaults_now(name)


def completed(model: Mapping, defaults: Defaults = defaults_now) -> dict:
    """A student's model config with every setting of teacher, distiller, terms and merging that it leaves to the defaults.

    Args:
        model: A model config; one that is no student's is returned as it is.
        defaults: Where they are taken from.
    """
    if not is_student(model):
        return model
    own = defaults(_name(model['type']))
    whole = {**model, **{name: value for name, value in own.items() if name not in model}}
    for name in ('distiller', 'merging'):
        if isinstance(whole.get(name), Mapping) and isinstance(own.get(name), Mapping):
            whole[name] = {**own[name], **whole[name]}
    if isinstance(whole.get('merging'), Mapping):
        whole['merging'] = {**whole['merging'], **{
            name: value for name, value in SAMPLING.items() if name not in whole['merging']}}
    if isinstance(whole.get('distiller'), Mapping) and 'type' in whole['distiller']:
        whole['distiller'] = _completed_distiller(whole['distiller'], defaults)
    # Proposals are a two-stage teacher's only setting with a default.
    if isinstance(whole.get('teacher'), Mapping) and issubclass(MODELS.get(_name(model['type'])), TwoStageDetector):
        whole['teacher'] = {**whole['teacher'], **{
            name: value for name, value in defaults('Teacher').items() if name not in whole['teacher']}}
    return whole


def _completed_distiller(cfg: Mapping, defaults: Defaults) -> dict:
    given = defaults(_name(cfg['type']))
    whole = {'type': _name(cfg['type']), **given, **{name: value for name, value in cfg.items() if name != 'type'}}
    for name, term in whole.items():
        if not isinstance(term, Mapping):
            continue
        if 'type' not in term and isinstance(given.get(name), Mapping):  # settings of the default term of that time
            term = {**given[name], **term}
        if 'type' in term:
            kind = _name(term['type'])
            term = {'type': kind, **defaults(kind), **{key: value for key, value in term.items() if key != 'type'}}
        whole[name] = term
    return whole


def _name(kind: Any) -> Any:
    """A type's name without the scope."""
    return kind.removeprefix('mmilmil.') if isinstance(kind, str) else getattr(kind, '__name__', kind)
