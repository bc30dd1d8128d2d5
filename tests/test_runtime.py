"""The runtime: the same input as MMDetection's test pipeline, the detections of a model file, what is told of bad input.

The models here are built node by node: one box is the whole image, and its score depends on every pixel that the model reads.
"""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import mmcv
import numpy as np
import onnx
import pytest
import torch
from conftest import REPO
from mmcv.transforms import Compose, LoadImageFromFile
from mmdet.datasets.transforms import PackDetInputs, Pad, Resize
from mmdet.models import DetDataPreprocessor
from onnx import TensorProto, helper
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mmilmil import InputError
from mmilmil.checksums import write_checksums
from mmilmil.runtime import Detector, Metadata, images
from mmilmil.runtime.__main__ import main
from mmilmil.runtime.drawing import class_colors, draw
from mmilmil.runtime.images import read_image
from mmilmil.runtime.metadata import Padding, Resizing
from mmilmil.runtime.preprocessing import preprocess
from mmilmil.runtime.resizing import rescaled_size, resize
from mmilmil.runtime.sources import open_source

METADATA = Metadata(
    detector='FasterRCNN', classes=('ant', 'bee', 'cat'), split=(2, 1), checkpoint_sha256='0' * 64, config='tiny.py',
    resize=Resizing((64, 48), True), pad=Padding(32, None, (0., 0., 0.)), mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375), channels='rgb', input_size=None, score_thr=0.05, max_per_img=100)


def write_model(folder, metadata=METADATA, props=None, outputs=('boxes', 'scores', 'labels')):
    """A model that finds a ``bee`` at (8, 4, 24, 20) of the resized image, and a ``cat``, the whole of it.

    The score of the first is 0.25, that of the other the sigmoid of the mean of what it reads.
    """
    node, constant = helper.make_node, onnx.numpy_helper.from_array
    initial = dict(fixed=np.float32([[8, 4, 24, 20]]), corner=np.zeros(2, np.float32), sure=np.float32([0.25]),
                   one=np.array([1]), order=np.array([1, 0]), both=np.array([2, 1]), row=np.array([1, 4]))
    nodes = [
        node('Cast', ['image_shape'], ['shape'], to=TensorProto.FLOAT), node('Gather', ['shape', 'order'], ['end']),
        node('Concat', ['corner', 'end'], ['flat'], axis=0), node('Reshape', ['flat', 'row'], ['whole']),
        node('Concat', ['whole', 'fixed'], ['boxes'], axis=0),
        node('ReduceMean', ['image'], ['mean'], keepdims=0), node('Sigmoid', ['mean'], ['score']),
        node('Reshape', ['score', 'one'], ['first']), node('Concat', ['first', 'sure'], ['scores'], axis=0),
        node('Identity', ['both'], ['labels'])]
    kinds = dict(boxes=(TensorProto.FLOAT, [2, 4]), scores=(TensorProto.FLOAT, [2]), labels=(TensorProto.INT64, [2]))
    graph = helper.make_graph(
        nodes, 'tiny', [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, 'H', 'W']),
                        helper.make_tensor_value_info('image_shape', TensorProto.INT64, [2])],
        [helper.make_tensor_value_info(name, *kinds[name]) for name in outputs],
        [constant(value, name) for name, value in initial.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    onnx.checker.check_model(model)
    helper.set_model_props(model, metadata.to_props() if props is None else props)
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / 'model.onnx')
    return folder


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('runtime') / 'exported')


