"""The configs in `configs/`: they agree with themselves, one another and their names, and their models run."""

import copy
import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import mmdet
import mmengine
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmilmil.data_tools.shape_scenarios import SCENARIOS
from mmilmil.engine.methods import lay_over
from mmilmil.engine.student_settings import FIRST_DEFAULTS
from mmilmil.registry import MODELS
from mmilmil.stage import Stage, parse_split
from mmilmil.stock import full_model_cfg, stock_model_cfg

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
METHODS = CONFIGS / 'methods'
STAGES = sorted(path for folder in ('ilmil', 'ablations') for path in (CONFIGS / folder).glob('*.py'))
STUDENTS = [path for path in STAGES if '+' in path.stem]
# Terms of the distiller, by the name of the ablation that switches them off.
TERMS = {'feature': {'feature'}, 'rpn': {'rpn_cls', 'rpn_reg'}, 'score': {'score'},
         'rcn': {'roi_cls', 'roi_reg', 'apart_cls', 'apart_reg', 'cross_head'}}
LOSSES = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}
KD_LOSSES = {f'loss_kd_{term}' for terms in TERMS.values() for term in terms}



def for_each(items: Iterable) -> Callable:
    """Make one test of a check of many items: it checks them all and names those that fail."""

    def make(check: Callable) -> Callable:

        def test():
            failed = {}
            for item in items:
                try:
                    check(item)
                except Exception as error:
                    failed[item] = f'{type(error).__name__}: {error}'
            assert not failed, '\n'.join(f'{getattr(item, "stem", item)}: {why}' for item, why in failed.items())

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return make


def test_a_check_of_many_names_those_that_fail():
    @for_each([1, 2, 3])
    def check(number):
        assert number != 2, 'not two'

    with pytest.raises(AssertionError, match=r'\A2: AssertionError: not two') as error:
        check()
    assert '3:' not in str(error.value) and check.__name__ == 'check'


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmilmil')


def load(name: str | Path, method: str | None = None) -> Config:
    """A config by its path, absolute or below `configs/`, as a method makes it; the caller may change it."""
    return copy.deepcopy(_read(CONFIGS / name, method))


@functools.cache
def _read(path: Path, method: str | None) -> Config:
    return lay_over(_read(path, None), METHODS / f'{method}.py') if method else Config.fromfile(path)


# Stock detectors by the word that a config's name begins with, or has behind that of a method.
DETECTORS = {'cascade': 'CascadeRCNN', 'maskrcnn': 'MaskRCNN', 'retinanet': 'RetinaNet', 'atss': 'ATSS', 'gfl': 'GFL',
             'rtmdet': 'RTMDet'}


def stock_type(path: Path) -> str:
    """The stock detector that a config's name tells; where it tells none it is Faster R-CNN."""
    return next((kind for word, kind in DETECTORS.items() if word in path.stem.split('_')), 'FasterRCNN')


def class_heads(model: ConfigDict) -> list[ConfigDict]:
    """Configs of the heads that know classes: of boxes, of each cascade stage, of masks."""
    heads = [part[name] for part in (model, model.get('roi_head', {})) for name in ('bbox_head', 'mask_head') if name in part]
    return [one for head in heads for one in (head if isinstance(head, list) else [head])]


def stage_of(cfg: Config) -> Stage:
    return Stage.from_metainfo(cfg.metainfo)


def build(model: dict) -> torch.nn.Module:
    """The model without storage for its weights: quick, whatever its size."""
    with torch.device('meta'):
        return MODELS.build(model)


@functools.cache
def weight_names(model: str) -> tuple[str, ...]:
    """The names of a model's weights; its config is given as JSON, as many stages have the same."""
    return tuple(build(ConfigDict(json.loads(model))).state_dict())


def named_stage(path: Path) -> tuple[tuple[int, ...], bool]:
    """The class groups that a config's name tells, and whether it is the last stage of its split."""
    split = parse_split(re.search(r'_(\d[\dx+]*)(?:_|$)', path.stem)[1])
    step = re.search(r'_step(\d+)$', path.stem)
    groups = split[:int(step[1]) + 1] if step else split
    return groups, groups == split


@for_each(STAGES)
def test_stage_agrees_with_itself_and_its_name(path):
    cfg = load(path)
    stage = stage_of(cfg)
    groups, last = named_stage(path)
    assert stage.split == groups
    assert stage.classes == tuple(cfg.all_classes[:sum(groups)])
    if len(groups) > 1 and last:
        assert stage.classes == tuple(cfg.all_classes)
    assert {head.num_classes for head in class_heads(cfg.model)} == {len(stage.classes)}
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.metainfo == cfg.metainfo
    assert 'keep' not in cfg.train_dataloader.dataset


