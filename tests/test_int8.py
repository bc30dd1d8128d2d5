"""An exported model in int8: which layers, calibrated on what, and which stay in float for AP."""

import copy
import json
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch
from conftest import make_voc
from mmengine.config import Config
from mmengine.registry import init_default_scope
from onnx import TensorProto, helper
from test_export import metadata
from tiny import OLD, detector_file, write_configs

from mmilmil import InputError
from mmilmil.deploy import export as exporter
from mmilmil.deploy import int8_export
from mmilmil.deploy.agreement import agreement, shift
from mmilmil.deploy.calibration import MOST, Calibration, calibration_images
from mmilmil.deploy.export import add_metadata, to_onnx
from mmilmil.deploy.float_layers import search
from mmilmil.deploy.images import images_of
from mmilmil.deploy.int8 import QUANTISED, Int8
from mmilmil.deploy.int8_export import AGREEMENT, AP, Validation, make_int8
from mmilmil.deploy.layers import layers_of
from mmilmil.deploy.preparation import preparation_of
from mmilmil.deploy.processor import processor
from mmilmil.models.loading import load_detector
from mmilmil.registry import MODELS
from mmilmil.runtime import Detector, Metadata

TWO_LEVELS = dict(
    backbone=dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)),
    neck=dict(in_channels=[8, 16], num_outs=2),
    rpn_head=dict(anchor_generator=dict(strides=[4, 8])),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8], finest_scale=16)))
NUMBER = 16
OBJECTS = {f'image{index:02}': [('ant', 5, 5, 30, 30), ('dog', 30, 30, 60, 60), *[('bee', 40, 2, 60, 22)] * (index < 5)]
           for index in range(NUMBER)}
OBJECTS['image02'] += [('cat', 2, 30, 28, 60), ('emu', 2, 40, 28, 62)]  # which is none of 12 images spread over all
LAST = ['rpn_head.rpn_cls', 'rpn_head.rpn_reg', 'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg']
FCS = ['roi_head.bbox_head.shared_fcs.0', 'roi_head.bbox_head.shared_fcs.1']


@pytest.fixture(scope='module')
def stage(tmp_path_factory):
    """A first stage's config and its student's, and a Faster R-CNN that is sure of some objects, exported."""
    folder = tmp_path_factory.mktemp('int8')
    data = make_voc(folder / 'data', OBJECTS)
    base, student = write_configs(folder, data, changes=TWO_LEVELS)
    checkpoint = detector_file(folder / 'base.pth', 'frcnn', **TWO_LEVELS)
    content = torch.load(checkpoint, weights_only=False)
    content['state_dict']['rpn_head.rpn_cls.weight'] *= 20
    content['state_dict']['roi_head.bbox_head.fc_cls.weight'] *= 10
    torch.save(content, checkpoint)
    bare = to_onnx(load_detector(str(checkpoint))[0].eval(), (64, 64), 32, 'w.pth')
    graph = copy.deepcopy(bare)
    init_default_scope('mmilmil')
    cfg = Config.fromfile(base)
    add_metadata(graph, metadata(input_size=(64, 64), **vars(preparation_of(cfg))))
    return SimpleNamespace(folder=folder, images=data / 'JPEGImages', base=base, student=student, checkpoint=checkpoint,
                           bare=bare, graph=graph, cfg=cfg, preprocessor=MODELS.build(cfg.model.data_preprocessor))


def saved(graph, folder):
    path = folder / 'model.onnx'
    path.write_bytes(graph.SerializeToString())
    return Detector(path, threads=1)


def made(stage, model, chosen=None, validation=None, limit=0.1, limit_images=8, tell=lambda line: None):
    return make_int8(model, chosen or calibration_images(stage.cfg, str(stage.images)), stage.preprocessor,
                     images_of(stage.cfg, stage.preprocessor, limit_images), validation or Validation(why_not='not asked for'),
                     limit, tell)


@pytest.fixture(scope='module')
def quantised(stage, tmp_path_factory):
    """The exported model, its int8 model and the report of it."""
    model = saved(stage.graph, tmp_path_factory.mktemp('model'))
    told = []
    graph, report = made(stage, model, tell=told.append)
    return SimpleNamespace(model=model, graph=graph, report=report, told=told)


# Which layers


