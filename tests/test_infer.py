"""Detecting by a checkpoint in any image, and several checkpoints as one detector."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
from conftest import make_voc
from mmengine.config import Config
from mmengine.structures import InstanceData
from PIL import Image
from tiny import OBJECTS, OLD, SEEN, build, shake, stock_cfg, teacher_file, write_configs

from mmilmil import InputError
from mmilmil.engine.cli import read_config
from mmilmil.engine.fused_test import check_fused
from mmilmil.engine.inference import ImageDetector
from mmilmil.models.fusion import FusedDetector, detections_per_image, fuse


def found(*rows):
    """Detections, each as (x1, y1, x2, y2, score, label)."""
    rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return InstanceData(bboxes=rows[:, :4], scores=rows[:, 4], labels=rows[:, 5].long())


def test_fusing_is_soft_nms_by_class():
    """Of two boxes of one class with IoU 0.6 the surer stays, the other keeps 0.4 of its score; another class is left alone."""
    first = found((0, 0, 10, 10, .9, 0), (50, 50, 60, 60, .3, 1))
    second = found((0, 0, 10, 6, .8, 0), (0, 0, 10, 6, .7, 1))
    fused = fuse([first, second])
    assert fused.scores.tolist() == pytest.approx([.9, .7, .4 * .8, .3])
    assert fused.labels.tolist() == [0, 1, 0, 1]
    assert fused.bboxes.tolist() == [[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 6], [50, 50, 60, 60]]


def test_settings_of_fusing():
    both = [found((0, 0, 10, 10, .9, 0)), found((0, 0, 10, 6, .8, 0))]
    assert fuse(both, iou_threshold=.61).scores.tolist() == pytest.approx([.9, .8])
    assert fuse(both, min_score=.33).scores.tolist() == pytest.approx([.9])
    assert fuse(both, iou_threshold=.61, max_per_img=1).scores.tolist() == pytest.approx([.9])


def test_only_identical_boxes_become_one():
    """By the settings that are a user's where none is given; of two with IoU 0.9 both stay."""
    apart = [found((0, 0, 10, 10, .9, 0)), found((0, 0, 10, 10, .8, 0)), found((0, 0, 10, 9, .8, 0))]
    assert fuse(apart[:2]).scores.tolist() == pytest.approx([.9])
    assert fuse(apart[::2]).scores.tolist() == pytest.approx([.9, .1 * .8])


def test_fusing_nothing_and_masks():
    assert len(fuse([found(), found()])) == 0
    first, second = found((0, 0, 10, 10, .5, 0)), found((0, 0, 10, 10, .9, 0), (30, 30, 40, 40, .8, 0))
    first.masks, second.masks = torch.zeros(1, 4, 4), torch.stack([torch.ones(4, 4), torch.full((4, 4), 2.)])
    assert fuse([first, second], min_score=.1).masks[:, 0, 0].tolist() == [1, 2]  # the other is left with 0


def test_a_config_tells_how_many_detections_are_kept():
    assert detections_per_image(stock_cfg(3)) == 100
    assert detections_per_image(dict(test_cfg=dict(max_per_img=7))) == 7
    with pytest.raises(InputError, match='no model.test_cfg.max_per_img'):
        detections_per_image(dict(test_cfg=dict(rcnn=dict(score_thr=0))))


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A set, a student's config without its teacher, and two checkpoints of it."""
    folder = tmp_path_factory.mktemp('infer')
    data = make_voc(folder / 'data', OBJECTS)
    _, student = write_configs(folder, data, teacher='nowhere.pth')
    for seed, name in enumerate(('one', 'two')):
        model = shake(build(stock_cfg(len(SEEN)), seed), seed)
        with torch.no_grad():
            model.rpn_head.rpn_cls.weight *= 20
            model.roi_head.bbox_head.fc_cls.weight *= 10
        meta = dict(dataset_meta=dict(classes=SEEN, split=(3, 2)), cfg=Config(dict(model=stock_cfg(len(SEEN)))).pretty_text)
        torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / f'{name}.pth')
    teacher_file(folder / 'old.pth', OLD)
    return folder


def by_hand(detector, data, name):
    """Sorted detections of the stock pipeline for an image of the set."""
    pixels = detector.load(data / f'JPEGImages/{name}.jpg')
    result = detector(pixels)
    return result[result.scores.argsort(descending=True, stable=True)]


def test_infer_writes_what_the_detector_finds(place, tool, tmp_path):
    (tmp_path / 'images/below').mkdir(parents=True)
    for name in ('one', 'two'):
        (tmp_path / f'images/{name}.jpg').write_bytes((place / f'data/JPEGImages/{name}.jpg').read_bytes())
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'images/below/turned.png', exif=turned)
    (tmp_path / 'images/below/void.jpg').write_bytes(b'')
    done = tool('infer.py', tmp_path / 'images', place / 'student.py', place / 'one.pth', '--json', tmp_path / 'found.json',
                '--out', tmp_path / 'drawn', '--score-thr', '0.2', '--device', 'cpu')
    assert done.status == 1 and '1 of 4 images are left out (below/void.jpg)' in done.err
    assert 'void.jpg is empty, a file of 0 bytes' in done.out and 'EXIF orientation 6' in done.out
    assert '3 images, ' in done.out and 'images a second' in done.out and 'detect: 4 of 4 images, done in' in done.err
    content = json.loads((tmp_path / 'found.json').read_text())
    assert content['classes'] == list(SEEN) and content['split'] == [3, 2] and content['score_thr'] == 0.2
    images = {image['file']: image for image in content['images']}
    assert (images['below/turned.png']['width'], images['below/turned.png']['height']) == (40, 64)
    assert Image.open(tmp_path / 'drawn/below/turned.png').size == (40, 64) and 'error' in images['below/void.jpg']
    detector = ImageDetector(read_config(str(place / 'student.py')), str(place / 'one.pth'))
    assert detector.stage.split == (3, 2)
    for name in ('one', 'two'):
        result = by_hand(detector, place / 'data', name)
        result = result[result.scores >= 0.2]
        told = images[f'{name}.jpg']['detections']
        assert len(told) == len(result) > 0
        assert [one['label'] for one in told] == result.labels.tolist()
        assert [one['group'] for one in told] == [int(label >= 3) for label in result.labels.tolist()]
        np.testing.assert_allclose([one['box'] for one in told], result.bboxes.numpy(), atol=0.006)
        np.testing.assert_allclose([one['score'] for one in told], result.scores.numpy(), atol=6e-5)


