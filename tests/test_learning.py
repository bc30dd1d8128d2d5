"""Learning itself, from drawn images to AP on held-out ones: ILMIL keeps the old classes and learns the new one.

What no other test sees: a loss that has the right value and the wrong sign of its effect, boxes that are merged and not
trained on, a teacher that teaches nothing. Five runs through the runner and the shipped config of a
stage.
"""

import json

import cv2
import numpy as np
import pytest
from conftest import make_voc
from mmengine.config import Config
from mmengine.runner import Runner
from tiny import write_configs

OLD, NEW = ('red', 'green'), 'blue'
COLOURS = dict(red=(40, 40, 220), green=(40, 200, 40), blue=(220, 60, 40))  # BGR
SIZE = 64
IMAGES = dict(train=64, test=32)
# With seeds 0 to 4, mean AP50 of the old classes: teacher 0.98 to 1.00, ILMIL 0.98 to 1.00, merging alone 0.98 to 1.00, the
# distiller alone 0.86 to 0.92, fine-tuning 0.00; of the new class: 0.97 to 1.00, 0.96 to 1.00, 0.98 to 1.00, 0.97 to 1.00. It
# takes 32 s of a core.
EPOCHS = dict(teacher=12, student=7)
STUDENTS = dict(
    ilmil={}, merging=dict(distiller=None, merging=dict(rpn=True)), distiller=dict(merging=None),
    finetuning=dict(distiller=None, merging=None))
# Two stages of a ResNet-18; the default distiller compares four levels.
MODEL = dict(
    backbone=dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1), base_channels=16),
    neck=dict(in_channels=[16, 32], out_channels=16),
    roi_head=dict(bbox_head=dict(fc_out_channels=64)))
SETTINGS = dict(
    train_dataloader=dict(batch_size=8),
    default_hooks=dict(checkpoint=dict(interval=100)),
    optim_wrapper=dict(optimizer=dict(lr=4e-3)))


def draw(folder, seed):
    """A VOC-style set: one ellipse of each class on every image, on grey noise, none on another."""
    rng = np.random.default_rng(seed)
    objects = {}
    for name in [f'{split}{index}' for split, count in IMAGES.items() for index in range(count)]:
        quarters = rng.permutation(4)[:3]
        objects[name] = []
        for label, quarter in zip(COLOURS, quarters):
            w, h = rng.integers(14, 27, 2)
            x, y = (SIZE // 2 * (quarter % 2) + rng.integers(2, 31 - w), SIZE // 2 * (quarter // 2) + rng.integers(2, 31 - h))
            objects[name].append((label, x + 1, y + 1, x + w, y + h))
    splits = {split: [name for name in objects if name.startswith(split)] for split in IMAGES}
    data = make_voc(folder, objects, (SIZE, SIZE), splits)
    for name, found in objects.items():
        image = rng.normal(128, 20, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
        for label, x1, y1, x2, y2 in found:
            colour = np.clip(np.array(COLOURS[label]) + rng.normal(0, 25, 3), 0, 255).tolist()
            centre, axes = (float(x1 + x2) / 2 - 1, float(y1 + y2) / 2 - 1), (float(x2 - x1 + 1), float(y2 - y1 + 1))
            cv2.ellipse(image, (centre, axes, 0), colour, -1)
        cv2.imwrite(str(data / f'JPEGImages/{name}.jpg'), image)
    return data


def train(config, work_dir, epochs, seed, **model):
    """Train a stage; its AP50 on held-out images by class."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(SETTINGS)
    cfg.merge_from_dict(dict(
        model=model, work_dir=str(work_dir), experiment_name=work_dir.name, visualizer=dict(name=work_dir.name),
        randomness=dict(seed=seed), train_cfg=dict(max_epochs=epochs, val_interval=epochs),
        param_scheduler=[dict(type='CosineAnnealingLR', eta_min_ratio=0.05, T_max=epochs, convert_to_iter_based=True)]))
    Runner.from_cfg(cfg).train()
    return json.loads((work_dir / 'metrics_val.json').read_text())['per_class']


def results(folder, seed=0):
    """By name of the run, mean AP50 of the old classes and AP50 of the new one."""
    data = draw(folder / 'data', seed)
    base, student = write_configs(folder, data, f'{folder}/teacher/final.pth', OLD, (*OLD, NEW), changes=MODEL)
    found = dict(teacher=train(base, folder / 'teacher', EPOCHS['teacher'], seed))
    for name, changes in STUDENTS.items():
        found[name] = train(student, folder / name, EPOCHS['student'], seed, **changes)
    return {name: (sum(by_class[label] for label in OLD) / len(OLD), by_class.get(NEW)) for name, by_class in found.items()}


@pytest.fixture(scope='module')
def ap(tmp_path_factory):
    return results(tmp_path_factory.mktemp('learning'))


def test_teacher_learns_the_old_classes(ap):
    assert ap['teacher'][0] > 0.9


@pytest.mark.parametrize('name', ['ilmil', 'merging', 'distiller'])
def test_old_classes_are_kept_and_the_new_one_learnt(ap, name):
    """By the method, and by each of its halves alone: boxes that are merged, terms that hold the student to its teacher."""
    old, new = ap[name]
    assert old > 0.75 * ap['teacher'][0] and new > 0.8 * ap['finetuning'][1]


def test_finetuning_forgets(ap):
    old, new = ap['finetuning']
    assert old < 0.1 * ap['teacher'][0] and new > 0.9
