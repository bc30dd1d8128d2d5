"""Images without annotation: how they join a training set, what the student's own loss makes of them, and what is refused."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmengine.config import Config
from mmengine.structures import InstanceData
from tiny import DENSE, ROOT, SEEN, batch, build, detector_cfg, detector_file, distiller_of, taught

from mmilmil import InputError
from mmilmil.datasets import IncrementalCocoDataset, IncrementalVOCDataset
from mmilmil.engine.chain import check_finished, run_stage
from mmilmil.engine.chain_stages import stages_of
from mmilmil.engine.cli import read_config
from mmilmil.engine.hooks.stage_check import check_unlabelled
from mmilmil.engine.unlabelled import asks_teacher, use_unlabelled
from mmilmil.models.box_cache import TeacherBoxCache
from mmilmil.models.unlabelled import SparingAssigner, unmatched_spared

CLASSES = ('cat', 'dog')
IMAGES = {'a': [('dog', 1, 1, 30, 30), ('cat', 31, 31, 60, 60)], 'b': [('cat', 1, 1, 20, 20)]}
PIPELINE = [dict(type='mmdet.LoadImageFromFile'), dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet.Resize', scale=(64, 64), keep_ratio=True), dict(type='mmdet.PackDetInputs')]


def draw(folder: Path, *names: str, size=(40, 30)) -> str:
    """Write images of width and height ``size``, and a file that is none, into a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((size[1], size[0], 3), 90, np.uint8))
    (folder / 'readme.txt').write_text('no image')
    return str(folder)


def voc(root, unlabelled, split=(1, 1), **kwargs):
    return IncrementalVOCDataset(data_root=str(root), ann_file='ImageSets/Main/train.txt', unlabelled=unlabelled,
                                 metainfo=dict(classes=CLASSES, split=split), **{'pipeline': PIPELINE, **kwargs})