@for_each(['voc07', 'pcb', 'shapes', 'shapes_crowded', 'shapes_apart', 'shapes_look_alike', 'foda20', 'foda20x4'])
def test_classes_are_in_alphabetical_order(name):
    classes = load(f'_base_/datasets/{name}.py').all_classes
    assert list(classes) == sorted(set(classes))


@for_each(STAGES)
def test_student_stands_on_the_right_teacher(path):
    cfg = load(path)
    stage = stage_of(cfg)
    if len(stage.split) == 1:
        assert cfg.model.type == stock_type(path)
        assert not {'teacher', 'distiller', 'merging'} & cfg.model.keys()
        return
    assert cfg.model.type == f'Incremental{stock_type(path)}'
    config = Path(cfg.model.teacher.config)
    # Named in a file of the teacher's folder, which holds for whoever inherits that file.
    assert config.is_file() and config.parent.parent == CONFIGS
    if len(stage.split) > 2:
        assert config.stem == re.sub(r'\d+$', str(len(stage.split) - 2), path.stem)
    assert cfg.model.teacher.checkpoint == f'work_dirs/{config.stem}/final.pth'
    teacher = load(config)
    assert stage_of(teacher) == Stage(stage.old, stage.split[:-1])
    for key in ('data_preprocessor', 'backbone', 'neck', 'rpn_head'):
        assert cfg.model.get(key) == teacher.model.get(key)
    assert cfg.test_dataloader.dataset.pipeline == teacher.test_dataloader.dataset.pipeline


# What a set trains on, chooses on and reports on. Where val belongs to one of the others no validation runs.
SPLITS = {'voc': ('trainval', 'val', 'test'), 'coco': ('instances_train2017', 'instances_val2017', 'instances_val2017')}


@for_each(STAGES)
def test_chooses_on_val_and_reports_on_test(path):
    cfg = load(path)
    lists = tuple(Path(cfg[f'{split}_dataloader'].dataset.ann_file).stem for split in ('train', 'val', 'test'))
    data = next((name for name in SPLITS if f'_{name}_' in path.stem), None)
    assert lists == SPLITS.get(data, ('train', 'val', 'test'))
    assert 'save_best' not in cfg.default_hooks.checkpoint
    if data:
        assert cfg.train_cfg.val_begin > cfg.train_cfg.max_epochs


@for_each([*((path, None) for path in STAGES), *((path, 'joint') for path in STUDENTS)])
def test_schedule_ends_with_the_run(run):
    cfg = load(*run)
    epochs = cfg.train_cfg.max_epochs
    for scheduler in cfg.param_scheduler:
        if scheduler.type == 'CosineAnnealingLR':
            assert scheduler.end == scheduler.begin + scheduler.T_max == epochs
        elif scheduler.type == 'MultiStepLR':
            assert all(0 < milestone < epochs for milestone in scheduler.milestones)
    if 'auto_scale_lr' in cfg:
        assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size


@for_each(STAGES)
def test_model_builds_also_as_a_stock_one(path):
    cfg = load(path)
    assert weight_names(json.dumps(stock_model_cfg(cfg.model))) == weight_names(json.dumps(cfg.model))


@for_each(sorted(CONFIGS.rglob('*.py')))
def test_names_no_path_of_a_machine(path):
    text = path.read_text()
    assert not re.search(r"""['"](/|~|[A-Za-z]:\\|file:)|/(home|work|root|mnt|data\d*|tmp)/""", text)
    if "data_root = '" in text:
        assert re.search(r"data_root = '\{\{\$MMILMIL_\w+:data/[\w./-]+\}\}'", text)