def pixels_of(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'street.png'
    cv2.imwrite(str(path), pixels_of(60, 90))
    return path


# ---- the file's own word

def test_metadata_comes_back_as_it_was_written():
    assert Metadata.from_props(METADATA.to_props()) == METADATA
    fixed = dataclasses.replace(METADATA, mean=None, std=None, input_size=(64, 96), pad=Padding(None, (64, 64), (1., 2., .5)))
    assert Metadata.from_props(dict(fixed.to_props(), other='thing')) == fixed


@pytest.mark.parametrize('key, value, told', [
    ('format', '2', r'm.onnx is of format 2, written by mmilmil .*, and mmilmil .* reads format 1: export'),
    ('format', None, r'm.onnx is no model of tools/export_onnx.py'),
    ('classes', None, r'm.onnx lacks mmilmil.classes'),
    ('split', '[1, 1]', r'split = \[1, 1\] and 3 classes'),
    ('mean', 'null', r'mean = None and std = \[58.395'),
    ('std', '[1, 1, 0]', r'std = \[1, 1, 0\]: it must be three numbers above 0'),
    ('pad', '{"divisor": 32}', r'pad = .*: it must have divisor, size, value'),
    ('resize', '{"scale": [0, 4], "keep_ratio": true}', r'resize = .*: it must be a scale'),
    ('channels', '"gray"', 'it must be bgr or rgb'),
    ('score_thr', '{', 'is no JSON'),
])
def test_metadata_that_cannot_be_used_is_told(key, value, told):
    props = METADATA.to_props()
    props[f'mmilmil.{key}'] = value
    with pytest.raises(InputError, match=told):
        Metadata.from_props({name: text for name, text in props.items() if text is not None}, 'm.onnx')


# ---- the input of the model

@pytest.mark.parametrize('size, scale', [((60, 90), (64, 48)), ((90, 60), (64, 48)), ((47, 47), (64, 48)),
                                         ((480, 641), (320, 320)), ((33, 100), (1333, 800)), ((3, 1000), (64, 64))])
def test_sizes_are_those_of_mmcv(size, scale):
    height, width = size
    assert rescaled_size(width, height, scale, True) == mmcv.rescale_size((width, height), scale)
    assert rescaled_size(width, height, scale, False) == scale


@pytest.mark.parametrize('before, after', [((20, 30), (40, 60)), ((20, 30), (31, 47)), ((48, 64), (24, 32)),
                                           ((97, 65), (20, 13)), ((7, 5), (200, 129)), ((1, 1), (3, 5)),
                                           ((100, 100), (25, 50)), ((40, 40), (40, 41))])
def test_resizing_is_that_of_opencv(before, after):
    pixels = pixels_of(*before)
    theirs = cv2.resize(pixels, after[::-1], interpolation=cv2.INTER_LINEAR)
    difference = np.abs(resize(pixels, *after[::-1]).astype(int) - theirs)
    assert difference.max() <= 1 and (difference == 0).mean() > 0.99


def test_pictures_from_smooth_to_sharp_are_resized_alike():
    ramp = np.repeat(np.arange(0, 256, 3, dtype=np.uint8)[None, :, None], 50, axis=0).repeat(3, axis=2)
    edge = np.zeros((50, 86, 3), np.uint8)
    edge[:, 40:] = 255
    for pixels in (ramp, edge):
        assert np.array_equal(resize(pixels, 61, 33), cv2.resize(pixels, (61, 33)))


PREPROCESSOR = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32)


@pytest.mark.parametrize('size', [(60, 90), (90, 61), (200, 31)])
@pytest.mark.parametrize('steps, preprocessor, changes', [
    ([Resize(scale=(64, 48), keep_ratio=True)], PREPROCESSOR, {}),
    ([Resize(scale=(70, 50), keep_ratio=False)], dict(PREPROCESSOR, pad_value=3),
     dict(resize=Resizing((70, 50), False), pad=Padding(32, None, (3., 3., 3.)))),
    ([Resize(scale=(96, 96), keep_ratio=True),
      Pad(size=(96, 96), pad_val=dict(img=(114, 114, 114)))],
     dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False),
     dict(resize=Resizing((96, 96), True), channels='bgr', mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395),
          pad=Padding(None, (96, 96), tuple((114 - mean) / std for mean, std in zip((103.53, 116.28, 123.675),
                                                                                (57.375, 57.12, 58.395)))))),
    ([Resize(scale=(64, 48), keep_ratio=True)], dict(bgr_to_rgb=False),
     dict(channels='bgr', mean=None, std=None, pad=Padding(None, None, (0., 0., 0.)))),
], ids=['padded', 'stretched', 'frame', 'plain'])
def test_the_model_reads_what_mmdetection_gives_it(tmp_path, size, steps, preprocessor, changes):
    path = tmp_path / 'drawn.jpg'
    cv2.imwrite(str(path), cv2.GaussianBlur(pixels_of(*size), (5, 5), 0))
    pipeline = Compose([LoadImageFromFile(), *steps, PackDetInputs(meta_keys=('img_shape', 'scale_factor'))])
    packed = pipeline(dict(img_path=str(path), img_id=0))
    theirs = DetDataPreprocessor(**preprocessor)(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))
    ours = preprocess(read_image(path)[0], dataclasses.replace(METADATA, **changes))
    image, (sample, ) = theirs['inputs'].numpy(), theirs['data_samples']
    assert ours.image.shape == image.shape and ours.image.dtype == np.float32
    np.testing.assert_allclose(ours.image, image, rtol=0, atol=1e-6)
    assert tuple(ours.image_shape) == tuple(sample.img_shape) and ours.scale_factor == pytest.approx(sample.scale_factor, abs=0)


