"""Cached teacher boxes: they follow the image as annotated boxes do, and belong to one teacher and set."""

import copy
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_voc
from mmdet.datasets.transforms import PackDetInputs
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from tiny import OBJECTS, OLD, ROOT, batch, build, instances, shake, student_cfg, teacher_file

from mmilmil import InputError
from mmilmil.models.box_cache import TeacherBoxCache, head_line, image_line
from mmilmil.models.hashes import weights_hash

ROI_OFF = dict(roi_cls=None, roi_reg=None, apart_cls=None, apart_reg=None, cross_head=None)
TERMS_OFF = dict(feature=None, rpn_cls=None, rpn_reg=None, **ROI_OFF)


@pytest.fixture
def checkpoint(tmp_path):
    return teacher_file(tmp_path / 'teacher.pth')


@pytest.fixture
def student(checkpoint):
    """``student(**changes)``: a student that has moved away from its teacher."""
    return lambda **changes: shake(build(student_cfg(checkpoint, **changes)), seed=3, amount=0.1).train()


def write(path, fingerprint, images, score_thr=0.3, classes=OLD):
    lines = [image_line(img_id, found) for img_id, found in images.items()]
    path.write_text(head_line(fingerprint, classes, score_thr) + ''.join(lines))
    return path


def moved(samples):
    """Samples as a training pipeline packs them, of images that were not moved."""
    for sample in samples:
        sample.set_metainfo(dict(homography_matrix=np.eye(3, dtype=np.float32)))
    return samples


# Geometry


@pytest.mark.parametrize('name', ['pcb', 'shapes', 'voc07', 'coco17'])
@pytest.mark.parametrize('seed', range(4))
def test_boxes_go_through_the_shipped_pipelines_as_annotated_ones(name, seed, tmp_path):
    """Resized and flipped in whatever direction the pipeline draws; the expected boxes are the pipeline's own."""
    init_default_scope('mmdet')
    data = make_voc(tmp_path / 'data', {'a': []}, size=(90, 60))
    boxes = [[5., 7., 40., 30.], [0., 0., 89., 59.], [50., 20., 88., 59.]]
    steps = Config.fromfile(ROOT / f'configs/_base_/datasets/{name}.py').train_pipeline
    info = dict(img_id='a', img_path=str(data / 'JPEGImages/a.jpg'), height=60, width=90, instances=[
        dict(bbox=box, bbox_label=label, ignore_flag=0) for label, box in enumerate(boxes)])
    np.random.seed(seed)
    sample = Compose(steps)(info)['data_samples']
    cache = TeacherBoxCache.load(write(tmp_path / 'c', 'x', {'a': instances(boxes, [0, 1, 2], [0.9, 0.8, 0.7])}))
    found = cache.look_up([sample.metainfo], torch.zeros(1))[0]
    wanted = sample.gt_instances
    assert torch.allclose(found.bboxes, wanted.bboxes.tensor, atol=1e-3)
    assert found.labels.tolist() == wanted.labels.tolist()
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_flips_do_happen(tmp_path):
    """What the test above compares is not always the unflipped image."""
    init_default_scope('mmdet')
    pipeline = Config.fromfile(ROOT / 'configs/_base_/datasets/pcb.py').train_pipeline
    data = make_voc(tmp_path / 'data', {'a': []}, size=(64, 64))
    matrices = set()
    for seed in range(4):
        np.random.seed(seed)
        info = dict(img_id='a', img_path=str(data / 'JPEGImages/a.jpg'), height=64, width=64, instances=[])
        matrices.add(Compose(pipeline)(info)['data_samples'].homography_matrix.tobytes())
    assert len(matrices) > 1


