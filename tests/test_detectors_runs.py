"""Runs of detectors other than Faster R-CNN: stopped and resumed, in two processes, what they leave, what is refused."""

import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import REPO, make_voc, run_tool
from mmdet.apis import inference_detector
from probe import PROBED
from test_resume import forget_runs, same
from tiny import OBJECTS, build, detector_file, write_coco, write_configs

from mmilmil.engine.building import build_runner
from mmilmil.engine.cli import read_config

RUNS = ('cascade', 'maskrcnn', 'gfl', 'rtmdet')
runs = pytest.mark.parametrize('kind', RUNS)


@pytest.fixture(scope='module')
def stage_of(tmp_path_factory):
    """``stage_of(kind)`` is the folder of a student's stage with its teacher, made once; not to be written to."""
    folder, made = tmp_path_factory.mktemp('stages'), {}
    data = write_coco(make_voc(folder / 'data', OBJECTS))

    def make(kind):
        if kind not in made:
            made[kind] = folder / kind
            made[kind].mkdir()
            teacher = detector_file(made[kind] / 'teacher.pth', kind)
            write_configs(made[kind], data, teacher=str(teacher), kind=kind)
        return made[kind]

    return make


@pytest.fixture(scope='module')
def run_of(stage_of, tmp_path_factory):
    """``run_of(kind)`` is the work dir of a run without a stop, made once; not to be written to."""
    folder = tmp_path_factory.mktemp('runs')

    def make(kind):
        work = folder / kind
        if not (work / 'final.pth').is_file():
            forget_runs()
            cfg = read_config(str(stage_of(kind) / 'student.py'), work_dir=str(work))
            cfg.default_hooks.checkpoint.max_keep_ckpts = -1
            build_runner(cfg).train()
        return work

    return make


@runs
def test_resumed_run_ends_like_an_unbroken_one(kind, stage_of, run_of, tool, tmp_path):
    """Stopped after its first epoch; bit for bit."""
    whole = run_of(kind)
    shutil.copy(whole / 'epoch_1.pth', tmp_path)
    done = tool('train.py', stage_of(kind) / 'student.py', '--work-dir', tmp_path, '--resume')
    assert done.status == 0 and 'resumed epoch: 1' in done.out + done.err, done.err[-3000:]
    first, one, two = (torch.load(path) for path in (whole / 'epoch_1.pth', whole / 'epoch_2.pth', tmp_path / 'epoch_2.pth'))
    assert all(same(one[key], two[key]) for key in ('state_dict', 'optimizer'))
    assert not same(one['state_dict'], first['state_dict'])


# In a process without mmilmil: what runs left, as a user of stock MMDetection takes it. Young detectors are sure of nothing.
STOCK = """
import sys
import torch
from mmdet.apis import inference_detector, init_detector
image, *folders = sys.argv[2:]
for folder in folders:
    rcnn = 'rcnn.' if 'rcnn' in folder or 'cascade' in folder else ''
    options = {f'model.test_cfg.{rcnn}score_thr': 0.0}
    detector = init_detector(f'{folder}/stock_config.py', f'{folder}/final.pth', palette='random', device='cpu',
                             cfg_options=options)
    torch.save(inference_detector(detector, image).pred_instances.to_dict(), f'{sys.argv[1]}/{folder.rpartition("/")[2]}.pth')
assert 'mmilmil' not in sys.modules
"""