def infos(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


# The dataset


def test_they_join_the_training_images(voc_set, tmp_path):
    root = voc_set(IMAGES)
    folder = draw(tmp_path / 'more', 'x.jpg', 'sub/deep/y.PNG', '.hidden/z.jpg')
    shutil.copy(root / 'JPEGImages/a.jpg', tmp_path / 'more/a.jpg')
    dataset = voc(root, folder)
    paths = [f'{folder}/{name}' for name in ('a.jpg', 'sub/deep/y.PNG', 'x.jpg')]
    assert [info['img_id'] for info in infos(dataset)] == ['a', *paths]
    for info in infos(dataset)[2:]:
        assert (info['width'], info['height'], info['instances'], info['unlabelled']) == (40, 30, [], True)
    assert 'unlabelled: 3 images more' in dataset.report.summary() and dataset.report.images_kept == 1
    samples = [dataset[index]['data_samples'] for index in range(4)]
    assert [sample.metainfo.get('unlabelled') for sample in samples] == [None, True, True, True]
    assert [len(sample.gt_instances) for sample in samples] == [1, 0, 0, 0]
    assert [len(one) for one in (voc(root, None), voc(root, [folder, folder]))] == [1, 4]
    # An image of the set that is no image of the stage may be one of them, one that is trained on may not.
    dataset = voc(root, str(root / 'JPEGImages'))
    assert [info['img_id'] for info in infos(dataset)] == ['a', str(root / 'JPEGImages/b.jpg')]
    assert '1 images left out that are annotated ones of the set' in dataset.report.summary()


def test_coco(voc_set, tmp_path):
    root = voc_set(IMAGES)
    content = dict(images=[dict(id=7, file_name='a.jpg', width=64, height=64)],
                   categories=[dict(id=1, name='dog'), dict(id=2, name='cat')],
                   annotations=[dict(id=1, image_id=7, category_id=1, bbox=[2, 2, 20, 20], area=400)])
    (root / 'train.json').write_text(json.dumps(content))
    folder = draw(tmp_path / 'more', 'x.jpg')
    dataset = IncrementalCocoDataset('train.json', data_root=str(root), data_prefix=dict(img='JPEGImages'), pipeline=PIPELINE,
                                     metainfo=dict(classes=CLASSES, split=(1, 1)), unlabelled=[folder])
    assert [info['img_id'] for info in infos(dataset)] == [7, f'{folder}/x.jpg']
    assert dataset[1]['data_samples'].metainfo['unlabelled'] and tuple(dataset[1]['inputs'].shape) == (3, 48, 64)


def test_bad_input(voc_set, tmp_path):
    root, folder = voc_set(IMAGES), tmp_path / 'more'
    good = draw(folder, 'x.jpg')
    (tmp_path / 'empty').mkdir()
    draw(tmp_path / 'empty')
    (tmp_path / 'file').write_text('')
    for setting, text in ((f'{tmp_path}/gone', 'gone does not exist: give the path of a folder'),
                          ([good, f'{tmp_path}/file'], 'file is a file'),
                          (f'{tmp_path}/empty', 'empty has no image in it or below'),
                          (5, 'unlabelled = 5: give the path'), ([], r'unlabelled = \[\]: give'), ('', "unlabelled = '': give"),
                          ([3], 'give the path')):
        with pytest.raises(InputError, match=text):
            voc(root, setting)
    for more, text in ((dict(split=(2, )), 'in a first stage .*leave it out'), (dict(test_mode=True), 'in testing'),
                       (dict(keep='seen'), "beside keep = 'seen'"),
                       (dict(pipeline=[*PIPELINE[:2], dict(type='mmdet.Mosaic', img_scale=(64, 64)), *PIPELINE[2:]]),
                        'has Mosaic, which puts several images into one')):
        with pytest.raises(InputError, match=text):
            voc(root, good, **more)
    with pytest.raises(InputError, match='all 1 images below .* are annotated images of the training set'):
        (tmp_path / 'same').mkdir()
        (tmp_path / 'same/other.jpg').symlink_to(root / 'JPEGImages/a.jpg')
        voc(root, str(tmp_path / 'same'))
    (folder / 'y.png').write_bytes(b'no image')
    with pytest.raises(InputError, match='more/y.png cannot be decoded'):
        voc(root, good)
    (folder / 'y.png').unlink()
    whole = (folder / 'x.jpg').read_bytes()
    (folder / 'x.jpg').write_bytes(whole[:-8])  # its header is there
    with pytest.raises(InputError, match='x.jpg: LoadImageFromFile fails .*take it out of its folder'):
        voc(root, good)[1]
    (folder / 'x.jpg').write_bytes(whole)
    dropping = [*PIPELINE[:2], dict(type='mmdet.RandomCrop', crop_size=(16, 16)), *PIPELINE[2:]]
    with pytest.raises(InputError, match='x.jpg: RandomCrop drops it, as it has no annotation'):
        voc(root, good, pipeline=dropping)[1]


# What the student's loss makes of them


class Fixed:
    """An assigner that says: background, first box, not of interest."""

    setting = 'own'

    def assign(self, priors, gt, ignored=None):
        return AssignResult(1, torch.tensor([0, 1, -1]), torch.zeros(3), torch.zeros(3))


def test_background_of_marked_images_is_left_out():
    marked = InstanceData(metainfo=dict(unlabelled=True))
    sparing = SparingAssigner(Fixed())
    assert sparing.assign(InstanceData(), marked).gt_inds.tolist() == [-1, 1, -1]
    assert sparing.assign(InstanceData(), InstanceData()).gt_inds.tolist() == [0, 1, -1]
    assert sparing.assign(InstanceData(), gt=InstanceData()).gt_inds.tolist() == [0, 1, -1]
    assert sparing.assign(InstanceData(), gt=marked).gt_inds.tolist() == [-1, 1, -1]
    assert sparing.setting == 'own'


def marked_batch(objects):
    inputs, samples = batch([objects])
    samples[0].set_metainfo(dict(unlabelled=True))
    return inputs, samples


LAYERS = dict(frcnn=('rpn_head.rpn_cls', 'roi_head.bbox_head.fc_cls'), retinanet=('bbox_head.retina_cls', ),
              atss=('bbox_head.atss_cls', ), gfl=('bbox_head.gfl_cls', ), rtmdet=('bbox_head.rtm_cls', ))


@pytest.mark.parametrize('kind', ['frcnn', 'cascade', *DENSE])
def test_no_word_against_what_matches_no_box(kind, tmp_path):
    """An image without a box teaches no class and no background; the same image with annotation (that there is none) does."""
    file = detector_file(tmp_path / 'teacher.pth', kind)
    student = build(taught(detector_cfg(kind, len(SEEN)), file, distiller_of(kind), distiller=None, merging=None)).train()
    before = {name: vars(module).get(name) for module in student.modules() for name in ('assigner', 'bbox_assigner')}
    layers = LAYERS.get(kind, ('rpn_head.rpn_cls', 'roi_head.bbox_head.0.fc_cls'))
    for inputs, samples, taught_something in ((*marked_batch(()), False), (*batch([()]), True)):
        student.zero_grad()
        losses = student.loss(inputs, samples)
        total = sum(sum(value) if isinstance(value, list) else value for name, value in losses.items() if 'loss' in name)
        total.backward()
        for name, weight in student.named_parameters():
            if name.startswith(layers):
                moved = weight.grad is not None and bool(weight.grad.abs().sum() > 0)
                assert moved == taught_something, name
    assert before == {name: vars(module).get(name) for module in student.modules() for name in ('assigner', 'bbox_assigner')}


def test_teachers_boxes_teach_there(tmp_path):
    """Merged boxes are positives, and new rows get no gradient that lowers them but from those."""
    file = detector_file(tmp_path / 'teacher.pth', 'frcnn')
    student = build(taught(detector_cfg('frcnn', len(SEEN)), file, 'mfrrk', distiller=None)).train()
    student.merging.update(score_thr=0.0)
    found = []
    hook = student.roi_head.bbox_head.register_forward_hook(lambda head, args, out: found.append(out[0]))
    inputs, samples = marked_batch(())
    losses = student.loss(inputs, samples)
    hook.remove()
    rois = len(found[0])
    assert rois and losses['loss_cls'] > 0 and losses['loss_bbox'] > 0
    # All sampled RoIs are positives of the teacher's boxes: the accuracy is that of old labels alone.
    samples[0].set_metainfo(dict(unlabelled=False))
    torch.manual_seed(0)
    with torch.no_grad():
        assert student.loss(inputs, samples)['loss_cls'] != losses['loss_cls']
    assert len(samples[0].gt_instances) == 0 and 'unlabelled' not in samples[0].gt_instances.metainfo_keys()


def test_only_batches_with_such_images_are_touched():
    detector = build(detector_cfg('frcnn', len(SEEN)))
    assigner = detector.rpn_head.assigner
    _, samples = batch()
    with unmatched_spared(detector, samples) as same:
        assert same is samples and detector.rpn_head.assigner is assigner
    samples[1].set_metainfo(dict(unlabelled=True))
    with unmatched_spared(detector, samples) as others:
        assert others[0] is samples[0] and others[1] is not samples[1]
        assert 'unlabelled' in others[1].gt_instances.metainfo_keys()
        assert isinstance(detector.rpn_head.assigner, SparingAssigner)
        assert isinstance(detector.roi_head.bbox_assigner, SparingAssigner)
    assert detector.rpn_head.assigner is assigner


# The option


def test_which_stages_use_them(chain, tmp_path):
    folder = draw(tmp_path / 'more', 'x.jpg')
    used = {stage.name: asks_teacher(stage.read()) for method in (None, 'finetune', 'joint')
            for stage in stages_of(str(chain.student), method=method and ROOT / f'configs/methods/{method}.py')}
    assert used == dict(base=False, student=True, student_finetune=False, student_joint=False)
    cfg = read_config(str(chain.student))
    use_unlabelled(cfg, [folder])
    assert cfg.train_dataloader.dataset.unlabelled == [folder]
    with pytest.raises(InputError, match='base.py asks no teacher what is on these images'):
        use_unlabelled(read_config(str(chain.base)), [folder])
    with pytest.raises(InputError, match='gone does not exist'):
        use_unlabelled(cfg, [f'{tmp_path}/gone'])


class Started(Exception):
    """Instead of a training, with what it was called by."""


def test_a_chain_passes_them_on(chain, tmp_path, capsys):
    folder = draw(tmp_path / 'my images', 'x.jpg')

    def start(name, work_dir, tool, *args):
        raise Started(*args)

    for stage in stages_of(str(chain.student), str(tmp_path / 'runs')):
        with pytest.raises(Started) as caught:
            run_stage(stage, start=start, unlabelled=[folder])
        taught_by = stage.teacher is not None
        assert (folder in caught.value.args) == ('--unlabelled' in caught.value.args) == taught_by
        left_out = f'{stage.name}: --unlabelled is left out, no teacher is asked in this stage'
        assert (left_out in capsys.readouterr().out) != taught_by
    base, student = stages_of(str(chain.student), str(chain.runs))
    check_finished(base, unlabelled=[folder])
    with pytest.raises(InputError, match='student .* no longer matches .*train_dataloader.dataset.unlabelled: not set -> '):
        check_finished(student, unlabelled=[folder])


def test_method_that_asks_nobody(voc_set, tmp_path):
    dataset = voc(voc_set(IMAGES), draw(tmp_path / 'more', 'x.jpg'))
    file = detector_file(tmp_path / 'teacher.pth', 'frcnn')
    asking = taught(detector_cfg('frcnn', len(SEEN)), file, 'mfrrk', distiller=None)
    check_unlabelled(dataset, build(asking))
    for cfg in (dict(asking, merging=None), detector_cfg('frcnn', 2)):
        with pytest.raises(InputError, match='more teach nothing where no teacher is asked .*unlabelled = None'):
            check_unlabelled(dataset, build(Config(cfg)._cfg_dict))
        check_unlabelled(voc(voc_set(IMAGES), None), build(Config(cfg)._cfg_dict))


def test_training_with_them(chain, tool, tmp_path):
    """With boxes from a cache, which has to know these images too; the run's config tells the folder."""
    folder = draw(tmp_path / 'my images', 'x.jpg', 'deep/y.jpg', size=(64, 64))
    student, teacher = chain.student, ('model.teacher.checkpoint=' + str(chain.runs / 'base/final.pth'), )
    cache = tmp_path / 'boxes.jsonl'
    done = tool('cache_teacher_boxes.py', student, '--out', cache, '--unlabelled', folder, '--cfg-options', *teacher)
    assert done.status == 0, done.err[-2000:]
    assert set(TeacherBoxCache.load(cache).images) == {'one', 'two', 'three', 'four', f'{folder}/x.jpg', f'{folder}/deep/y.jpg'}
    done = tool('train.py', student, '--work-dir', tmp_path / 'run', '--unlabelled', folder, '--cfg-options', *teacher,
                f'model.teacher_boxes={cache}', 'train_cfg.max_epochs=1')
    assert done.status == 0, done.err[-2000:]
    assert 'unlabelled: 2 images more' in done.out + done.err
    saved = torch.load(tmp_path / 'run/final.pth')['meta']['cfg']
    assert f"unlabelled=[\n{' ' * 12}'{folder}',\n" in saved or f"unlabelled=['{folder}']" in saved.replace('\n', '')
    assert 'unlabelled' not in (tmp_path / 'run/stock_config.py').read_text()