def drawn_graph():
    """Maps by two layers, the second of which is scored, chosen from and averaged by a third, as GFL does; and pooled by boxes
    of it into a fourth, behind which nothing but a fifth comes. Node by node, named after the weight."""
    weights = {name: (4, 4, 1, 1) for name in ('first', 'second', 'scores')} | {'mean': (4, 1), 'fc': (4, 4), 'fc_cls': (4, 4)}
    nodes = [
        ('Conv', ['image', 'first'], 'a'), ('Relu', ['a'], 'b'), ('Conv', ['b', 'second'], 'c'),
        ('Conv', ['c', 'scores'], 'd'), ('Reshape', ['d', 'flat'], 'e'), ('TopK', ['e', 'one'], ('f', 'places')),
        ('Reshape', ['d', 'rows'], 'g'), ('Gather', ['g', 'places'], 'h'), ('Softmax', ['h'], 'i'),
        ('MatMul', ['i', 'mean'], 'j'), ('RoiAlign', ['c', 'e', 'places'], 'k'), ('Gather', ['k', 'places'], 'l'),
        ('Reshape', ['l', 'rows'], 'm'), ('Gemm', ['m', 'fc'], 'n'), ('Gemm', ['n', 'fc_cls'], 'o'),
        ('MatMul', ['o', 'n'], 'p')]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [outputs] if isinstance(outputs, str) else list(outputs), name=f'node{index}')
         for index, (kind, inputs, outputs) in enumerate(nodes)],
        'drawn', [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info('p', TensorProto.FLOAT, None)],
        [helper.make_tensor(name, TensorProto.FLOAT, shape, np.zeros(shape).ravel()) for name, shape in weights.items()]
        + [helper.make_tensor(name, TensorProto.INT64, [1], [1]) for name in ('flat', 'one', 'rows')])
    return helper.make_model(graph)


def test_layers_by_what_they_feed():
    """``scores`` feeds a choice alone, the mean of chosen rows is no layer, and pooling goes on from its features only."""
    found = layers_of(drawn_graph())
    assert [(layer.name, layer.is_last) for layer in found] == [
        ('first', False), ('second', False), ('scores', True), ('fc', False), ('fc_cls', True)]
    assert found[0].nodes == ('node0', )


def test_a_layer_has_the_name_of_its_weight():
    """Also where optimisation has made a weight for each level of it."""
    graph = drawn_graph()
    for kind, name in (('first', 'ConvMulFusion_W_detector.head.reg.weight'), ('second', 'detector.head.reg.weight_token_0')):
        for node in graph.graph.node:
            node.input[:] = [name if one == kind else one for one in node.input]
        next(one for one in graph.graph.initializer if one.name == kind).name = name
    assert [(layer.name, len(layer.nodes)) for layer in layers_of(graph)][:2] == [('head.reg', 2), ('scores', 1)]


def test_layers_of_a_detector(stage):
    found = layers_of(stage.graph)
    assert [layer.name for layer in found if layer.is_last] == LAST
    weighted = [node for node in stage.graph.graph.node if node.op_type in ('Conv', 'Gemm')]
    assert sorted(name for layer in found for name in layer.nodes) == sorted(node.name for node in weighted)
    shared = next(layer for layer in found if layer.name == 'rpn_head.rpn_conv')
    assert len(shared.nodes) == 2  # one a neck level


# The model


def test_model_is_int8_where_it_may_be(quantised):
    graph = quantised.graph.graph
    maker = {name: node for node in graph.node for name in node.output}
    kinds = {one.name: one.data_type for one in graph.initializer}

    def of_weight(node):
        source = maker.get(node.input[1])
        return kinds[source.input[0]] if source else kinds[node.input[1]]

    found = {node.name: of_weight(node) for node in graph.node if node.op_type in ('Conv', 'Gemm')}
    last = {name for layer in layers_of(onnx.load(quantised.model.path)) if layer.is_last for name in layer.nodes}
    assert {name for name, kind in found.items() if kind == TensorProto.FLOAT} == last
    assert {kind for name, kind in found.items() if name not in last} == {TensorProto.INT8}
    # One scale for each of the 8 channels of the first layer, and none for what no layer makes or reads.
    scale = maker[next(node for node in graph.node if node.op_type == 'Conv').input[1]].input[1]
    assert [one.dims for one in graph.initializer if one.name == scale] == [[8]]
    # A Relu is left only behind a sum, which is no layer.
    relus = [maker[node.input[0]].op_type for node in graph.node if node.op_type == 'Relu']
    assert set(relus) == {'Add'} and len(relus) < sum(node.op_type == 'Relu' for node in onnx.load(
        quantised.model.path).graph.node)
    for kind in ('TopK', 'NonMaxSuppression', 'Softmax', 'Exp'):
        for node in graph.node:
            if node.op_type == kind:
                assert 'QuantizeLinear' not in {maker[name].op_type for name in node.input if name in maker}
    assert {node.domain for node in graph.node} == {''} and [one.domain for one in quantised.graph.opset_import] == ['']
    assert quantised.report['bytes'] < 0.8 * quantised.model.path.stat().st_size


