"""The field's methods (docs/methods.md): each is laid over stages of several detectors, has its terms and takes a step."""

import copy
import functools
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from tiny import ROOT, SEEN, batch, build, detector_cfg, detector_file, shake, taught

from mmilmil import InputError
from mmilmil.config import read_file
from mmilmil.engine.cli import read_config
from mmilmil.engine.methods import lay_over
from mmilmil.overlays import classified_by
from mmilmil.registry import MODELS

METHODS = ROOT / 'configs/methods'
RPN = {'rpn_cls', 'rpn_reg'}
ROI = {'roi_cls', 'roi_reg'}
# By method, its terms.
PEERS = {
    'ilmil': {'feature', 'score'},
    'ilmil_no_hint': {'score'},
    'ilmil_only_boxes': set(),
    'ilod': ROI,
    'faster_ilod': {'feature'} | RPN | ROI,
    'verwimp': {'feature'} | RPN | ROI,
    'mma': RPN | ROI,
    'abr': {'roi_feature'} | ROI,
    'bpf': RPN | ROI,
    'cross_head': {'cross_head', 'cross_head_reg'} | RPN,
    'fachd': {'cross_head', 'cross_head_reg'} | RPN,
}
MERGING = {'ilmil', 'ilmil_no_hint', 'ilmil_only_boxes', 'bpf', 'cross_head', 'fachd'}
UNBIASED = {'mma', 'abr'}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmilmil')


def laid_over(stage: str, method: str):
    return copy.deepcopy(_laid_over(stage, method))


@functools.cache
def _laid_over(stage: str, method: str):
    return lay_over(_stage(stage), METHODS / f'{method}.py')


@functools.cache
def _stage(name: str):
    return read_file(str(ROOT / f'configs/ilmil/{name}.py'))


def lay_over_changed(stage, method):
    """A stage that was changed after it was read, as a file that says the same."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / Path(stage.filename).name
        stage.dump(path)
        return lay_over(read_file(str(path)), method)


def heads_of(model):
    heads = model.roi_head.bbox_head
    return list(heads) if isinstance(heads, list | torch.nn.ModuleList) else [heads]


# All over a small and a full detector, and those that look into the stage's model over others too.
STAGES = [(method, stage) for method in PEERS for stage in ('frcnn_shapes_4+2', 'frcnn_voc_15+5')]
STAGES += [('faster_ilod', 'frcnn_vgg16_voc_19+1'), ('mma', 'cascade_pcb_4+2'), ('abr', 'cascade_pcb_4+2')]


@pytest.mark.parametrize('method, stage', STAGES)
def test_a_method_is_laid_over_any_two_stage_detector(method, stage):
    model = laid_over(stage, method).model
    with torch.device('meta'):
        student = MODELS.build(model)
    terms = {} if student.distiller is None else student.distiller.asked
    assert {term for term in terms if getattr(student.distiller, term) is not None} == PEERS[method]
    assert (student.merging is not None) == (method in MERGING)
    assert {type(head.loss_cls).__name__ for head in heads_of(student)} == {
        'UnbiasedCrossEntropyLoss' if method in UNBIASED else 'CrossEntropyLoss'}
    if method in UNBIASED:  # nothing else of the heads has changed
        before = [dict(head, loss_cls=None) for head in heads_of(_stage(stage).model)]
        assert [dict(head, loss_cls=None) for head in heads_of(model)] == before


@pytest.fixture(scope='module')
def teacher_of(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp('teachers'), {}

    def make(kind):
        if kind not in made:
            made[kind] = detector_file(folder / f'{kind}.pth', kind)
        return made[kind]

    return make


@pytest.mark.parametrize('method, kind', [*((method, 'frcnn') for method in PEERS), ('abr', 'cascade'), ('fachd', 'cascade')])
def test_a_step(method, kind, teacher_of):
    """Every term is there, finite and above zero, and so are the gradients."""
    cfg = laid_over('frcnn_shapes_4+2', method).model
    tiny = ConfigDict(detector_cfg(kind, len(SEEN)))
    if method in UNBIASED:
        heads = classified_by(tiny, cfg.roi_head.bbox_head.loss_cls)['bbox_head']
        tiny.roi_head.bbox_head = heads if isinstance(heads, list) else dict(
            tiny.roi_head.bbox_head, loss_cls={key: value for key, value in heads['loss_cls'].items() if key != '_delete_'})
    model = taught(tiny, teacher_of(kind), 'mfrrk', teacher={
        key: value for key, value in cfg.teacher.items() if key == 'max_proposals'})
    for name in ('distiller', 'merging', 'memory', 'frozen', 'norm_eval'):
        model[name] = cfg[name]
    student = shake(build(model, seed=7), seed=3, amount=0.3).train()
    with torch.no_grad():  # it has lost objectness, without which the RPN's box term says nothing
        student.rpn_head.rpn_cls.bias -= 0.5
    torch.manual_seed(5)
    losses = student.loss(*batch())
    assert {name for name in losses if name.startswith('loss_kd')} == {f'loss_kd_{term}' for term in PEERS[method]}
    assert all(losses[f'loss_kd_{term}'] > 0 for term in PEERS[method])
    total, _ = student.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(weight.grad).all() for weight in student.parameters() if weight.grad is not None)


@pytest.mark.parametrize('stage, mma, abr', [
    ('frcnn_voc_19+1', 1.0, (1.0, 1.0, 5.0)), ('frcnn_pcb_4+2', 1.0, (1.0, 1.0, 1.0)), ('frcnn_voc_15+5', 0.5, (0.5, 1.0, 1.0)),
    ('frcnn_voc_10+10', 0.1, (0.1, 0.5, 1.0)), ('frcnn_voc_5+15', 0.1, (0.1, 0.5, 1.0)),
    ('frcnn_voc_10+5+5_step2', 0.5, (0.5, 1.0, 1.0))])
def test_weights_that_go_by_the_number_of_new_classes(stage, mma, abr):
    """As published: of the classes of this stage, whatever came before."""
    distiller = laid_over(stage, 'mma').model.distiller
    assert distiller.roi_cls.loss_weight == distiller.roi_reg.loss_weight == mma
    distiller = laid_over(stage, 'abr').model.distiller
    assert (distiller.roi_cls.loss_weight, distiller.roi_feature.loss_weight, distiller.roi_feature.gamma) == abr
    assert distiller.roi_reg.loss_weight == abr[0]


def test_ilod_looks_for_its_rois_among_all_proposals():
    """Of the test's 200 in the small form and 1000 in the full one, not among the first 128 only."""
    for stage in ('frcnn_shapes_4+2', 'frcnn_voc_15+5'):
        model = laid_over(stage, 'ilod').model
        assert model.teacher.max_proposals >= model.test_cfg.rpn.max_per_img
        assert (model.distiller.candidates, model.distiller.num_rois, model.distiller.ranking) == (128, 64, 'foreground')


