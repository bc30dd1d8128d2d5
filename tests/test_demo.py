"""`make demo` in short: the same runs on a few images of the real demo set."""

import cv2
from conftest import REPO, run_tool

from mmilmil.models.memory import FeatureMemory
from mmilmil.table_layout import size_told

FEW_IMAGES = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.dataset.indices=8',
              'val_dataloader.dataset.indices=4', 'test_dataloader.dataset.indices=4')


def test_four_rows_a_picture_and_a_second_call(tmp_path):
    command = (REPO / 'tools/demo.py', '--data', 'shapes', '--work-dir', 'demo', '--images', '2', '--cfg-options', *FEW_IMAGES)
    done = run_tool(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    table = (tmp_path / 'demo/table.md').read_text()
    rows = [line.split('|')[1].strip() for line in table.splitlines() if line.startswith('|')]
    assert rows[2:] == ['teacher (old classes only)', 'fine-tuning', 'ILMIL', 'joint']
    assert all(column in table.splitlines()[0] for column in ('old', 'new', 'all', 'old/teacher', 'all/joint'))
    assert table in done.stdout
    memory = FeatureMemory.load(tmp_path / 'demo/frcnn_shapes_4/memory.pth').nbytes
    assert table.splitlines()[-1] == f'ILMIL keeps of earlier stages: memory: {size_told(memory)}, no images'
    for stage in ('frcnn_shapes_4', *(f'frcnn_shapes_4+2{method}' for method in ('', '_finetune', '_joint'))):
        assert f'{stage}: training' in done.stdout
        assert (tmp_path / 'demo' / stage / 'metrics.json').is_file()
    # Joint training goes on beside the others, and begins before any of them is done.
    lines = done.stdout.splitlines()
    starts = [line.split(':')[0] for line in lines if ': training in' in line]
    assert starts[:2] == ['frcnn_shapes_4', 'frcnn_shapes_4+2_joint']
    assert 'mmengine' not in done.stdout and len(lines) < 50
    assert lines[-4].startswith('use it: ') and ' demo/frcnn_shapes_4+2/final.pth --out ' in lines[-4]
    assert (tmp_path / 'demo/frcnn_shapes_4+2/model_card.md').is_file()
    # Ground truth and three detectors side by side, two images below each other.
    height, width = cv2.imread(str(tmp_path / 'demo/comparison.png')).shape[:2]
    assert width > 4 * 400 and height > 2 * 400

    again = run_tool(*command, cwd=tmp_path)
    assert again.returncode == 0 and again.stdout.count('already trained') == 4
    assert table in again.stdout