def test_data_root_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv('MMILMIL_VOC_ROOT', raising=False)
    path = CONFIGS / 'ilmil/frcnn_voc_15+5.py'
    assert Config.fromfile(path).train_dataloader.dataset.data_root == 'data/VOCdevkit/VOC2007'
    monkeypatch.setenv('MMILMIL_VOC_ROOT', 'elsewhere/VOC2007')
    cfg = Config.fromfile(path)
    assert {cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val', 'test')} == {'elsewhere/VOC2007'}


@pytest.mark.parametrize(('scenario', 'stage'), [
    ('mixed', 'shapes_4+2'), ('crowded', 'shapes_crowded_2+1'), ('apart', 'shapes_apart_4+2'),
    ('look-alike', 'shapes_look_alike_4+2')])
def test_drawn_sets_have_the_classes_that_are_drawn(scenario, stage):
    stage = stage_of(load(f'ilmil/frcnn_{stage}.py'))
    assert (stage.classes, len(stage.old)) == (SCENARIOS[scenario].classes, SCENARIOS[scenario].old)


@for_each([*STUDENTS, *sorted((CONFIGS / 'ilmil/pruned').glob('*.py'))])
def test_student_states_every_setting_of_distillation(path):
    """In its config, where a single one can be changed and a checkpoint keeps it."""
    model = load(path).model
    asked = inspect.signature(MODELS.get(model.distiller.type)).parameters.keys() - {'self', 'init_cfg'}
    assert model.distiller.keys() == asked | {'type'}
    assert all('type' in term for term in model.distiller.values() if isinstance(term, dict))
    merging = {'score_thr', 'iou_thr', 'nms_iou_thr'}
    two_stage = model.distiller.type == 'MFRRKDistiller'
    assert model.merging.keys() == merging | ({'rpn', 'annotated_share'} if two_stage else set())


def test_default_method_is_that_of_the_recorded_figures():
    """docs/results.md. Its terms are those of the first figures but for images without an old object and the features."""
    model = load('ilmil/frcnn_pcb_4+2.py').model.to_dict()
    apart = dict(
        apart_cls=dict(type='MixedKDLoss', temperature=2.0, old_weight=2.0, background_weight=2.0, loss_weight=1.0),
        apart_reg=dict(type='RoIDeltaLoss', by_probability=True, loss_weight=1.0),
        cross_head=dict(type='UnbiasedKDLoss', subtract_entropy=True, normalize=False, loss_weight=1.0))
    assert model['distiller'] == dict(type='MFRRKDistiller', **FIRST_DEFAULTS['MFRRKDistiller'] | apart)
    assert model['merging'] == FIRST_DEFAULTS['IncrementalFasterRCNN']['merging'] | dict(rpn=False, annotated_share=0.5)
    assert model['memory'] == dict(per_step=256, loss_weight=2.0, reg_weight=1.0, flip=True, follow=True, residual=True,
                                   soft=True, balance=True, least_share=0.2)
    assert model['norm_eval'] is True


@for_each(STUDENTS)
def test_fine_tuning_differs_in_what_keeps_old_classes(path):
    student, finetune = load(path).to_dict(), load(path, 'finetune').to_dict()
    off = dict(distiller=None, merging=None, memory=None, frozen=(), norm_eval=False)
    assert {name: finetune['model'].pop(name) for name in off} == off
    for name in off:
        student['model'].pop(name, None)
    assert finetune['default_hooks'].pop('memory') == dict(type='MemoryHook', per_class=0)
    student['default_hooks'].pop('memory')
    if len(student['metainfo']['split']) > 2:  # the stage before was fine-tuned too
        before = Path(student['model']['teacher'].pop('checkpoint')).parent.name
        assert finetune['model']['teacher'].pop('checkpoint') == f'work_dirs/{before}_finetune/final.pth'
    assert finetune == student


# Epochs of joint training and the last of its learning rate's drops, by data set; docs/results.md has figures of some.
JOINT = {'voc': (20, [15]), 'coco': (12, [8, 11]), 'pcb': (24, None), 'foda20': (14, None), 'foda20x4': (27, None),
         'shapes': (19, None), 'shapes_crowded': (34, None), 'shapes_apart': (17, None), 'shapes_look_alike': (17, None)}


@for_each(STUDENTS)
def test_joint_training_is_the_first_stage_of_all_classes_seen(path):
    """With its optimizer and its data, in as many epochs as the data set's stages together."""
    student, joint, first = load(path), load(path, 'joint'), load(path)
    while first.model.get('teacher'):
        first = load(first.model.teacher.config)
    assert joint.model == stock_model_cfg(student.model) and joint.model.type == stock_type(path)
    off = dict(keep='seen', replay=None, unlabelled=None)
    assert {name: joint.train_dataloader.dataset.pop(name) for name in off} == off
    dataset = re.search(r'(?:^|_)(voc|coco|pcb|foda20|foda20x4|shapes(?:_[a-z_]+)?)_', path.stem)[1]
    # RTMDet's first stage on VOC is as long already.
    epochs, milestones = (60, None) if path.stem.startswith('rtmdet_voc') else JOINT[dataset]
    for part, name, value in ((first.train_cfg, 'max_epochs', epochs), (first.param_scheduler[1], 'milestones', milestones)):
        if name in part:
            part[name] = value
    if dataset not in ('voc', 'coco'):
        first.train_cfg.val_interval = first.param_scheduler[1].end = first.param_scheduler[1].T_max = epochs
    first.default_hooks.memory = dict(type='MemoryHook', per_class=0)  # nothing follows it
    for key in ('train_cfg', 'param_scheduler', 'optim_wrapper', 'auto_scale_lr', 'default_hooks', 'randomness'):
        assert joint[key] == first[key], key
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator'):
        assert joint[key] == student[key], key


@for_each(['feature', 'rpn', 'rcn', 'merge', 'score'])
def test_ablation_takes_one_term_away(term):
    full, ablated = (load('ablations/pcb_4+2.py', method).to_dict() for method in (None, f'no_{term}'))
    if term == 'merge':
        assert ablated['model'].pop('merging') is None
        full['model'].pop('merging')
        # Nothing tells images without an old object from others then.
        assert ablated['model'].pop('distiller') == {**full['model'].pop('distiller'), 'apart_cls': None, 'apart_reg': None}
    else:
        off = {key: None for key in TERMS[term]}
        assert ablated['model'].pop('distiller') == {**full['model'].pop('distiller'), **off}
    if term == 'rpn':  # something has to hold it
        assert ablated['model'].pop('merging') == {**full['model'].pop('merging'), 'rpn': True}
    assert ablated == full


@pytest.mark.parametrize('name', ['pcb_4+2', 'vgg16_voc_19+1'])
def test_paper_form(name):
    model = build(load(f'ilmil/frcnn_{name}.py', 'ilmil').model)
    distiller = model.distiller
    assert type(distiller.feature).__name__ == 'FeatureMSELoss' and type(distiller.score).__name__ == 'ScoreL1Loss'
    assert (distiller.backbone_levels, distiller.neck_levels, distiller.spare_new) == ((-2, -1), (), False)
    assert [distiller.rpn_cls, distiller.rpn_reg, distiller.roi_cls, distiller.roi_reg] == [None] * 4
    assert model.merging == dict(score_thr=0.5, iou_thr=0.7, nms_iou_thr=None, rpn=True, annotated_share=0.0)


@pytest.mark.parametrize(('name', 'path'), [
    ('frcnn', '_base_/models/faster-rcnn_r50_fpn.py'), ('cascade', '_base_/models/cascade-rcnn_r50_fpn.py'),
    ('maskrcnn', '_base_/models/mask-rcnn_r50_fpn.py'), ('retinanet', '_base_/models/retinanet_r50_fpn.py'),
    ('atss', 'atss/atss_r50_fpn_1x_coco.py'), ('gfl', 'gfl/gfl_r50_fpn_1x_coco.py')])
def test_r50_is_mmdetections_own(name, path):
    """Setting by setting, so that figures compare with those of its users."""
    ours, theirs = load(f'_base_/models/{name}_r50_fpn.py').model, load(mmdet_config(path)).model
    names = mmengine.load(Path(mmengine.__file__).parent / 'hub/torchvision_0.12.json')
    scheme, weights = theirs.backbone.init_cfg.checkpoint.split('://')
    assert scheme == 'torchvision'
    theirs.backbone.init_cfg.checkpoint = names[weights]
    assert ours.backbone.pop('base_channels') == 64  # the default of ResNet
    if name in ('atss', 'gfl'):
        assert ours.bbox_head.pop('norm_cfg') == dict(type='GN', num_groups=32, requires_grad=True)  # the default of both
    for head in (*class_heads(ours), *class_heads(theirs)):
        del head.num_classes
    assert ours.to_dict() == theirs.to_dict()


def test_rtmdet_is_mmdetections_own_but_for_batch_norm_and_padding():
    ours, theirs = load('_base_/models/rtmdet_tiny.py').model, load(mmdet_config('rtmdet/rtmdet_tiny_8xb32-300e_coco.py')).model
    assert ours.pop('use_syncbn') is False
    for part in ('backbone', 'neck', 'bbox_head'):
        assert (ours[part].norm_cfg.pop('type'), theirs[part].norm_cfg.pop('type')) == ('BN', 'SyncBN')
    assert (ours.data_preprocessor.pop('pad_size_divisor'), theirs.data_preprocessor.pop('batch_augments')) == (32, None)
    for head in (*class_heads(ours), *class_heads(theirs)):
        del head.num_classes
    assert ours.to_dict() == theirs.to_dict()


def test_learning_rates_are_mmdetections_for_its_batch():
    """By image; of a later stage of a dense detector on VOC2007 a tenth."""
    def share(cfg):
        return cfg.optim_wrapper.optimizer.lr / cfg.auto_scale_lr.base_batch_size

    dense = load(mmdet_config('pascal_voc/retinanet_r50_fpn_1x_voc0712.py'))
    for name in ('retinanet', 'atss', 'gfl'):
        assert share(load(f'ilmil/{name}_voc_15.py')) == pytest.approx(share(dense))
        assert share(load(f'ilmil/{name}_voc_15+5.py')) == pytest.approx(share(dense) / 10)
    theirs = load(mmdet_config('rtmdet/rtmdet_tiny_8xb32-300e_coco.py')).optim_wrapper
    for name in ('rtmdet_voc_15', 'rtmdet_voc_15+5'):
        ours = load(f'ilmil/{name}.py')
        assert share(ours) == pytest.approx(0.004 / 256) == pytest.approx(theirs.optimizer.lr / (8 * 32))
        assert ours.optim_wrapper.paramwise_cfg == theirs.paramwise_cfg
        assert ours.optim_wrapper.optimizer.weight_decay == theirs.optimizer.weight_decay


def mmdet_config(name: str) -> Path:
    for root in (Path(mmdet.__file__).parent / '.mim', Path(mmdet.__file__).parents[1]):
        if (path := root / 'configs' / name).is_file():
            return path
    pytest.skip('this MMDetection came without its configs')


def test_masks_are_learnt_and_measured():
    for name in ('coco_40', 'coco_40+40', 'shapes_4', 'shapes_4+2'):
        cfg = load(f'ilmil/maskrcnn_{name}.py')
        loading, = (step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'LoadAnnotations')
        assert loading.with_mask and cfg.train_dataloader.dataset.type == 'IncrementalCocoDataset'
        for split in ('val', 'test'):
            dataset, evaluator = cfg[f'{split}_dataloader'].dataset, cfg[f'{split}_evaluator']
            assert evaluator.metric == ['bbox', 'segm']
            assert evaluator.ann_file == f'{dataset.data_root}/{dataset.ann_file}'
        boxes_only = load(f'ilmil/frcnn_{name}.py')
        for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'metainfo'):
            assert cfg[key] == boxes_only[key]
        assert cfg.test_dataloader.dataset.pipeline == boxes_only.test_dataloader.dataset.pipeline