@pytest.mark.parametrize('method', [*PEERS, 'nsgp_repre', 'replay', 'finetune'])
def test_a_peer_is_whole_in_its_file(method):
    """Whatever the stage's own method becomes, a peer stays what it is."""
    stage = copy.deepcopy(_stage('frcnn_shapes_4+2'))
    before = lay_over(stage, METHODS / f'{method}.py').model.to_dict()
    stage.model.distiller.update(cross_head=dict(type='LogitMSELoss'), num_rois=7, spare_new=False)
    stage.model.merging = dict(score_thr=0.1, iou_thr=0.1, nms_iou_thr=0.1, rpn=False, annotated_share=0.5)
    stage.model.update(memory=dict(per_step=3, soft=True, least_share=0.1), frozen=['backbone'], norm_eval=False)
    after = lay_over_changed(stage, METHODS / f'{method}.py').model.to_dict()
    assert after == before


def test_the_correction_is_all_that_differs():
    models = [laid_over('frcnn_voc_15+5', method).model for method in ('faster_ilod', 'verwimp')]
    assert [model.distiller.pop('exclude_iou') for model in models] == [None, 0.5]
    assert models[0] == models[1]


@pytest.mark.parametrize('method', sorted(UNBIASED))
def test_a_detector_without_rois_is_told(method):
    with pytest.raises(InputError, match=rf'the method {method} .*UnbiasedCrossEntropyLoss, is of two-stage detectors, and a '
                       'IncrementalGFL has no model.roi_head.bbox_head'):
        read_config(str(ROOT / 'configs/ilmil/gfl_pcb_4+2.py'), method=METHODS / f'{method}.py')


@pytest.mark.parametrize('method', sorted(PEERS.keys() - UNBIASED - {'ilmil_only_boxes'}))
def test_terms_that_a_dense_detector_lacks_are_told(method):
    with pytest.raises(InputError, match=rf'the method {method} .*does not fit the detector of .*gfl_pcb_4\+2.py, .* of other'):
        read_config(str(ROOT / 'configs/ilmil/gfl_pcb_4+2.py'), method=METHODS / f'{method}.py')


def test_the_page_has_every_method():
    """A row of its tables begins with the names of one or more."""
    rows = re.findall(r'^\| ((?:`[\w.]+`(?:, )?)+) \|', (ROOT / 'docs/methods.md').read_text(), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r'`([\w.]+)`', row)]
    assert sorted(named) == sorted(path.stem for path in METHODS.glob('*.py'))