def test_what_leaves_the_image_is_clipped_or_dropped(tmp_path):
    """Moved 30 px to the left: by hand (10, 10, 50, 50) is (0, 10, 20, 50), and (0, 0, 20, 20) is gone."""
    path = write(tmp_path / 'c', 'x', {7: instances([[10., 10., 50., 50.], [0., 0., 20., 20.]], [1, 0], [0.5, 0.6])})
    matrix = np.array([[1, 0, -30], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    found = TeacherBoxCache.load(path).look_up(
        [dict(img_id=7, img_shape=(64, 64), homography_matrix=matrix)], torch.zeros(1, dtype=torch.float64))[0]
    assert found.bboxes.tolist() == [[0., 10., 20., 50.]] and found.bboxes.dtype == torch.float64
    assert found.labels.tolist() == [1] and found.scores.tolist() == [0.5]


def test_pipeline_that_does_not_tell(tmp_path):
    cache = TeacherBoxCache.load(write(tmp_path / 'c', 'x', {'a': instances([], [], [])}))
    sample = PackDetInputs()(dict(img=np.zeros((8, 8, 3)), img_id='a', img_shape=(8, 8)))['data_samples']
    with pytest.raises(InputError, match="'homography_matrix' to the meta_keys of PackDetInputs"):
        cache.look_up([sample.metainfo], torch.zeros(1))


# In a training step


@pytest.fixture
def cached(student, tmp_path):
    """A cache of what the teacher sees in the test batch, and its path."""
    model = student()
    inputs, samples = batch()
    known = model.teacher.observe(inputs, samples, score_thr=0.3)
    assert all(len(found) for found in known.detections)
    return str(write(tmp_path / 'boxes', model.teacher.fingerprint, dict(enumerate(known.detections))))


def losses_of(model, **kwargs):
    inputs, samples = batch(**kwargs)
    torch.manual_seed(5)
    return {name: torch.as_tensor(value if torch.is_tensor(value) else torch.stack(value))
            for name, value in model.loss(inputs, moved(samples)).items()}


def test_losses_are_those_of_live_boxes(student, cached):
    """Up to the rounding of the file: 0.005 px and 0.00005 in the scores."""
    live, from_file = losses_of(student()), losses_of(student(teacher_boxes=cached))
    assert live.keys() == from_file.keys()
    for name, value in live.items():
        assert torch.allclose(from_file[name], value, rtol=2e-3, atol=1e-4), name
    without = losses_of(student(merging=None))
    assert not torch.allclose(without['loss_cls'], live['loss_cls'], rtol=2e-3)


def test_boxes_come_from_the_file(student, cached, tmp_path):
    empty = dict.fromkeys((0, 1), instances([], [], []))
    teacher = json.loads(Path(cached).read_text().splitlines()[0])['teacher']
    nothing = losses_of(student(teacher_boxes=str(write(tmp_path / 'n', teacher, empty))))
    assert torch.allclose(nothing['loss_cls'], losses_of(student(merging=None))['loss_cls'])


HEADS = ['roi_head.bbox_head'] * 2  # on its own features, and on the student's


def calls(model):
    """Which parts of the teacher a step passes."""
    seen = []
    for name in ('backbone', 'rpn_head', 'roi_head.bbox_head'):
        model.teacher.detector.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    losses_of(model)
    return seen


@pytest.mark.parametrize(('changes', 'parts'), [
    ({}, ['backbone', 'rpn_head', *HEADS]),
    (dict(distiller=ROI_OFF), ['backbone', 'rpn_head']),
    (dict(distiller=TERMS_OFF), []),
    (dict(distiller=None), []),
], ids=['every term', 'no RoI terms', 'scores only', 'boxes only'])
def test_teacher_looks_only_as_far_as_it_is_asked(student, cached, changes, parts):
    assert calls(student(teacher_boxes=cached, **changes)) == parts
    if parts == []:  # without the cache it has to look
        assert calls(student(**changes)) == ['backbone', 'rpn_head', 'roi_head.bbox_head']


def test_detections_are_not_made_in_vain(student, cached):
    model = student(teacher_boxes=cached)
    model.teacher.detector.roi_head.bbox_head.predict_by_feat = None  # not callable
    assert 'loss_kd_roi_cls' in losses_of(model)


def test_copies_share_it(student, cached):
    model = student(teacher_boxes=cached)
    assert copy.deepcopy(model).cache is not None
    first = model.cache
    assert copy.deepcopy(model).cache is first


# Bad input


def test_cache_of_another_teacher(student, cached, tmp_path):
    other = write(tmp_path / 'other', 'f' * 64, {})
    with pytest.raises(InputError, match=r'other holds the boxes of another teacher \(ffffffffffff\) than .*teacher.pth'):
        losses_of(student(teacher_boxes=str(other)))


def test_scores_that_were_left_out(student, tmp_path):
    model = student()
    path = write(tmp_path / 'c', model.teacher.fingerprint, {}, score_thr=0.6)
    with pytest.raises(InputError, match='build it with --score-thr 0.5'):
        losses_of(student(teacher_boxes=str(path)))


def test_image_without_entry(student, tmp_path):
    path = write(tmp_path / 'c', student().teacher.fingerprint, {})
    with pytest.raises(InputError, match='no entry for 1 training images'):
        losses_of(student(teacher_boxes=str(path)))


@pytest.mark.parametrize('text', ['', 'junk\n', '{"a": 1}\n', '[]\n'])
def test_what_is_no_cache(tmp_path, text):
    (tmp_path / 'c').write_text(text)
    with pytest.raises(InputError, match='is no cache of teacher boxes'):
        TeacherBoxCache.load(tmp_path / 'c')
    with pytest.raises(InputError, match='no cache of teacher boxes .*nowhere'):
        TeacherBoxCache.load(tmp_path / 'nowhere')


# The tool


@pytest.fixture
def built(chain, tool, tmp_path):
    """A cache for the tiny chain's student, and the arguments that built it."""
    args = ('cache_teacher_boxes.py', chain.student, '--out', tmp_path / 'boxes.jsonl', '--score-thr', '0.01', '--cfg-options',
            f'model.teacher.checkpoint={chain.runs}/base/final.pth', 'test_dataloader.batch_size=1')
    done = tool(*args)
    assert done.status == 0, done.err[-2000:]
    return tmp_path / 'boxes.jsonl', args, done


def test_tool_finds_what_the_teacher_finds(built, chain):
    from mmilmil.models import Teacher
    path, _, done = built
    cache = TeacherBoxCache.load(path)
    assert sorted(cache.images) == ['four', 'one', 'three', 'two']
    assert f'model.teacher_boxes={path}' in done.out
    init_default_scope('mmilmil')
    teacher = Teacher.load(f'{chain.runs}/base/final.pth', max_proposals=10**6)
    assert cache.teacher == teacher.fingerprint
    cfg = Config.fromfile(chain.base)
    info = dict(img_id='one', img_path=str(chain.data / 'JPEGImages/one.jpg'), height=64, width=64, instances=[])
    data = Compose(cfg.test_pipeline)(info)
    data = teacher.detector.data_preprocessor(dict(inputs=[data['inputs']], data_samples=[data['data_samples']]))
    found: InstanceData = teacher.observe(data['inputs'], data['data_samples'], 0.01).detections[0]
    assert len(found) and len(found) == len(cache.images['one'])
    assert torch.allclose(cache.images['one'][:, :4], found.bboxes, atol=0.01)


def test_stopped_build_goes_on(built, tool):
    path, args, _ = built
    whole = path.read_bytes()
    assert tool(*args).status == 0 and path.read_bytes() == whole
    path.write_bytes(whole[:len(whole) * 2 // 3])  # in the middle of a line
    done = tool(*args)
    assert done.status == 0 and '4 training images, ' in done.out and ' 0 of them' not in done.out
    assert path.read_bytes() == whole


def test_joined_sets_are_all_looked_at(chain, tmp_path):
    """As VOC2007 and VOC2012 are; boxes are found again by image id, so no id may be in both."""
    images = runpy.run_path(str(ROOT / 'tools/cache_teacher_boxes.py'))['training_images']
    init_default_scope('mmilmil')
    cfg = Config.fromfile(chain.student)
    other = make_voc(tmp_path / 'other', {'five': [('dog', 5, 5, 30, 30), ('emu', 30, 30, 60, 60)]})
    own = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[own, dict(own, data_root=str(other))])
    dataset, img_ids = images(cfg)
    assert img_ids == ['one', 'two', 'three', 'four', 'five'] and len(dataset) == 5
    assert dataset[4]['data_samples'].img_id == 'five'
    cfg.train_dataloader.dataset.datasets[1] = own
    with pytest.raises(InputError, match="4 image ids twice .'one' is one"):
        images(cfg)


def test_boxes_that_merging_would_ask_for(chain, tool, tmp_path):
    done = tool('cache_teacher_boxes.py', chain.student, '--out', tmp_path / 'boxes.jsonl', '--score-thr', '0.6')
    assert done.status == 1 and 'model.merging.score_thr = 0.5 asks for: give 0.5 or less' in done.err
    assert not (tmp_path / 'boxes.jsonl').exists()


def test_build_does_not_touch_another_cache(built, tool):
    path, args, _ = built
    other = write(path, 'f' * 64, {})
    before = other.read_bytes()
    done = tool(*args)
    assert done.status == 1 and 'no cache of this teacher' in done.err and other.read_bytes() == before


def test_student_trains_with_it(built, chain, tool, tmp_path):
    path, _, _ = built
    options = ('--cfg-options', f'model.teacher.checkpoint={chain.runs}/base/final.pth', 'train_cfg.max_epochs=1',
               f'model.teacher_boxes={path}')
    done = tool('train.py', chain.student, '--work-dir', tmp_path / 'run', *options)
    assert done.status == 0, done.err[-2000:]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(lines[:-1]))
    shutil.rmtree(tmp_path / 'run')
    done = tool('train.py', chain.student, '--work-dir', tmp_path / 'run', *options)
    assert done.status == 1 and 'no entry for 1 training images' in done.err and 'Traceback' not in done.err


def test_pipeline_that_moves_boxes_without_telling(chain, tool, tmp_path):
    """Neither is a cache built for it nor a student trained with one."""
    options = ('--cfg-options', f'model.teacher.checkpoint={chain.runs}/base/final.pth',
               'train_dataloader.dataset.pipeline.3.type=RandomShift', 'train_dataloader.dataset.pipeline.3.prob=0.5')
    teacher = torch.load(chain.runs / 'base/final.pth')['state_dict']
    path = write(tmp_path / 'boxes.jsonl', weights_hash(teacher), dict.fromkeys(OBJECTS, instances([], [], [])))
    for args in (('cache_teacher_boxes.py', chain.student, '--out', tmp_path / 'new.jsonl', *options),
                 ('train.py', chain.student, '--work-dir', tmp_path / 'run', *options, f'model.teacher_boxes={path}')):
        done = tool(*args)
        assert done.status == 1 and 'cannot follow an image through' in done.err and 'RandomShift, ' in done.err
        assert 'Traceback' not in done.err
    assert not (tmp_path / 'new.jsonl').exists() and not list(tmp_path.glob('run/*.pth'))