def test_vgg16_is_the_papers():
    model = build(load('ilmil/frcnn_vgg16_voc_19.py').model)
    generator = model.rpn_head.prior_generator
    assert (generator.strides, generator.num_base_priors, generator.base_sizes) == ([(16, 16)], [9], [16])
    shapes = {name: tuple(weight.shape) for name, weight in model.roi_head.bbox_head.state_dict().items()}
    assert shapes['shared_fcs.0.weight'] == (4096, 512 * 7 * 7)
    assert shapes['shared_fcs.1.weight'] == (4096, 4096)
    assert shapes['fc_cls.weight'] == (20, 4096)
    # torchvision's vgg16().features has 14 714 688 weights; the paper freezes the first two stages.
    assert sum(weight.numel() for weight in model.backbone.parameters()) == 14_714_688
    assert sum(not weight.requires_grad for weight in model.backbone.parameters()) == 8


def batch(label: int, size: int = 128) -> dict:
    """One noise image with an annotated box."""
    sample = DetDataSample(
        metainfo=dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0)),
        gt_instances=InstanceData(bboxes=torch.tensor([[8., 8., 100., 90.]]), labels=torch.tensor([label])),
        ignored_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)))
    return dict(inputs=[torch.randint(0, 256, (3, size, size), dtype=torch.uint8)], data_samples=[sample])