def test_metadata_is_the_same_and_tells_how(quantised):
    props = {one.key: one.value for one in quantised.graph.metadata_props}
    assert Metadata.from_props(props) == quantised.model.metadata
    told = json.loads(props[QUANTISED])
    assert told['layers_in_float'] == LAST and told['layers'] == 17 and told['weight_bits'] in (7, 8)
    assert told['calibration_images'] == NUMBER


def test_detections_are_near(quantised, stage, tmp_path):
    model = saved(quantised.graph, tmp_path)
    pixels = [cv2.imread(str(path)) for path in sorted(stage.images.iterdir())]
    pairs = [(quantised.model(one), model(one)) for one in pixels]
    assert sum(len(first.scores) for first, _ in pairs) > 200
    moved = shift(*([(one.boxes, one.scores, one.labels) for one in side] for side in zip(*pairs)))
    assert 0 < moved < 0.05


def test_report(quantised):
    report = quantised.report
    assert report['measured_by'] == AGREEMENT and report['float'] == 1 and report['why_not_ap'] == 'not asked for'
    assert 0.9 < report['reached'] < 1 and report['left_in_float'] == [] and report['last_in_float'] == LAST
    assert [one['drop'] for one in report['attempts']] == [1 - report['reached']] and report['ranking'] == []
    assert report['float_ms'] > 0 < report['int8_ms'] and report['layers'] == 17
    assert any('agreement with the float model' in line and 'not asked for' in line for line in quantised.told)
    json.dumps(report)


# What it is calibrated on


def write_images(folder, number):
    folder.mkdir()
    for index in range(number):
        cv2.imwrite(str(folder / f'{index:04}.png'), np.full((8, 8, 3), index % 256, np.uint8))
    return folder


class Asked:
    """A model that is sure of some labels, and of others not."""

    metadata = metadata(input_size=(64, 64))

    def __init__(self, *rows):
        self.rows, self.times = rows, 0

    def run(self, image, image_shape):
        assert image.shape == (1, 3, 64, 64) and image_shape.tolist() == [64, 64]
        self.times += 1
        scores, labels = zip(*self.rows)
        return np.zeros((len(scores), 4)), np.array(scores), np.array(labels)


def gone_through(stage, chosen, model):
    calibration = Calibration(chosen, stage.preprocessor, model)
    return calibration, sum(1 for _ in calibration)


def test_classes_by_annotation(stage):
    """The dog is no class of this stage; the model is not asked."""
    model = Asked((.9, 2))
    calibration, number = gone_through(stage, calibration_images(stage.cfg, '12'), model)
    assert number == 12 and model.times == 0
    assert calibration.as_dict() == dict(
        images=12, source='12 of 16 in train_dataloader', left_out=0, unseen=['cat'], shown=dict(ant=12, bee=4, cat=0),
        by_the_model=[])
    calibration, _ = gone_through(stage, calibration_images(stage.cfg, '100'), model)
    assert calibration.shown == dict(ant=NUMBER, bee=5, cat=1) and calibration.unseen == []


def test_classes_by_the_model(stage, tmp_path):
    model = Asked((.9, 1), (.5, 1), (.49, 0))
    calibration, _ = gone_through(stage, calibration_images(stage.cfg, str(stage.images)), model)
    assert calibration.shown == dict(bee=NUMBER) and calibration.unseen == ['ant', 'cat'] and calibration.asked == set(OLD)
    assert model.times == NUMBER


def test_old_classes_of_a_later_stage_by_the_model(stage):
    """Its training set annotates dog and emu: the old ones are there, but hidden."""
    model = Asked((.9, 0), (.9, 4))
    model.metadata = metadata(input_size=(64, 64), classes=(*OLD, 'dog', 'emu'), split=(3, 2))
    calibration, _ = gone_through(stage, calibration_images(Config.fromfile(stage.student), '12'), model)
    assert calibration.shown == dict(ant=12, dog=12) and calibration.unseen == ['bee', 'cat', 'emu']
    assert calibration.as_dict()['by_the_model'] == ['ant', 'bee', 'cat']