def test_what_a_run_leaves_is_a_stock_detector(stage_of, run_of, tmp_path):
    """``final.pth`` with ``stock_config.py``, loaded without mmilmil, finds what the student finds."""
    image = stage_of('gfl').parent / 'data/JPEGImages/four.jpg'
    done = run_tool('-W', 'ignore', '-c', STOCK, tmp_path, image, *map(run_of, RUNS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind in RUNS:
        theirs = torch.load(tmp_path / f'{kind}.pth')
        forget_runs()
        cfg = read_config(str(stage_of(kind) / 'student.py'))
        (cfg.model.test_cfg.get('rcnn') or cfg.model.test_cfg).score_thr = 0.0
        student = build(cfg.model)
        student.load_state_dict(torch.load(run_of(kind) / 'epoch_2.pth')['state_dict'])
        student.cfg = cfg
        mine = inference_detector(student.eval(), str(image)).pred_instances
        assert len(mine) > 1, kind
        assert all(torch.equal(mine[name], theirs[name]) for name in ('bboxes', 'labels', 'scores')), kind
        assert np.array_equal(mine.get('masks', ()), theirs.get('masks', ())), kind


# Trains configs one after the other, each in a work dir of its name, as tools/train.py does with --launcher pytorch: starting
# processes takes longer than these runs.
TRAIN_ALL = """
import sys
from pathlib import Path
from mmilmil.engine.building import build_runner
from mmilmil.engine.cli import read_config
from mmilmil.engine.launch import use_launcher
for path in sys.argv[1:]:
    cfg = read_config(path, work_dir=str(Path(path).parent / 'two'))
    use_launcher(cfg, 'pytorch')
    build_runner(cfg).train()
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason='the processes would ask for a GPU each')
def test_two_processes_agree(stage_of, tmp_path):
    paths = []
    for kind in RUNS:
        folder = tmp_path / kind
        shutil.copytree(stage_of(kind), folder)
        (folder / 'probed.py').write_text(PROBED)
        paths.append(folder / 'probed.py')
    (tmp_path / 'train_all.py').write_text(TRAIN_ALL)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master_port={port}',
         str(tmp_path / 'train_all.py'), *map(str, paths)],
        env=dict(os.environ, PYTHONPATH=f'{REPO}{os.pathsep}{REPO / "tests"}'), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for kind in RUNS:
        first, second = (torch.load(tmp_path / kind / f'two/rank{rank}.pth') for rank in (0, 1))
        for name, weight in first['state_dict'].items():
            assert torch.equal(weight, second['state_dict'][name]), (kind, name)
        assert first['losses'] != second['losses']  # they saw different images
        assert len(first['losses']) == 2 and any('kd' in name for name in first['losses'][0])
        assert first['bucketed'] == sorted(name for name in first['weights'][0]) and first['teachers'] == 0
        assert (tmp_path / kind / 'two/final.pth').is_file() and second['written'] == []


# Bad input, told by the tool in one line before anything is trained

HEAD, RCNN = '_base_.model.roi_head.bbox_head', '_base_.model.train_cfg.rcnn'
BAD = {
    # name: (kind, what the student's config says on top, words of the message)
    'unsupported': ('gfl', "model = dict(_delete_=True, type='DETR')", 'DETR is no detector with'),
    'head': ('gfl', "model = dict(bbox_head=dict(type='FCOSHead'))", 'model.bbox_head is a FCOSHead, not a'),
    'softmax': ('gfl', "model = dict(bbox_head=dict(loss_cls=dict(_delete_=True, type='CrossEntropyLoss')))",
                'CrossEntropyLoss, is not a sigmoid'),
    'teacher': ('gfl', "model = dict(teacher=dict(_delete_=True, checkpoint='{stages}/cascade/teacher.pth'))",
                "model.type is 'CascadeRCNN' there and 'GFL' in the student"),
    'proposals': ('rtmdet', 'model = dict(teacher=dict(max_proposals=9))', 'model.teacher.max_proposals = 9 is of two-stage'),
    'levels': ('gfl', 'model = dict(neck=dict(num_outs=3), bbox_head=dict(anchor_generator=dict(strides=[8, 16, 32])))',
               'model.neck.num_outs is 4 there and 3 in the student'),
    'no_level': ('rtmdet', 'model = dict(distiller=dict(neck_levels=(0, 3)))', 'the neck gives 3 maps, so 3 is none of them'),
    'cascade_stages': ('cascade', 'model = dict(roi_head=dict(num_stages=2, stage_loss_weights=[1, 0.5], '
                       f'bbox_head={HEAD}[:2]), train_cfg=dict(rcnn={RCNN}[:2]))',
                       'model.roi_head.num_stages is 3 there and 2 in the student'),
    'cascade_settings': ('cascade', f'model = dict(train_cfg=dict(rcnn={RCNN}[:2]))',
                         'model.train_cfg.rcnn has 2 entries, and model.roi_head.num_stages = 3'),
    'cascade_heads': ('cascade', 'model = dict(roi_head=dict(num_stages=2))',
                      'model.roi_head.bbox_head has 3 entries, and model.roi_head.num_stages = 2'),
    'one_head': ('cascade', f'model = dict(roi_head=dict(bbox_head=[*{HEAD}[:2], dict({HEAD}[2], num_classes=4)]))',
                 'num_classes = 4 in model.roi_head.bbox_head.2'),
    'masks': ('maskrcnn', 'train_dataloader = dict(dataset=dict(pipeline=[dict(type="LoadAnnotations", with_bbox=True) if '
              'step["type"] == "LoadAnnotations" else step for step in _base_.train_pipeline]))', 'loads no masks from'),
    'term': ('gfl', 'model = dict(distiller=dict(rpn_cls=None))', 'model.distiller has no setting rpn_cls'),
    'distiller': ('cascade', "model = dict(distiller=dict(_delete_=True, type='DenseDistiller'))",
                  'whose terms a IncrementalCascadeRCNN has no place for'),
    'boxes': ('gfl', "model = dict(distiller=dict(reg=dict(_delete_=True, type='DenseDeltaKDLoss')))",
              'model.distiller.reg is a DenseDeltaKDLoss'),
    'cache': ('maskrcnn', "model = dict(teacher_boxes='boxes.jsonl')", 'holds boxes without masks'),
    'pruned': ('gfl', "model = dict(pruned='pruned.pth')", 'only Faster R-CNN can be pruned'),
    'pruning': ('cascade', "custom_imports = dict(imports=['mmilmil', 'mmilmil.pruning.training'])\n"
                "model = dict(_delete_=True, type='IterativePruning', detector=_base_.model, checkpoint='gone.pth')",
                'is a CascadeRCNN, and only Faster R-CNN can be pruned'),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_told(name, stage_of, tool, tmp_path):
    kind, text, words = BAD[name]
    stages = stage_of(kind).parent
    stage_of('cascade')
    config = tmp_path / f'{name}.py'
    config.write_text(f"_base_ = '{stage_of(kind)}/student.py'\n{text.replace('{stages}', str(stages))}\n")
    refused(tool('train.py', config, '--work-dir', tmp_path / 'work'), words)
    assert not list(tmp_path.rglob('*.pth'))


def refused(done, words):
    assert done.status == 1, done.err[-2000:]
    message = done.err.strip().splitlines()[-1]
    assert message.startswith('error: ') and words in message, message
    assert 'Traceback' not in done.out + done.err


# Tools


def test_boxes_of_a_teacher_with_masks_are_not_cached(stage_of, tool, tmp_path):
    refused(tool('cache_teacher_boxes.py', stage_of('maskrcnn') / 'student.py', '--out', tmp_path / 'boxes.jsonl'),
            'a cache holds boxes without masks')
    assert not list(tmp_path.iterdir())


def test_only_faster_rcnn_is_pruned(tool, stage_of, tmp_path):
    refused(tool('prune.py', stage_of('gfl') / 'base.py', 'gone.pth', '--out', tmp_path / 'pruned'),
            'is a GFL, and only Faster R-CNN can be pruned')


def test_cached_boxes_are_merged(stage_of, run_of, tool, tmp_path):
    """Of a one-stage teacher: found once, they are those that it finds in each step but for the augmentation."""
    config, boxes = stage_of('gfl') / 'student.py', tmp_path / 'boxes.jsonl'
    options = ('--cfg-options', 'model.merging.score_thr=0.1')
    done = tool('cache_teacher_boxes.py', config, '--out', boxes, '--score-thr', '0.1', *options)
    assert done.status == 0 and not done.out.rstrip().splitlines()[-1].startswith('0 boxes'), done.out + done.err
    done = tool('train.py', config, '--work-dir', tmp_path / 'work', *options, f'model.teacher_boxes={boxes}')
    assert done.status == 0, done.err[-3000:]
    merged, other = (torch.load(folder / 'final.pth')['state_dict'] for folder in (tmp_path / 'work', run_of('gfl')))
    assert not same(merged, other)


def test_proposals_are_of_two_stage_detectors(stage_of, tool, tmp_path):
    """``analysis_tools/teacher_boxes.py`` counts a one-stage teacher's boxes without trying numbers of proposals."""
    done = tool('analysis_tools/teacher_boxes.py', stage_of('gfl') / 'student.py', '--out', tmp_path / 'new/boxes.json',
                '--cfg-options', 'randomness=None')
    counts = json.loads((tmp_path / 'new/boxes.json').read_text())
    assert (counts['objects'], counts['images'], counts['score_thr']) == (6, 4, 0.5) and f'found: {counts["found"]}' in done.out
    assert done.status == 0 and 'old objects that the stage hides: 6' in done.out and 'proposals' not in done.out
    done = tool('analysis_tools/teacher_boxes.py', stage_of('cascade') / 'student.py')
    assert done.status == 0 and '128 proposals: ' in done.out
    refused(tool('analysis_tools/teacher_boxes.py', stage_of('gfl') / 'student.py', '--proposals', '9'),
            'is a one-stage detector, a GFL, and makes none')