def step(model: torch.nn.Module, label: int) -> set[str]:
    """One training iteration with its backward pass; the names of the losses."""
    data = model.train().data_preprocessor(batch(label), training=True)
    total, log = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    assert all(value.isfinite().all() for value in log.values()), log
    grads = [weight.grad for weight in model.parameters() if weight.requires_grad and weight.grad is not None]
    assert grads and all(grad.isfinite().all() for grad in grads)
    return {name for name in log if name.startswith('loss_')}


@pytest.mark.parametrize(
    ('student', 'method', 'kd'),
    [('frcnn_voc_15+5', None, KD_LOSSES), ('frcnn_vgg16_voc_19+1', None, KD_LOSSES),
     ('frcnn_vgg16_voc_19+1', 'ilmil', {'loss_kd_feature', 'loss_kd_score'})])
def test_full_size_models_train(student, method, kd, tmp_path, monkeypatch):
    """Teacher and student at their full width, but for VGG16's FC layers, which alone would be a file of 480 MB."""
    torch.manual_seed(0)
    cfg = load(f'ilmil/{student}.py', method)
    teacher_cfg = load(cfg.model.teacher.config)
    for model in (cfg.model, teacher_cfg.model):
        if 'vgg16' in student:
            model.roi_head.bbox_head.fc_out_channels = 64
    teacher = MODELS.build(teacher_cfg.model)
    assert step(teacher, 0) == LOSSES
    path = tmp_path / 'final.pth'
    meta = dict(cfg=teacher_cfg.pretty_text, dataset_meta=dict(classes=tuple(teacher_cfg.metainfo.classes)))
    torch.save(dict(state_dict=teacher.state_dict(), meta=meta), path)

    cfg.model.teacher = dict(checkpoint=str(path))  # the config travels in the checkpoint
    model = MODELS.build(cfg.model)
    # The teacher has every weight, so a student fetches none.
    monkeypatch.setattr('mmengine.model.weight_init.PretrainedInit.__call__', lambda *args: pytest.fail('fetches weights'))
    model.init_weights()
    path.unlink()  # pytest would keep it
    assert model.teacher.classes == stage_of(cfg).old
    assert step(model, len(stage_of(cfg).classes) - 1) == LOSSES | kd