def test_lists_and_large_folders(stage, tmp_path):
    folder = write_images(tmp_path / 'many', MOST + 3)
    assert calibration_images(stage.cfg, str(folder)).source == f'{MOST} of {MOST + 3} in {folder}'
    (tmp_path / 'some.txt').write_text(''.join(f'many/{index:04}.png\r\n' for index in range(10)))
    chosen = calibration_images(stage.cfg, str(tmp_path / 'some.txt'))
    assert len(list(chosen.items())) == 10


@pytest.mark.parametrize(('given', 'told'), [
    ('9', r'9 images \(9 of 16 in train_dataloader\) are too few .*: give 10 or more'),
    ('few', r'few: 3 images \(3 of 3 in .*few\) are too few'),
    ('gone', r'gone does not exist: give a folder of images, a text file'),
    ('few/0000.png', r'0000.png is an image: give a folder'),
    ('wrong.txt', r'wrong.txt lists nowhere.png, which is no file'),
])
def test_images_that_will_not_do(stage, tmp_path, given, told):
    write_images(tmp_path / 'few', 3)
    (tmp_path / 'wrong.txt').write_text('few/0000.png\nnowhere.png\n')
    with pytest.raises(InputError, match=f'--int8 .*{told}'):
        calibration_images(stage.cfg, given if given.isdecimal() else str(tmp_path / given))


def test_config_without_a_training_set(stage):
    cfg = stage.cfg.copy()
    cfg.train_dataloader = None
    with pytest.raises(InputError, match='no train_dataloader to take images of: give a folder'):
        calibration_images(cfg, '100')


def test_broken_and_large_images(stage, tmp_path):
    folder = write_images(tmp_path / 'images', 12)
    (folder / '0011.png').write_bytes(b'')
    with pytest.raises(InputError, match='0011.png cannot be read'):
        gone_through(stage, calibration_images(stage.cfg, str(folder)), Asked((.9, 0)))
    model = Asked((.9, 0))
    model.metadata = metadata(input_size=(32, 32))
    with pytest.raises(InputError, match=r'only 0 of 16 images fit into the input of \(32, 32\)'):
        gone_through(stage, calibration_images(stage.cfg, str(stage.images)), model)


# Which layers stay in float


def test_search_finds_what_costs():
    """Of 16 layers c and k cost 0.1 each; alone, they cost least but two."""
    names = 'abcdefghijklmnop'
    alone = dict(zip(names, range(16))) | dict(c=90, k=80, d=100, e=85)
    asked = []

    def measure(left):
        asked.append(len(left))
        return 0.9 - 0.1 * ('c' not in left) - 0.1 * ('k' not in left)

    found = search(names, measure, alone.get, 0.9, 0.05)
    assert [name for name, _ in found.ranking[:5]] == ['d', 'c', 'e', 'k', 'p']
    assert asked == [0, 1, 2, 4, 3] and found.best.left == ('d', 'c', 'e', 'k')
    assert [round(one.drop, 9) for one in found.attempts] == [.2, .2, .1, 0, .1]


def test_search_that_needs_nothing_ranks_nothing():
    found = search('ab', lambda left: 0.7, None, 0.7, 0)
    assert found.best.left == () and len(found.attempts) == 1


def test_search_gives_up_at_half():
    asked = []
    found = search('abcdefghij', lambda left: asked.append(len(left)) or 0.1, lambda name: 0, 0.9, 0.5)
    assert found.best is None and asked == [0, 1, 2, 4, 5]
    assert search('a', lambda left: 0.1, lambda name: 0, 0.9, 0.5).best is None


def with_one_huge_channel(graph):
    """The same function, in which one channel between the two fully connected layers is 10000 times as large."""
    graph = copy.deepcopy(graph)
    for one in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(one).copy()
        if one.name == 'detector.roi_head.bbox_head.shared_fcs.0.weight':
            values[0] *= 1e4
        elif one.name == 'detector.roi_head.bbox_head.shared_fcs.0.bias':
            values[0] = 1e4 * values[0] + 2e4  # so that it is there in every image
        elif one.name == 'detector.roi_head.bbox_head.shared_fcs.1.weight':
            values[:, 0] *= 1e-4
        one.CopyFrom(onnx.numpy_helper.from_array(values, one.name))
    return graph