def test_a_fixed_input_is_filled_and_never_overfull():
    fixed = dataclasses.replace(METADATA, input_size=(64, 96))
    given = preprocess(pixels_of(60, 90), fixed)
    free = preprocess(pixels_of(60, 90), METADATA)
    assert free.image.shape == (1, 3, 64, 64) and given.image.shape == (1, 3, 64, 96)
    assert np.array_equal(given.image[..., :64], free.image) and not given.image[..., 64:].any()
    with pytest.raises(InputError, match=r'has 60x90 pixels .* resized and padded to 64x64, but the model reads 64x32'):
        preprocess(pixels_of(90, 60), dataclasses.replace(METADATA, input_size=(32, 64)))


def _saved(path, image, **kwargs):
    image.save(path, **kwargs)
    return path


def _kinds(folder):
    colors = Image.fromarray(pixels_of(20, 31))
    deep = pixels_of(20, 31).astype(np.uint16) * 257 + pixels_of(20, 31, 1)
    alpha = Image.fromarray(np.dstack([pixels_of(20, 31), pixels_of(20, 31, 1)[..., :1]]))
    turned = Image.Exif()
    turned[0x0112] = 6
    yield _saved(folder / 'plain.jpg', colors)
    yield _saved(folder / 'turned.jpg', colors, exif=turned)
    yield _saved(folder / 'turned.png', colors, exif=turned)
    for orientation in range(2, 9):  # of TIFFs, by a tag of their own
        for mode in ('RGB', 'L'):
            yield _saved(folder / f'turned{orientation}{mode}.tif', colors.convert(mode), tiffinfo={0x0112: orientation})
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    text = PngInfo()
    text.add_itxt('XML:com.adobe.xmp', xmp.decode())
    yield _saved(folder / 'xmp.jpg', colors, xmp=xmp)
    yield _saved(folder / 'xmp.webp', colors, xmp=xmp, lossless=True)
    yield _saved(folder / 'xmp.png', colors, pnginfo=text)
    chunk = b'iTXtXML:com.adobe.xmp' + bytes(5) + xmp
    behind = len(chunk[4:]).to_bytes(4, 'big') + chunk + zlib.crc32(chunk).to_bytes(4, 'big')
    whole = _saved(folder / 'xmpbehind.png', colors).read_bytes()
    (folder / 'xmpbehind.png').write_bytes(whole[:-12] + behind + whole[-12:])  # between pixels and end
    yield folder / 'xmpbehind.png'
    yield _saved(folder / 'xmp.tif', colors, tiffinfo={700: xmp})
    yield _saved(folder / 'grey.jpg', colors.convert('L'))
    yield _saved(folder / 'two.png', colors.convert('1'))
    yield _saved(folder / 'alpha.png', alpha)
    yield _saved(folder / 'alpha.tif', alpha)
    yield _saved(folder / 'greyalpha.png', alpha.convert('LA'))
    yield _saved(folder / 'palette.png', colors.convert('P'), transparency=3)
    yield _saved(folder / 'print.jpg', colors.convert('CMYK'))
    for name, pixels in (('deep.png', deep), ('deepgrey.png', deep[..., 0]), ('deepgrey.tif', deep[..., 0]),
                         ('deep.pgm', deep[..., 0])):
        cv2.imwrite(str(folder / name), pixels)
        yield folder / name