# Pruning

PAIRINGS = {
    'both': dict(teacher='pruning/frcnn_pcb_4_recover.py', pruned='work_dirs/frcnn_pcb_4_recover/final.pth'),
    'full_teacher': dict(teacher='ilmil/frcnn_pcb_4.py', pruned='work_dirs/frcnn_pcb_4_recover/final.pth'),
    'fresh': dict(teacher='ilmil/frcnn_pcb_4.py', pruned='work_dirs/pruned/frcnn_pcb_4/pruned.pth', start='teacher'),
}


@pytest.mark.parametrize('pairing', PAIRINGS)
def test_pruned_student_differs_in_structure_and_teacher_only(pairing):
    cfg, base = (load(f'ilmil/{name}.py').to_dict() for name in (f'pruned/frcnn_pcb_4+2_{pairing}', 'frcnn_pcb_4+2'))
    wanted = dict(PAIRINGS[pairing])
    teacher = cfg['model'].pop('teacher')
    config = CONFIGS / wanted.pop('teacher')
    assert Path(teacher['config']).resolve() == config
    assert teacher['checkpoint'] == f'work_dirs/{config.stem}/final.pth'
    base['model'].pop('teacher')
    assert {key: cfg['model'].pop(key) for key in wanted} == wanted
    assert all(cfg[key] == value for key, value in base.items())


@pytest.mark.parametrize('name', ['recover', 'iterative', 'group_fisher'])
def test_pruned_detector_is_trained_on_its_own_data(name):
    cfg, base = load(f'pruning/frcnn_pcb_4_{name}.py'), load('ilmil/frcnn_pcb_4.py')
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'optim_wrapper', 'metainfo'):
        assert cfg[key] == base[key]
    assert full_model_cfg(cfg.model) == base.model
    assert cfg.param_scheduler[1].end == cfg.param_scheduler[1].T_max == cfg.train_cfg.max_epochs


@pytest.mark.parametrize(('name', 'widths'), [('52', (52, 104, 208, 416)), ('60', (60, 120, 240, 480))])
def test_vgg16_tables_are_the_papers(name, widths):
    """Channels of each level's convolutions; the last one, which RPN and RoI head read, stays whole."""
    channels = json.loads((CONFIGS / f'pruning/vgg16_{name}.json').read_text())
    stages = (2, 2, 3, 3, 2)
    assert list(channels.values()) == [width for width, count in zip((*widths, widths[-1]), stages) for _ in range(count)]
    backbone = build(load('ilmil/frcnn_vgg16_voc_19.py').model).backbone
    convolutions = [f'backbone.{layer}' for layer, module in backbone.named_modules() if isinstance(module, torch.nn.Conv2d)]
    assert list(channels) == convolutions[:-1]