@pytest.fixture(scope='module')
def spoilt(stage, tmp_path_factory):
    return saved(with_one_huge_channel(stage.graph), tmp_path_factory.mktemp('spoilt'))


def test_layers_that_cost_stay_in_float(stage, spoilt):
    """One scale for all channels leaves nothing of the small ones; both layers beside them have to be in float."""
    graph, report = made(stage, spoilt)
    assert sorted(report['left_in_float']) == FCS and {name for name, _ in report['ranking'][:2]} == set(FCS)
    assert [len(one['left']) for one in report['attempts']] == [0, 1, 2]
    assert report['attempts'][0]['drop'] > 0.2 and report['attempts'][1]['drop'] > 0.1 > 1 - report['reached']
    told = json.loads(next(one.value for one in graph.metadata_props if one.key == QUANTISED))
    assert told['layers'] == 15 and sorted(told['layers_in_float']) == sorted([*FCS, *LAST])


def test_ap_decides_where_it_is_measured(stage, spoilt):
    """The figures are asked for each model that is tried; here they say that the first will do."""
    seen = []

    def figures(model):
        seen.append(model.metadata)
        return dict(all=0.42)

    graph, report = made(stage, spoilt, validation=Validation(figures, dict(all=0.43)), limit=0.02, limit_images=2)
    assert report['measured_by'] == AP and report['float'] == 0.43 and report['reached'] == 0.42
    assert report['figures'] == dict(all=0.42) and seen == [spoilt.metadata] and report['left_in_float'] == []


def detections(*rows):
    boxes, scores, labels = zip(*rows) if rows else ((), (), ())
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)


BOX, HALF = (0, 0, 10, 10), (0, 0, 10, 5)


@pytest.mark.parametrize(('wanted', 'found', 'moved'), [
    ([(BOX, .8, 0)], [(BOX, .8, 0)], 0),
    ([(BOX, .8, 0)], [(BOX, .6, 0), (HALF, .9, 0)], .2),
    ([(BOX, .8, 0)], [(HALF, .8, 0)], .4),
    ([(BOX, .8, 0)], [(BOX, .8, 1)], .8),
    ([(BOX, .8, 0)], [], .8),
    ([(BOX, .6, 0), (BOX, .2, 1)], [(BOX, .6, 0)], (.2 * .2) / .8),
    ([], [(BOX, .8, 0)], 0),
])
def test_shift(wanted, found, moved):
    assert shift([detections(*wanted)], [detections(*found)]) == pytest.approx(moved, abs=1e-6)


def test_agreement():
    """Of the first class both are found, one of them behind a wrong one; of the second none; the third has none to find."""
    wanted = [detections((BOX, .9, 0), (HALF, .5, 1), (BOX, .49, 2)), detections((BOX, .8, 0))]
    found = [detections((BOX, .9, 0), ((50, 50, 60, 60), .8, 0)), detections((BOX, .3, 0))]
    assert agreement(wanted, found, 3) == pytest.approx((.5 * 1 + .5 * 2 / 3 + 0) / 2)
    assert agreement(wanted, wanted, 3) == 1
    assert agreement([detections((BOX, .4, 0))], found, 3) is None


# The processor


@pytest.mark.parametrize(('text', 'machine', 'int8', 'seven_bits'), [
    ('model name : Old\nflags : sse avx2\n', 'x86_64', (), True),
    ('model name : New\nflags\t\t: sse avx512_vnni amx_int8\n', 'x86_64', ('avx512_vnni', 'amx_int8'), False),
    ('flags : avx_vnni\n', 'AMD64', ('avx_vnni', ), False),
    ('flags : amx_int8x avx_vnni_int16x\n', 'x86_64', (), True),
    ('Features : fp asimd asimddp\n', 'aarch64', ('asimddp', ), False),
    ('Features : fp asimd\n', 'aarch64', (), False),
    (None, 'x86_64', None, True),
    (None, 'arm64', None, False),
])
def test_processor(tmp_path, text, machine, int8, seven_bits):
    if text is not None:
        (tmp_path / 'cpuinfo').write_text(text)
    found = processor(tmp_path / 'cpuinfo', machine)
    assert (found.int8, found.seven_bits) == (int8, seven_bits)
    assert found.told() == {None: 'not told by the system', (): 'none'}.get(int8, ', '.join(int8 or ()))