def test_files_are_read_as_mmcv_reads_them(tmp_path):
    """Turned by EXIF, with a word on it, and not by XMP."""
    turned = 0
    for path in _kinds(tmp_path):
        pixels, notes = read_image(path)
        theirs = mmcv.imread(path)
        assert pixels.shape == theirs.shape, path.name
        assert np.abs(pixels.astype(int) - theirs).max() <= 1, path.name
        assert len(notes) == ('turned' in path.name), path.name
        orientation = path.name[6] if path.suffix == '.tif' else 6
        assert all(f'EXIF orientation {orientation},' in note for note in notes)
        turned += len(notes)
    assert turned == 2 + 2 * 7


def test_what_may_not_be_read_is_told_as_that(image, tmp_path, monkeypatch):
    (tmp_path / 'open/locked').mkdir(parents=True)
    image.rename(tmp_path / 'open/street.png')
    theirs, scandir = open, os.scandir

    def refuse(path, *args):
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))

    monkeypatch.setattr(images, 'open', lambda path, *args: (refuse if path.name == 'street.png' else theirs)(path, *args),
                        raising=False)
    with pytest.raises(InputError, match=r'street.png cannot be read \(Permission denied\): correct its permissions'):
        read_image(tmp_path / 'open/street.png')
    monkeypatch.setattr(os, 'scandir', lambda path: (refuse if Path(path).name == 'locked' else scandir)(path))
    with pytest.raises(InputError, match=r'the folder .*locked cannot be read \(Permission denied\): correct its permissions'):
        open_source(str(tmp_path / 'open'))


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Bad images by what is told of them."""
    folder = tmp_path / 'broken'
    folder.mkdir()
    (folder / 'a.jpg').write_bytes(b'')
    _saved(folder / 'b.jpg', Image.fromarray(pixels_of(200, 200)))
    (folder / 'b.jpg').write_bytes((folder / 'b.jpg').read_bytes()[:5000])
    (folder / 'c.png').write_text('no image')
    _saved(folder / 'd.tif', Image.fromarray(np.zeros((8, 8), np.float32)))
    _saved(folder / 'e.png', Image.new('RGB', (400, 400)))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100_000)
    _saved(folder / 'f.png', Image.new('RGB', (4000, 2)))
    return folder, {'a.jpg': 'a.jpg is empty, a file of 0 bytes', 'b.jpg': 'b.jpg is damaged or cut off',
                    'c.png': 'c.png is no image', 'd.tif': 'd.tif has pixels of 32 bits', 'e.png': 'e.png is too large',
                    'f.png': 'f.png: the image has 4000x2 pixels .* 64x0: cut it'}


def test_bad_images_are_told(broken, model):
    folder, told = broken
    detector = Detector(model)
    for name, text in told.items():
        with pytest.raises(InputError, match=text):
            detector(folder / name)
    with pytest.raises(InputError, match='nothing.jpg does not exist'):
        detector(folder / 'nothing.jpg')
    with pytest.raises(InputError, match=r'these are \(4, 4\) of uint8'):
        detector(np.zeros((4, 4), np.uint8))


# ---- detecting

def test_boxes_are_in_pixels_of_the_image(model, image):
    found = Detector(model)(image)
    # 90x60 is resized to 64x43: the whole image comes back, the other box by the factor of each side.
    read = preprocess(read_image(image)[0], METADATA).image
    score = 1 / (1 + np.exp(-read.mean()))
    assert score > 0.25 and found.scores == pytest.approx([score, 0.25], abs=1e-6)
    np.testing.assert_allclose(found.boxes, [[0, 0, 90, 60], [8 * 90 / 64, 4 * 60 / 43, 24 * 90 / 64, 20 * 60 / 43]], atol=1e-4)
    assert found.labels.tolist() == [2, 1] and found.names == ('cat', 'bee') and found.groups == (1, 0)
    assert len(Detector(model, score_thr=0.3)(cv2.imread(str(image)))) == 1


def test_model_files_that_cannot_be_used_are_told(model, tmp_path):
    with pytest.raises(InputError, match='no such.* does not exist'):
        Detector(tmp_path / 'no such')
    with pytest.raises(InputError, match=r'has no model.onnx: give the folder'):
        Detector(tmp_path)
    with pytest.raises(InputError, match=r'has no model.int8.onnx: export the checkpoint with --int8'):
        Detector(model, int8=True)
    (tmp_path / 'model.onnx').write_bytes((model / 'model.onnx').read_bytes()[:300])
    with pytest.raises(InputError, match='model.onnx cannot be read by ONNX Runtime'):
        Detector(tmp_path)
    with pytest.raises(InputError, match='no model of tools/export_onnx.py'):
        Detector(write_model(tmp_path / 'foreign', props={}))
    with pytest.raises(InputError, match='gives boxes, scores, not image, image_shape and boxes, scores, labels'):
        Detector(write_model(tmp_path / 'less', outputs=('boxes', 'scores')))
    with pytest.raises(InputError, match='has no NoSuchProvider: it has .*CPU'):
        Detector(model, providers=('NoSuchProvider', ))
    with pytest.raises(InputError, match="backend = 'tensorrt': it must be one of onnxruntime, openvino"):
        Detector(model, backend='tensorrt')


def test_a_model_that_was_changed_since_its_export_is_told(tmp_path):
    model = write_model(tmp_path / 'exported')
    path = model / 'model.onnx'
    write_checksums([path])
    listed = subprocess.run(['sha256sum', '-c', 'SHA256SUMS'], cwd=model, capture_output=True, text=True, check=True).stdout
    assert listed == 'model.onnx: OK\n'
    Detector(model)
    later = onnx.load(path)
    later.doc_string = 'touched'
    onnx.save(later, path)  # a model still
    with pytest.raises(InputError, match=r'model.onnx is not the file that was exported .*SHA256SUMS'):
        Detector(model)
    (model / 'SHA256SUMS').write_text('one\n')
    with pytest.raises(InputError, match=r'SHA256SUMS cannot be read .*delete it to run what is there'):
        Detector(model)
    (model / 'SHA256SUMS').unlink()
    Detector(model)


# ---- OpenVINO

def test_openvino_finds_the_same(model, image, tmp_path):
    pytest.importorskip('openvino', reason='the extra mmilmil[openvino] is not installed')
    expected, found = Detector(model)(image), Detector(model, backend='openvino', threads=1)(image)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert found.names == expected.names and found.groups == expected.groups
    main([str(model), str(image), '--backend', 'openvino', '--json', str(tmp_path / 'found.json')])
    assert json.loads((tmp_path / 'found.json').read_text())['images'][0]['detections'][0]['name'] == 'cat'


def test_openvino_tells_what_it_cannot_run(model, tmp_path, monkeypatch):
    pytest.importorskip('openvino', reason='the extra mmilmil[openvino] is not installed')
    with pytest.raises(InputError, match='are execution providers of ONNX Runtime'):
        Detector(model, backend='openvino', providers=('CPUExecutionProvider', ))
    with pytest.raises(InputError, match='no model of tools/export_onnx.py'):
        Detector(write_model(tmp_path / 'foreign', props={}), backend='openvino')
    (tmp_path / 'model.onnx').write_bytes((model / 'model.onnx').read_bytes()[:300])
    with pytest.raises(InputError, match='model.onnx cannot be read by OpenVINO'):
        Detector(tmp_path, backend='openvino')
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(InputError, match='OpenVINO cannot be imported .*pip install openvino'):
        Detector(model, backend='openvino')


def test_groups_have_two_families_of_colours():
    colors = np.array([[int(color[i:i + 2], 16) for i in (1, 3, 5)] for color in class_colors((2, 3, 4))])
    assert (colors[:5, 0] < colors[:5, 1:].max(axis=1)).all()  # cool: more green or blue than red
    assert (colors[5:, 0] >= colors[5:, 1:].max(axis=1)).all()
    assert len({tuple(color) for color in colors}) == 9
    assert class_colors((3, )) == class_colors((3, 1))[:3]


def test_boxes_are_drawn_where_they_are(model):
    pixels = np.zeros((240, 360, 3), np.uint8)
    found = Detector(model)(pixels)
    drawn = np.asarray(draw(pixels, found, METADATA.split))
    bee = class_colors(METADATA.split)[1]
    x1, y1, x2, y2 = found.boxes[list(found.names).index('bee')].round().astype(int)
    assert drawn[(y1 + y2) // 2, x2].tolist() == [int(bee[i:i + 2], 16) for i in (1, 3, 5)]
    assert not drawn[(y1 + y2) // 2, (x1 + x2) // 2].any() and drawn.any(axis=2).mean() > 0.01


def test_a_folder_goes_on_behind_a_bad_image(broken, model, image, tmp_path, capsys):
    folder, told = broken
    image.rename(folder / 'z.png')
    with pytest.raises(InputError, match=r'6 of 7 images are left out \(a.jpg, b.jpg, c.png, d.tif, e.png, ...\)'):
        main([str(model), str(folder), '--json', str(tmp_path / 'new/found.json'), '--draw', str(tmp_path / 'drawn')])
    content = json.loads((tmp_path / 'new/found.json').read_text())
    assert content['classes'] == ['ant', 'bee', 'cat'] and content['split'] == [2, 1] and content['score_thr'] == 0.3
    assert [one['file'] for one in content['images'] if 'error' in one] == list(told)
    last = content['images'][-1]
    assert (last['file'], last['width'], last['height']) == ('z.png', 90, 60)
    assert [(one['name'], one['group'], one['label']) for one in last['detections']] == [('cat', 1, 2)]
    assert last['detections'][0]['box'] == pytest.approx([0, 0, 90, 60], abs=0.01)
    assert [path.name for path in (tmp_path / 'drawn').iterdir()] == ['z.png']
    out = capsys.readouterr().out
    assert 'z.png: 1 detection (cat 1)' in out and '1 images, 1 detections, ' in out and ' images a second (' in out
    assert out.count('left out: ') == 6


def test_a_video_is_read_and_written(model, tmp_path, capsys):
    video = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'MJPG'), 10, (90, 60))
    for seed in range(4):
        writer.write(pixels_of(60, 90, seed))
    writer.release()
    main([str(model), str(video), '--json', str(tmp_path / 'found.json'), '--draw', str(tmp_path / 'out.avi'), '--frames', '3'])
    frames = json.loads((tmp_path / 'found.json').read_text())['images']
    assert [frame['frame'] for frame in frames] == [0, 1, 2] and 'frames a second' in capsys.readouterr().out
    again = open_source(str(tmp_path / 'out.avi'))
    assert sum(1 for _ in again) == 3 and again.frames_per_second == 10
    assert not list(tmp_path.glob('*.part*'))
    before = video.read_bytes()
    for option in ('--json', '--draw'):
        with pytest.raises(InputError, match=f'{option} .*drive.avi would replace what is read'):
            main([str(model), str(video), option, str(tmp_path / 'pictures/../drive.avi')])
    assert video.read_bytes() == before
    main([str(model), str(video), '--draw', str(tmp_path / 'pictures')])
    assert sorted(path.name for path in (tmp_path / 'pictures').iterdir()) == [f'{number:06d}.jpg' for number in range(4)]


def test_a_camera_ends_by_ctrl_c(model, tmp_path, monkeypatch):
    class Camera:
        def __init__(self, source):
            assert source == 7
            self.left = 2

        def isOpened(self):
            return True

        def get(self, what):
            return 0

        def read(self):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return True, pixels_of(60, 90)

        def release(self):
            self.left = None

    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    main([str(model), '7', '--json', str(tmp_path / 'found.json')])
    assert len(json.loads((tmp_path / 'found.json').read_text())['images']) == 2


def test_sources_and_places_that_cannot_be_used_are_told(model, image, tmp_path, monkeypatch, capfd):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'cut.mp4').write_bytes(b'nothing')
    (tmp_path / 'file').write_text('')
    for args, told in [
        (['nowhere.jpg'], 'nowhere.jpg does not exist: give an image'),
        (['97'], 'the camera 97 is not there, or another program uses it'),
        (['20240101123456'], '20240101123456 does not exist, and no camera has such a number'),
        ([tmp_path / 'empty'], 'empty holds no image'),
        ([tmp_path / 'cut.mp4'], 'cut.mp4 cannot be opened by OpenCV'),
        ([image, '--draw', tmp_path / 'file/below'], '--draw .*file/below cannot be a folder'),
        ([image, '--json', tmp_path / 'empty'], '--json .*empty is a folder'),
        ([image, '--json', image], '--json .*street.png would replace what is read'),
        ([image, '--draw', tmp_path], '--draw .* would replace what is read'),
        ([image, '--draw', tmp_path / 'out.mp4'], 'is the name of a video'),
        ([tmp_path, '--draw', tmp_path / 'out.png'], 'is the name of one picture'),
    ]:
        with pytest.raises(InputError, match=told):
            main([str(model), *map(str, args)])
    assert 'VIDEOIO' not in capfd.readouterr().err  # OpenCV's own words on the camera
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with pytest.raises(InputError, match='pip install opencv-python-headless'):
        open_source('0')


BARE = """
import sys
ABSENT = sys.argv.pop(1).split()
class WithoutThem:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition('.')[0] in ABSENT else self.finder.find_spec(name, path, target)
    def find_distributions(self, context):
        find = getattr(self.finder, 'find_distributions', None)
        return () if find is None or context.name in ABSENT else find(context)