def test_groups_are_those_of_an_export(place):
    """The checkpoint's own, whatever a config says that names the same classes."""
    cfg = read_config(str(place / 'student.py'))
    cfg.test_dataloader.dataset.metainfo.split = (2, 3)
    assert ImageDetector(cfg, str(place / 'one.pth')).stage.split == (3, 2)


def test_fused_checkpoints_are_measured_and_used(place, tool, tmp_path, monkeypatch):
    """The test's detections are what the checkpoints find in the same images, one by one, and then fused."""
    monkeypatch.chdir(tmp_path)
    settings = ('--fuse', place / 'two.pth', '--fuse-iou', '0.4', '--fuse-min-score', '0.01')
    done = tool('test.py', place / 'student.py', place / 'one.pth', *settings, '--out', tmp_path / 'all.pkl')
    assert done.status == 0, done.err
    figures = json.loads((tmp_path / 'work_dirs/student_fused/metrics.json').read_text())
    assert figures['fused'] == [str(place / 'two.pth')] and figures['all'] is not None
    cfg = read_config(str(place / 'student.py'))
    apart = [ImageDetector(cfg, str(place / f'{name}.pth')) for name in ('one', 'two')]
    together = ImageDetector(cfg, str(place / 'one.pth'), [str(place / 'two.pth')], dict(iou_threshold=.4, min_score=.01))
    assert isinstance(together.detector, FusedDetector)
    more = 0
    for sample in pickle.loads((tmp_path / 'all.pkl').read_bytes()):
        pixels = together.load(place / f'data/JPEGImages/{sample["img_id"]}.jpg')
        expected = fuse([one(pixels) for one in apart], .4, .01, 100)
        torch.testing.assert_close(sample['pred_instances']['scores'], expected.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(together(pixels).bboxes, expected.bboxes, rtol=0, atol=1e-3)
        of_both = [bool((expected.bboxes[:, None] == one(pixels).bboxes).all(dim=2).any()) for one in apart]
        more += all(of_both)
    assert more > 0


@pytest.mark.parametrize('name', ['infer.py', 'test.py'])
def test_checkpoints_that_cannot_be_fused_are_told(place, tool, tmp_path, name):
    images = (place / 'data/JPEGImages', ) if name == 'infer.py' else ()
    wrong = [('none.pth', '--fuse .*none.pth: there is no such checkpoint'), ('one.pth', 'one.pth is given twice')]
    if name == 'infer.py':
        wrong.append(('old.pth', r"names the classes \['ant', 'bee', 'cat'\]"))
    for fused, told in wrong:
        work_dir = ('--work-dir', tmp_path) if name == 'test.py' else ()
        done = tool(name, *images, place / 'student.py', place / 'one.pth', '--fuse', place / fused, *work_dir)
        assert done.status == 1 and len(done.err.strip().splitlines()) == 1, done.err
        assert re.search(told, done.err), done.err
    assert not (tmp_path / 'metrics.json').exists()


def test_source_and_outputs_are_checked_before_a_detector_is_built(place, tool, tmp_path, monkeypatch):
    def build(*args):
        raise AssertionError('built')

    monkeypatch.setattr('mmilmil.engine.inference.ImageDetector', build)
    images = place / 'data/JPEGImages'
    for args, told in [((tmp_path / 'none.jpg', ), 'none.jpg does not exist: give an image'),
                       ((images, '--out', images), f'--out {images} would replace what is read'),
                       ((images, '--json', images / 'one.jpg'), f'--json {images}/one.jpg would replace what is read'),
                       ((images, '--json', tmp_path), f'--json {tmp_path} is a folder')]:
        done = tool('infer.py', args[0], place / 'student.py', place / 'one.pth', *args[1:])
        assert done.status == 1 and told in done.err and len(done.err.strip().splitlines()) == 1, done.err


def test_one_checkpoint_by_two_paths_is_given_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.pth').touch()
    (tmp_path / 'link.pth').symlink_to('a.pth')
    (tmp_path / 'b.pth').touch()
    check_fused('a.pth', ['b.pth', 'https://host/a.pth', 'http://host/a.pth'])
    for first, other in (('a.pth', './a.pth'), ('link.pth', 'a.pth'), ('https://host/a.pth', 'https://host/a.pth')):
        with pytest.raises(InputError, match=f'{first} is given twice'):
            check_fused(first, ['b.pth', other])