def test_seven_bits(stage, quantised):
    """Half the values, so a weight's largest is 64 and not 127."""
    pixels = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    inputs = [dict(image=pixels, image_shape=np.array([64, 64]))]
    largest = {}
    for seven in (False, True):
        int8 = Int8(quantised.model.path, inputs, seven)
        graph = int8.model([FCS[0]], quantised.model.metadata).graph
        largest[seven] = max(np.abs(onnx.numpy_helper.to_array(one).astype(int)).max() for one in graph.initializer
                             if one.data_type == TensorProto.INT8 and one.dims)
    assert largest == {False: 127, True: 64}


# The tools


@pytest.fixture
def ready(stage, monkeypatch):
    monkeypatch.chdir(stage.folder)
    monkeypatch.setattr(exporter, 'to_onnx', lambda *args: copy.deepcopy(stage.bare))
    return stage


def test_tools(ready, tool):
    done = tool('export_onnx.py', 'base.py', ready.checkpoint, '--out', 'out', '--int8', '12', '--int8-max-drop', '0.9')
    assert done.status == 0, done.err
    assert 'warning: no calibration image shows cat: what int8 costs these classes is not known' in done.out
    report = json.loads((ready.folder / 'out/report.json').read_text())
    told = report['int8']
    assert told['measured_by'] == AP and told['reached'] == report['ap']['int8']['all'] and told['why_not_ap'] == ''
    assert told['float'] == report['ap']['onnx']['all'] and told['calibration']['unseen'] == ['cat']
    assert told['bytes'] == (ready.folder / 'out/model.int8.onnx').stat().st_size < report['model']['bytes']
    text = (ready.folder / 'out/report.md').read_text()
    assert text in done.out and '\n| int8 ' in text and told['processor']['told'] in text
    assert text.count(report['made_by']['machine']['cpu']) == 1
    assert 'No calibration image shows cat' in text and f'as they make boxes and scores: {", ".join(LAST)}.' in text

    done = tool('test.py', 'base.py', '--onnx', 'out', '--int8', '--work-dir', 'tested')
    assert done.status == 0, done.err
    tested = json.loads((ready.folder / 'tested/metrics.json').read_text())
    assert tested['per_class'] == report['ap']['int8']['per_class'] and tested['checkpoint'].endswith('out/model.int8.onnx')
    done = tool('test.py', 'base.py', ready.checkpoint, '--int8')
    assert done.status == 1 and '--int8 is for an exported model' in done.err
    done = tool('test.py', 'base.py', ready.checkpoint, '--backend', 'openvino')
    assert done.status == 1 and '--backend is for an exported model' in done.err


def test_float_is_kept_where_int8_is_not(ready, tool, monkeypatch):
    monkeypatch.setattr(int8_export, 'search', lambda names, *args: search(names, lambda left: 0.2, lambda name: 0, *args[2:]))
    done = tool('export_onnx.py', 'base.py', ready.checkpoint, '--out', 'kept', '--int8', ready.images, '--no-ap',
                '--images', 2)
    assert done.status == 1 and 'Traceback' not in done.err
    assert ('no int8 model is kept: of agreement with the float model, 1.0000 in float, it loses 0.8000 with 0 of 17 layers '
            'left in float, and --int8-max-drop is 0.005: allow more') in done.err
    kept = sorted(path.name for path in (ready.folder / 'kept').iterdir())
    assert kept == ['SHA256SUMS', 'model.onnx', 'report.json', 'report.md']
    text = (ready.folder / 'kept/report.md').read_text()
    assert 'No int8 model is kept: none loses 0.005 or less.' in text and '--no-ap was given' in text
    assert '| 8 ' in text.partition('layers left in float')[2]


@pytest.mark.parametrize(('flags', 'told'), [
    (('--int8', '5'), '--int8 5: 5 images (5 of 16 in train_dataloader) are too few'),
    (('--int8-max-drop', '0.1'), '--int8-max-drop 0.1 is for an int8 model: give --int8 IMAGES too'),
])
def test_told_before_anything_is_exported(ready, tool, monkeypatch, flags, told):
    monkeypatch.setattr(exporter, 'to_onnx', None)
    done = tool('export_onnx.py', 'base.py', ready.checkpoint, '--out', 'never', *flags)
    assert done.status == 1 and told in done.err and not (ready.folder / 'never').exists()