sys.meta_path[:] = map(WithoutThem, sys.meta_path)
"""


def without(absent, code, *args):
    """Run code where these packages are not."""
    return subprocess.run([sys.executable, '-c', BARE + code, absent, *map(str, args)], cwd=REPO, capture_output=True,
                          text=True, check=False)


RUN = """
import runpy
runpy.run_module('mmilmil.runtime', run_name='__main__', alter_sys=True)
"""
IMPORT = """
import importlib
for room in sys.argv[1:]:
    try:
        importlib.import_module(f'mmilmil.{room}')
    except ImportError as error:
        print(room, error, sep=': ')
"""


def test_runs_where_the_stack_is_not(model, image, tmp_path):
    def run(*args):
        return without('torch mmdet mmengine mmcv mmrazor cv2 matplotlib tqdm onnx scipy', RUN, *args)

    done = run(model, image, '--json', tmp_path / 'found.json', '--draw', tmp_path / 'drawn.jpg')
    assert done.returncode == 0 and 'street.png: 1 detection (cat 1)' in done.stdout, done.stderr
    assert json.loads((tmp_path / 'found.json').read_text())['images'][0]['file'] == 'street.png'
    assert Image.open(tmp_path / 'drawn.jpg').size == (90, 60)
    (tmp_path / 'drive.mp4').write_bytes(b'nothing')
    done = run(model, tmp_path / 'drive.mp4')
    assert done.returncode == 1 and done.stderr.startswith('error: videos and cameras need OpenCV'), done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize('absent', ['torch mmcv mmdet', 'mmdet'])
def test_runs_where_only_a_part_of_the_stack_is(model, image, absent):
    done = without(absent, RUN, model, image)
    assert done.returncode == 0 and 'street.png: 1 detection (cat 1)' in done.stdout, done.stderr


def test_who_trains_is_told_what_is_missing():
    rooms = ['registry', 'engine.cli', 'models', 'datasets', 'evaluation']
    done = without('mmdet', IMPORT, *rooms)
    told = 'mmilmil needs mmdet >=3.0.0,<4.0.0, which is not installed: install it with `pip install'
    assert [line.partition(' "')[0] for line in done.stdout.splitlines()] == [f'{room}: {told}' for room in rooms], done.stderr


def test_the_same_model_and_input_give_the_same_twice(model, image):
    """Threads or not."""
    first, second = Detector(model, threads=1)(image), Detector(model)(image)
    assert np.array_equal(first.boxes, second.boxes) and torch.equal(torch.tensor(first.scores), torch.tensor(second.scores))
