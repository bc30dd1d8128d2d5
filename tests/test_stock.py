"""What a finished stage leaves behind is a stock MMDetection model."""

import json
import pickle

import pytest
import torch
from conftest import REPO, run_tool
from mmengine.config import Config
from tiny import SEEN, build, stock_cfg

from mmilmil.stock import stock_config

# Runs where mmilmil cannot be imported, whether it is installed or not.
FRESH = """
import json, sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'mmilmil':
            raise ImportError('mmilmil was imported')

sys.meta_path.insert(0, Forbid())
config, checkpoint, out, *images = sys.argv[1:]
from mmdet.apis import DetInferencer, inference_detector, init_detector
model = init_detector(config, checkpoint, device='cpu')
found = [result.pred_instances for result in inference_detector(model, images)]
inferencer = DetInferencer(model=config, weights=checkpoint, device='cpu', show_progress=False)
predictions = inferencer(images, no_save_vis=True)['predictions']
assert not [name for name in sys.modules if name.partition('.')[0] == 'mmilmil']
as_lists = [dict(bboxes=f.bboxes.tolist(), scores=f.scores.tolist(), labels=f.labels.tolist()) for f in found]
json.dump(dict(type=type(model).__name__, classes=model.dataset_meta['classes'], detector=as_lists,
               inferencer=predictions, inferencer_classes=inferencer.model.dataset_meta['classes']), open(out, 'w'))
"""


@pytest.fixture(scope='module')
def fresh(chain, tmp_path_factory):
    """What stock MMDetection finds in a process of its own."""
    folder = tmp_path_factory.mktemp('stock')
    (folder / 'fresh.py').write_text(FRESH)
    work = chain.runs / 'student'
    images = [chain.data / 'JPEGImages' / f'{name}.jpg' for name in ('one', 'two', 'three', 'four')]
    done = run_tool('fresh.py', work / 'stock_config.py', work / 'final.pth', 'found.json', *images, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads((folder / 'found.json').read_text())


def test_stock_mmdetection_loads_it_without_mmilmil(fresh):
    assert fresh['type'] == 'FasterRCNN'
    assert tuple(fresh['classes']) == tuple(fresh['inferencer_classes']) == SEEN


@pytest.mark.parametrize('api', ['detector', 'inferencer'])
def test_same_detections_as_ours(chain, fresh, tool, tmp_path, api):
    out = tmp_path / 'ours.pkl'
    final = chain.runs / 'student/final.pth'
    done = tool('test.py', chain.student, final, '--work-dir', tmp_path / 'work', '--out', out)
    assert done.status == 0, done.err
    ours = pickle.loads(out.read_bytes())
    assert len(ours) == len(fresh[api]) == 4
    assert sum(len(image['pred_instances']['scores']) for image in ours) > 20
    for mine, theirs in zip(ours, fresh[api]):
        mine = mine['pred_instances']
        assert mine['labels'].tolist() == theirs['labels']
        assert torch.allclose(mine['scores'], torch.tensor(theirs['scores']), rtol=0, atol=1e-4)
        assert torch.allclose(mine['bboxes'], torch.tensor(theirs['bboxes']), rtol=0, atol=1e-4)


@pytest.mark.parametrize('stage', ['base', 'student'])
def test_checkpoints_have_stock_keys_only_and_load_safely(chain, stage):
    stock = build(stock_cfg(3 if stage == 'base' else 5)).state_dict()
    for name in ('final.pth', 'epoch_2.pth'):
        content = torch.load(chain.runs / stage / name, weights_only=True)
        assert {key: value.shape for key, value in content['state_dict'].items()} == {
            key: value.shape for key, value in stock.items()}
    assert content.keys() >= {'meta', 'state_dict', 'optimizer', 'message_hub'}
    assert torch.load(chain.runs / stage / 'final.pth', weights_only=True).keys() == {'meta', 'state_dict'}


def test_stock_config_tells_nothing_of_mmilmil(chain):
    for stage in ('base', 'student'):
        text = (chain.runs / stage / 'stock_config.py').read_text()
        assert 'mmilmil' not in text and 'Incremental' not in text and 'teacher' not in text and 'distiller' not in text


LOAD = """
import sys
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
register_all_modules()
print(type(MODELS.build(Config.fromfile(sys.argv[1]).model).backbone).__name__)
"""


def test_config_of_a_detector_with_our_modules_imports_mmilmil(tmp_path):
    """VGG16 is not among MMDetection's backbones: the config must bring the package that has it."""
    config = Config.fromfile(REPO / 'configs/ilmil/frcnn_vgg16_voc_19+1.py')
    stock_config(config, config.metainfo.classes).dump(tmp_path / 'stock_config.py')
    assert config.model.backbone.type == 'VGG16'  # the run's own config is left as it was
    written = Config.fromfile(tmp_path / 'stock_config.py')
    assert written.model.type == 'FasterRCNN' and written.model.backbone.type == 'mmilmil.VGG16'
    (tmp_path / 'load.py').write_text(LOAD)
    done = run_tool('load.py', tmp_path / 'stock_config.py', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith('VGG16')
