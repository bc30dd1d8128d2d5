"""Checks of sets: a sound one is counted by hand, and each kind of fault is planted and must be found, all of them at once."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from conftest import make_voc
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from PIL import Image
from tiny import OBJECTS, write_configs

from mmilmil import InputError
from mmilmil.data_tools.check import Findings, check_coco, check_config, check_voc
from mmilmil.datasets.image_loading import image_size
from mmilmil.registry import DATASETS

IMAGES = {
    'a': [('cat', 1, 1, 11, 21), ('dog', 11, 11, 41, 41), ('dog', 5, 5, 10, 10, 1)],
    'b': [('dog', 1, 1, 21, 11)],
    'c': [],
    'd': [('cat', 1, 1, 51, 51), ('cat', 3, 3, 13, 13)],
    'e': [('cat', 1, 1, 11, 21)],
}
SPLITS = {'train': ['a', 'b'], 'val': ['c', 'e'], 'trainval': ['a', 'b', 'c'], 'test': ['d']}


@pytest.fixture
def sound(voc_set):
    return voc_set(IMAGES, splits=SPLITS)


def row(report, title):
    """The cells of the first table row with this title."""
    line = next(line for line in report.text().splitlines() if line.startswith(f'| {title} '))
    return [cell.strip() for cell in line.strip('|').split('|')][1:]


def kinds(found):
    return {kind: list(texts) for kind, texts in found.items()}


def only_error(report, kind):
    assert list(report.findings.errors) == [kind]
    return list(report.findings.errors[kind])


def only_note(report, kind):
    assert not report.findings.errors and list(report.findings.notes) == [kind]
    return list(report.findings.notes[kind])


# VOC


def test_sound_folder_is_counted(sound):
    report = check_voc(sound)
    assert report.findings == Findings()
    assert row(report, 'train') == ['2', '0', '1 (50%)', '3', '1', '5 / 15 / 30', '5 / 15 / 30']
    assert row(report, 'trainval') == ['3', '1', '1 (33%)', '3', '1', '5 / 15 / 30', '5 / 15 / 30']
    assert row(report, 'val') == ['2', '1', '0 (0%)', '1', '0', '10 / 10 / 10', '20 / 20 / 20']
    assert row(report, 'boxes of') == ['test', 'train', 'trainval', 'val']
    assert row(report, 'cat') == ['2', '1', '1', '1']
    assert row(report, 'dog') == ['0', '2 + 1 ignored', '2 + 1 ignored', '0']
    assert report.text().endswith('0 errors, 0 notes')


def test_lists_of_single_classes_are_no_splits(sound):
    (sound / 'ImageSets/Main/cat_train.txt').write_text('a  1\nb -1\n')
    (sound / 'ImageSets/Main/half_train.txt').write_text('a\n')
    assert [part.label for part in check_voc(sound).parts] == ['half_train', 'test', 'train', 'trainval', 'val']


def test_chosen_splits(sound):
    report = check_voc(sound, ['test', 'val'])
    assert [part.label for part in report.parts] == ['test', 'val']
    unused = only_note(report, 'file that no checked list names')
    assert unused == [f'{sound}/{name}' for name in
                      ('Annotations/a.xml', 'Annotations/b.xml', 'JPEGImages/a.jpg', 'JPEGImages/b.jpg')]


def test_unused_files(sound):
    shutil.copy(sound / 'Annotations/a.xml', sound / 'Annotations/z.xml')
    shutil.copy(sound / 'JPEGImages/a.jpg', sound / 'JPEGImages/y.jpg')
    (sound / 'Annotations/readme.txt').touch()
    assert only_note(check_voc(sound), 'file that no checked list names') == \
        [f'{sound}/Annotations/z.xml', f'{sound}/JPEGImages/y.jpg']


def test_image_in_train_and_test(voc_set):
    root = voc_set(IMAGES, splits={'train': ['a', 'b', 'd'], 'trainval': list('abcd'), 'test': ['d', 'a', 'c']})
    errors = check_voc(root).findings.errors
    assert kinds(errors) == {
        'image both in test and in train': [f'{root}/JPEGImages/{name}.jpg' for name in 'ad'],
        'image both in test and in trainval': [f'{root}/JPEGImages/{name}.jpg' for name in 'acd'],
    }


def test_bad_lists(sound):
    (sound / 'ImageSets/Main/train.txt').write_text('a\nb\na\n\nb\na\n')
    (sound / 'ImageSets/Main/val.txt').write_text('\n')
    (sound / 'ImageSets/Main/test.txt').write_bytes('中'.encode('gbk'))
    lists = sound / 'ImageSets/Main'
    errors = kinds(check_voc(sound, ['train', 'val', 'test', 'nope']).findings.errors)
    starts = {kind: [re.split(r'[:(]', text)[0].rstrip() for text in texts] for kind, texts in errors.items()}
    assert starts == {
        'image listed more than once': [f"{lists}/train.txt lists 'a' 3 times", f"{lists}/train.txt lists 'b' 2 times"],
        'no image listed': [f'{lists}/val.txt lists no image'],
        'list that cannot be read': [f'{lists}/test.txt is not a text file in UTF-8', f'no file {lists}/nope.txt'],
    }


def test_folder_without_lists(tmp_path):
    with pytest.raises(InputError, match=f'no list of images in {tmp_path}/ImageSets/Main'):
        check_voc(tmp_path)


def test_missing_images_are_all_told(sound):
    for name in 'ad':
        (sound / f'JPEGImages/{name}.jpg').unlink()
    found = only_error(check_voc(sound), 'missing image')
    assert sorted(re.search(r"lists '(\w+)'", text)[1] for text in found) == ['a', 'd']


def test_no_folder_of_images(sound):
    shutil.rmtree(sound / 'JPEGImages')
    assert only_error(check_voc(sound), 'no folder of images') == \
        [f'no image folder {sound}/JPEGImages: check data_root and the name of the image folder']


def test_undecodable_image(sound):
    (sound / 'JPEGImages/b.jpg').write_bytes(b'not a picture')
    assert only_error(check_voc(sound), 'image that cannot be decoded')[0].startswith(f'{sound}/JPEGImages/b.jpg cannot')


def test_truncated_image_shows_when_decoded(sound):
    path = sound / 'JPEGImages/b.jpg'
    path.write_bytes(path.read_bytes()[:-200])
    assert not check_voc(sound).findings.errors
    assert only_error(check_voc(sound, decode=True), 'image that cannot be decoded')[0].startswith(f'{path} cannot')


def test_size_that_is_not_the_images(sound):
    cv2.imwrite(str(sound / 'JPEGImages/b.jpg'), np.zeros((60, 80, 3), np.uint8))
    assert only_error(check_voc(sound), 'size in the annotation is not that of the image') == \
        [f'{sound}/Annotations/b.xml: 64x64, the image 80x60']


def test_size_that_is_no_number_is_told_once(sound):
    path = sound / 'Annotations/b.xml'
    path.write_text(path.read_text().replace('<width>64<', '<width>x<'))
    assert len(only_error(check_voc(sound), 'annotation that cannot be read')) == 1


def test_no_size_is_no_fault(sound):
    path = sound / 'Annotations/b.xml'
    path.write_text(re.sub('<size>.*</size>', '', path.read_text()))
    assert check_voc(sound).findings == Findings()


def test_exif_orientation_counts_as_training_loads_it(sound):
    path = sound / 'JPEGImages/b.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (80, 60)).save(path, exif=exif)
    assert cv2.imread(str(path)).shape[:2] == (80, 60)  # turned
    xml = sound / 'Annotations/b.xml'
    as_stored = xml.read_text().replace('<width>64</width><height>64<', '<width>80</width><height>60<')
    xml.write_text(as_stored)
    report = check_voc(sound)
    assert only_error(report, 'size in the annotation is not that of the image') == [f'{xml}: 80x60, the image 60x80']
    xml.write_text(as_stored.replace('<width>80</width><height>60<', '<width>60</width><height>80<'))
    assert only_note(check_voc(sound), 'image turned or mirrored by its EXIF orientation when it is loaded') == [f'{path}: 6']


def test_broken_annotations_and_objects_are_all_told(sound):
    (sound / 'Annotations/a.xml').write_text('<annotation>')
    (sound / 'JPEGImages/a.jpg').write_bytes(b'')
    (sound / 'Annotations/b.xml').unlink()
    (sound / 'Annotations/d.xml').write_text(
        '<annotation><object/><object><name>cat</name></object><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>'
        '<xmax>x</xmax><ymax>9</ymax></bndbox></object></annotation>')
    errors = kinds(check_voc(sound).findings.errors)
    told = {'image that cannot be decoded': ('a.jpg', ),
            'annotation that cannot be read': ('a.xml is not valid XML', 'no annotation .*b.xml'),
            'object that cannot be read': ('has no <name>', 'no <bndbox>', "<xmax> is 'x'")}
    assert errors.keys() == told.keys()
    for kind, patterns in told.items():
        assert len(errors[kind]) == len(patterns)
        assert all(re.search(pattern, text) for pattern, text in zip(patterns, errors[kind]))


@pytest.mark.parametrize('box, level, kind', [
    ((60, 60, 50, 50), 'errors', 'box with its corners swapped'),
    ((70, 1, 90, 20), 'errors', 'box outside its image'),
    ((50, 1, 90, 20), 'notes', 'box outside its image in part: training clips it'),
    ((0, 1, 20, 20), 'notes', 'box outside its image in part: training clips it'),
    ((5, 5, 5, 20), 'notes', 'box without area: training leaves it out'),
    ((5, 5, 8, 20), 'notes', 'tiny box, below 4 px'),
])
def test_boxes(voc_set, box, level, kind):
    root = voc_set({'a': [('cat', 1, 1, 64, 64), ('cat', *box), ('cat', 5, 5, 9, 20)]})
    findings = check_voc(root, ['train']).findings
    found = getattr(findings, level)
    assert kinds(found) == {kind: [f"{root}/Annotations/a.xml: 'cat' {list(box)}"]}
    assert len(findings.errors) + len(findings.notes) == 1


def test_names_that_look_alike(voc_set):
    root = voc_set({'a': [('cat', 1, 1, 20, 20), ('Cat', 1, 1, 20, 20), ('cat ', 1, 1, 20, 20), ('cat', 9, 9, 30, 30)],
                    'b': [('big  dog', 1, 1, 20, 20), ('big dog', 1, 1, 20, 20), ('bigdog', 1, 1, 20, 20)]},
                   splits={'train': ['a', 'b'], 'train_too': ['b', 'a']})
    report = check_voc(root, ['train', 'train_too'])
    assert only_error(report, 'class names that differ by case or blanks only') == \
        ["'Cat' (1 boxes), 'cat' (3 boxes)", "'big  dog' (1 boxes), 'big dog' (1 boxes)"]
    assert kinds(report.findings.notes) == {
        'class name read as text without what is blank around it': [f"{root}/Annotations/a.xml: 'cat ' is read as 'cat'"]}


# COCO


def write_coco(folder, **changes):
    """Two images with three boxes, one of them crowd; ``changes`` replace whole lists."""
    content = {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 64, 'height': 64},
                   {'id': 2, 'file_name': 'b.jpg', 'width': 64, 'height': 64}],
        'annotations': [annotation(1, 1, 1, [0, 0, 10, 20]), annotation(2, 1, 2, [10, 10, 30, 30]),
                        annotation(3, 2, 2, [4, 4, 8, 8], iscrowd=1)],
        'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
    }
    (folder / 'images').mkdir(exist_ok=True)
    for name in ('a.jpg', 'b.jpg'):
        cv2.imwrite(str(folder / 'images' / name), np.zeros((64, 64, 3), np.uint8))
    (folder / 'set.json').write_text(json.dumps({**content, **changes}))
    return folder / 'set.json', folder / 'images'


def annotation(number, image, category, box, **more):
    return {'id': number, 'image_id': image, 'category_id': category, 'bbox': box, **more}


def test_sound_coco_file_is_counted(tmp_path):
    report = check_coco(*write_coco(tmp_path))
    assert report.findings == Findings()
    assert row(report, 'set') == ['2', '0', '1 (50%)', '2', '1', '8 / 10 / 30', '8 / 20 / 30']
    assert [row(report, name) for name in ('cat', 'dog')] == [['1'], ['1 + 1 ignored']]


@pytest.mark.parametrize('name', ['_background_', 'animals'])
def test_category_without_a_box(tmp_path, name):
    file, images = write_coco(tmp_path, categories=[{'id': key, 'name': one} for key, one in enumerate((name, 'cat', 'dog'))])
    report = check_coco(file, images)
    assert only_note(report, 'category without a box: no class to learn, where it stands for the background or a group') == \
        [f'{file}: {name!r}']
    assert row(report, name) == ['0']


def test_coco_boxes(tmp_path):
    boxes = [[60, 0, -20, 10], [70, 0, 10, 10], [60, 0, 10, 10], [0, 0, .5, 10], [0, 0, 3, 10], [0, 0, 10, 10], [0, 0, 1], 'x']
    more = [annotation(10 + index, 1, 1, box) for index, box in enumerate(boxes)]
    more[5]['area'] = 0
    more += [annotation(20, 1, 1, [0, 0, 9, 9], area='big'), annotation(21, 1, 7, [0, 0, 9, 9]),
             annotation(22, 9, 1, [0, 0, 9, 9])]
    findings = check_coco(*write_coco(tmp_path, annotations=more)).findings

    file = tmp_path / 'set.json'

    def numbers(found):
        """By kind the ids of the annotations, or the texts that name none."""
        ids = {text: re.search(r'(?:annotation |annotations.*\(id )(\d+)', text) for texts in found.values() for text in texts}
        return {kind: [int(ids[text][1]) if ids[text] else text for text in texts] for kind, texts in found.items()}

    assert numbers(findings.errors) == {
        'entry of annotations that cannot be read': [16, 17, 20, 21],
        'box with its corners swapped': [10],
        'box outside its image': [11],
    }
    assert numbers(findings.notes) == {
        'box outside its image in part: training clips it': [12],
        'box without area: training leaves it out': [13, 15],
        'tiny box, below 4 px': [14],
        'boxes of an image that is not listed': [f'{file}: image id 9, 1 boxes'],
    }


def test_coco_ids_and_names(tmp_path):
    file, images = write_coco(
        tmp_path,
        images=[{'id': 1, 'file_name': 'a.jpg', 'width': 64, 'height': 64},
                {'id': 1, 'file_name': 'b.jpg', 'width': 60, 'height': 64},
                {'id': 3, 'file_name': 'a.jpg', 'width': 64, 'height': 64},
                {'id': 4, 'file_name': 'c.jpg', 'width': 64, 'height': 64},
                {'id': 5, 'file_name': 'd.jpg', 'width': None, 'height': 64}],
        annotations=[annotation(1, 1, 1, [0, 0, 9, 9]), annotation(1, 1, 1, [0, 0, 9, 9])],
        categories=[{'id': 1, 'name': 'cat'}, {'id': 1, 'name': 'cow'}, {'id': 3, 'name': 'cow'}, {'id': 4, 'name': 'Cow'}])
    (images / 'z.jpg').touch()
    report = check_coco(file, images)
    starts = {kind: [text.split(':')[0] for text in texts] for kind, texts in report.findings.errors.items()}
    assert starts == {
        'entry of images that cannot be read': [f'{file}, images[4] (id 5)'],
        'id of images more than once': [f'{file} lists the id 1 of images 2 times'],
        'file_name of images more than once': [f"{file} lists the file_name 'a.jpg' of images 2 times"],
        'id of annotations more than once': [f'{file} lists the id 1 of annotations 2 times'],
        'id of categories more than once': [f'{file} lists the id 1 of categories 2 times'],
        'name of categories more than once': [f"{file} names 2 categories 'cow'"],
        'size in the annotation is not that of the image': [f'{file}, b.jpg'],
        'missing image': [f"{file} lists the image 'c.jpg', but {images} has no such file"],
        'class names that differ by case or blanks only': ["'Cow' (0 boxes), 'cow' (2 boxes)"],
    }
    assert list(report.findings.notes['file that no checked list names']) == [f'{images}/z.jpg']


@pytest.mark.parametrize('text, kind', [
    (None, 'file that cannot be read'),
    ('{', 'file that cannot be read'),
    ('[]', 'file that is no COCO file'),
    ('{"images": [], "annotations": [], "categories": []}', 'no image listed'),
])
def test_no_coco_file(tmp_path, text, kind):
    file, images = write_coco(tmp_path)
    file.unlink()
    if text is not None:
        file.write_text(text)
    errors = check_coco(file, images).findings.errors
    assert kind in errors and all(str(file) in found for texts in errors.values() for found in texts)


# What training would leave out, and images as it loads them

EMPTY = 'no box to train on or to measure by'


@pytest.mark.parametrize('boxes, reasons', [
    ([('cat', .1, .2, .3, .4), ('cat', .5, .5, .9, .9)], 'all 2 boxes are left out: 2 without area'),
    ([('cat', 1, 1, 9, 9, 1)], 'all 1 boxes are left out: 1 ignored (difficult or crowd)'),
    ([('cat', 70, 70, 99, 99), ('cat', 5, 5, 5, 9), ('cat', 9, 9, 1, 1)],
     'all 3 boxes are left out: 1 outside their image, 1 with corners swapped, 1 without area'),
    ([], 'there is no box at all'),
])
def test_no_usable_box_in_a_voc_folder(voc_set, boxes, reasons):
    root = voc_set({'a': boxes})
    findings = check_voc(root, ['train']).findings
    assert list(findings.errors[EMPTY]) == [f'train: {reasons} in {root}/ImageSets/Main/train.txt']
    normalised = [text for kind, texts in findings.notes.items() if 'normalised' in kind for text in texts]
    assert len(normalised) == 2 * (boxes[:1] == [('cat', .1, .2, .3, .4)])


@pytest.mark.parametrize('more, reasons', [
    (dict(bbox=[.1, .2, .3, .3]), '2 without area'),
    (dict(iscrowd=1), '2 ignored (difficult or crowd)'),
    (dict(ignore='1'), '2 ignored (difficult or crowd)'),
    (dict(area=0), '2 without area'),
])
def test_no_usable_box_in_a_coco_file(tmp_path, more, reasons):
    annotations = [{**annotation(index, 1, index, [4, 4, 9, 9]), **more} for index in (1, 2)]
    file, images = write_coco(tmp_path, annotations=annotations)
    findings = check_coco(file, images).findings
    assert list(findings.errors[EMPTY]) == [f'set: all 2 boxes are left out: {reasons} in {file}']
    assert any('normalised' in kind for kind in findings.notes) == ('bbox' in more)


def test_class_without_a_usable_box(voc_set):
    root = voc_set({'a': [('cat', 1, 1, 9, 9), ('dog', 1, 1, 9, 9, 1)], 'b': [('dog', 70, 70, 99, 99)]})
    assert list(check_voc(root, ['train']).findings.errors['class all of whose boxes are left out']) == \
        ["'dog' in train: all 2 boxes are left out: 1 ignored (difficult or crowd), 1 outside their image"]


def test_unused_files_below_subfolders(sound):
    for name in ('Annotations/more/z.xml', 'JPEGImages/more/even/y.PNG', 'JPEGImages/more/readme.txt'):
        (sound / name).parent.mkdir(parents=True, exist_ok=True)
        (sound / name).touch()
    assert only_note(check_voc(sound), 'file that no checked list names') == \
        [f'{sound}/Annotations/more/z.xml', f'{sound}/JPEGImages/more/even/y.PNG']


def save(path, array, **more):
    Image.fromarray(array).save(path, **more)


RNG = np.random.default_rng(0)
COLOR, FLOAT = RNG.integers(0, 255, (48, 64, 3), np.uint8), RNG.random((48, 64), np.float32)
TURNED = Image.Exif()
TURNED[0x0112] = 6
FILES = {  # by name, how it is written
    'plain.jpg': lambda path: save(path, COLOR),
    'cmyk.jpg': lambda path: Image.fromarray(COLOR).convert('CMYK').save(path),
    'turned.jpg': lambda path: save(path, COLOR, exif=TURNED),
    'turned.png': lambda path: save(path, COLOR, exif=TURNED),
    'turned.webp': lambda path: save(path, COLOR, exif=TURNED),
    'turned.tif': lambda path: save(path, COLOR, exif=TURNED),
    'depth16.png': lambda path: save(path, (FLOAT * 65535).astype(np.uint16)),
    'alpha.png': lambda path: save(path, np.dstack([COLOR, COLOR[..., 0]])),
    'palette.png': lambda path: Image.fromarray(COLOR).convert('P').save(path),
    'two_pages.tif': lambda path: save(path, COLOR, save_all=True, append_images=[Image.fromarray(COLOR[:9])]),
    'float.tif': lambda path: save(path, FLOAT),
    'moving.gif': lambda path: save(path, COLOR),
    'jpeg_by_name.png': lambda path: save(path, COLOR, format='jpeg'),
    'empty.jpg': lambda path: path.touch(),
    'text.jpg': lambda path: path.write_text('<html>404</html>'),
    'cut.png': lambda path: (save(path, COLOR), path.write_bytes(path.read_bytes()[:-3000])),
}
LOADING = [dict(type='LoadImageFromFile', **more) for more in (
    {}, dict(imdecode_backend='pillow'), dict(color_type='color_ignore_orientation'), dict(color_type='unchanged'),
    dict(to_float32=True), dict(ignore_empty=True))]


@pytest.mark.parametrize('loading', LOADING, ids=str)
@pytest.mark.parametrize('name', FILES)
def test_images_are_read_as_the_pipeline_loads_them(tmp_path, name, loading):
    """Whatever the file, check and training agree on whether it can be loaded, and on its size."""
    path = tmp_path / name
    FILES[name](path)
    image = {'id': 1, 'file_name': name, 'width': 64, 'height': 48}
    file, _ = write_coco(tmp_path, images=[image], annotations=[annotation(1, 1, 1, [4, 4, 9, 9])])
    dataset = dict(type='IncrementalCocoDataset', ann_file=str(file), data_prefix=dict(img=str(tmp_path)), pipeline=[loading],
                   metainfo=dict(classes=('cat', )))
    model = dict(data_preprocessor=dict(mean=[1, 2, 3]))
    try:
        loaded = DATASETS.build(dataset)[0]['img'].shape
    except Exception:
        loaded = None
    errors = check_config(Config(dict(model=model, train_dataloader=dict(dataset=dataset)))).findings.errors
    if loaded is None or len(loaded) != 3 or loaded[2] != 3:
        expected = ['image that cannot be decoded']
    else:
        expected = ['size in the annotation is not that of the image'] * (loaded[:2] != (48, 64))
    assert list(errors) == expected


def test_size_limits_are_those_of_the_loader(sound, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 64)  # Pillow's, which training does not ask
    assert check_voc(sound, decode=True).findings == Findings()
    assert check_voc(sound).findings == Findings()


def test_opencvs_size_limit(tmp_path, monkeypatch):
    """OpenCV reads its limit when it is imported; a header knows nothing of it, so that the loader is asked where it is set."""

    class Limited(LoadImageFromFile):

        def transform(self, results):
            raise cv2.error('size.width * size.height <= CV_IO_MAX_IMAGE_PIXELS')

    save(tmp_path / 'a.jpg', COLOR)
    assert image_size(Limited(), str(tmp_path / 'a.jpg'), None, whole=False) == (64, 48)
    monkeypatch.setenv('CV_IO_MAX_IMAGE_PIXELS', '100')
    with pytest.raises(InputError, match=r'a\.jpg cannot be decoded as training does it \(cv2, color\): .*MAX_IMAGE_PIXELS'):
        image_size(Limited(), str(tmp_path / 'a.jpg'), None, whole=False)


# A config


@pytest.fixture
def stage(tmp_path):
    """A second stage on a sound set: its config file, and the folder of the set."""
    objects = {**OBJECTS, 'five': [('ant', 5, 5, 30, 30)]}  # nothing new in it
    data = make_voc(tmp_path / 'data', objects, splits={'train': ['one', 'two', 'five'], 'test': ['three', 'four']})
    return write_configs(tmp_path, data)[1], data


def test_stage_is_told(stage):
    report = check_config(Config.fromfile(stage[0]))
    # val and test are one list here; that is for the user to judge.
    assert not report.findings.errors
    assert list(report.findings.notes) == ['image both in val and in test']
    train, anchors, val, test = report.stages
    assert train.startswith('train, training, newest group: 2 of 3 images kept')
    cells = {line.split()[1]: line.replace('|', ' ').split()[1:] for line in train.splitlines() if line.startswith('| ')}
    assert cells['ant'] == ['old', '2', '0', '0', '1'] and cells['bee'] == ['old', '2', '0', '0', '2']
    assert cells['cat'] == ['old', '0', '0', '0', '0']
    assert cells['dog'] == ['new', '1', '1', '0', '0'] and cells['emu'] == ['new', '1', '1', '0', '0']
    assert 'test, testing, all seen classes: 2 of 2 images kept' in test
    # 30 x 30 px of dog, 30 x 32 of emu, at 64 px as in the file; anchors of 16, 32, 64 and 128 px.
    assert anchors.startswith('train, how the anchors fit at 64x64 px')
    cells = {line.split()[1]: line.replace('|', ' ').split() for line in anchors.splitlines() if line.startswith('| ')}
    assert cells['dog'][1:3] == ['1', '0.0%'] and cells.keys() == {'class', 'dog', 'emu'}


def test_wrappers_and_other_datasets(stage):
    cfg = Config.fromfile(stage[0])
    leaf = cfg.train_dataloader.dataset
    both = dict(type='ConcatDataset', datasets=[leaf, leaf])
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=both)
    cfg.val_dataloader.dataset = dict(type='CocoDataset')
    cfg.test_dataloader.dataset.type = 'NoSuchDataset'
    report = check_config(cfg)
    assert [part.label for part in report.parts] == ['train[0]', 'train[1]']
    assert 'image both in train[0] and in train[1]' in report.findings.notes
    assert list(report.findings.notes['not checked']) == \
        ['val: CocoDataset is no IncrementalVOCDataset or IncrementalCocoDataset']
    assert only_error(report, 'stops the run') == ["test: there is no dataset type 'NoSuchDataset'"]


def test_config_without_a_set_to_check():
    with pytest.raises(InputError, match='no data loader of the config has'):
        check_config(Config(dict(train_dataloader=dict(dataset=dict(type='CocoDataset')), val_dataloader=None)))


def test_images_that_are_trained_on_and_validated_on(stage):
    cfg = Config.fromfile(stage[0])
    cfg.val_dataloader.dataset.ann_file = 'ImageSets/Main/train.txt'
    only_error(check_config(cfg), 'image both in train and in val')
    cfg.train_cfg.val_begin = 1000  # no validation runs, as in the configs of VOC
    assert not check_config(cfg).findings.errors and not check_config(cfg).findings.notes


def test_train_and_test_share_images(stage):
    cfg = Config.fromfile(stage[0])
    cfg.train_cfg.val_begin = 1000
    (stage[1] / 'ImageSets/Main/test.txt').write_text('one\nthree\n')
    report = check_config(cfg)
    assert only_error(report, 'image both in train and in test') == [str(stage[1] / 'JPEGImages/one.jpg')]


def test_what_the_run_would_say(stage):
    cfg = Config.fromfile(stage[0])
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo.classes = ('ant', 'bee', 'cat', 'dog', 'Emu')
    report = check_config(cfg)
    assert list(report.findings.errors) == ['stops the run', 'class names that differ by case or blanks only']
    assert "did you mean 'emu' by 'Emu'" in next(iter(report.findings.errors['stops the run']))
    cfg.train_dataloader.dataset.metainfo.split = (3, 1)
    assert any('sums to 4' in text for text in check_config(cfg).findings.errors['stops the run'])


def test_coco_stage(tmp_path):
    file, images = write_coco(tmp_path)
    dataset = dict(type='IncrementalCocoDataset', ann_file=str(file), data_prefix=dict(img=str(images)),
                   metainfo=dict(classes=('cat', 'dog'), split=(1, 1)))
    report = check_config(Config(dict(train_dataloader=dict(dataset=dataset))))
    assert report.findings == Findings()
    assert report.stages[0].startswith('train, training, newest group: 1 of 2 images kept')


# The tool


def test_long_lists_are_cut():
    findings = Findings()
    for index in range(12):
        findings.error('bad', f'thing {index}')
    findings.error('bad', 'thing 3')
    findings.note('odd', 'once')
    assert findings.text(shown=2).splitlines() == [
        'note: odd (1)', '  once', 'error: bad (12)', '  thing 0', '  thing 1', '  ... and 10 more', '12 errors, 1 note']


def test_tool_on_a_voc_folder(tool, sound):
    done = tool('check_dataset.py', '--voc', sound)
    assert done.status == 0 and '0 errors, 0 notes' in done.out
    (sound / 'JPEGImages/a.jpg').unlink()
    (sound / 'Annotations/d.xml').write_text('<annotation>')
    done = tool('check_dataset.py', '--voc', sound, '--split', 'train', 'test', '--show', '1')
    assert done.status == 1 and '2 errors, 4 notes' in done.out and '... and 3 more' in done.out
    assert 'error: missing image (1)' in done.out and 'error: annotation that cannot be read (1)' in done.out


def test_tool_on_a_coco_file(tool, tmp_path):
    file, images = write_coco(tmp_path)
    assert tool('check_dataset.py', '--coco', file, '--images', images).status == 0
    (images / 'a.jpg').write_bytes(b'')
    done = tool('check_dataset.py', '--coco', file, '--images', images, '--decode')
    assert done.status == 1 and 'image that cannot be decoded (1)' in done.out


def test_tool_on_a_config(tool, stage):
    done = tool('check_dataset.py', stage[0])
    assert done.status == 0 and 'train, training, newest group: 2 of 3 images kept' in done.out
    assert 'mmengine - INFO' not in done.out + done.err
    done = tool('check_dataset.py', stage[0], '--cfg-options', 'train_dataloader.dataset.ann_file=nope.txt')
    assert done.status == 1 and 'list that cannot be read' in done.out


@pytest.mark.parametrize('args, told', [
    ((), 'required'),
    (('--coco', 'x.json'), '--coco needs --images'),
    (('x.py', '--images', 'x'), '--images goes with --coco or --voc'),
    (('x.py', '--split', 'train'), '--split and --annotations go with --voc'),
    (('--coco', 'x.json', '--images', 'x', '--annotations', 'y'), '--split and --annotations go with --voc'),
    (('--voc', 'x', '--show', '-1'), '--show'),
])
def test_tool_usage(tool, args, told):
    done = tool('check_dataset.py', *args)
    assert done.status == 2 and told in done.err


def test_tool_on_nothing(tool, tmp_path):
    for args in ((tmp_path / 'nope.py', ), ('--voc', tmp_path)):
        done = tool('check_dataset.py', *args)
        assert done.status == 1 and done.err.startswith('error: ') and 'Traceback' not in done.err


def test_real_set(real_data):
    report = check_voc(real_data('DeepPCB-320'))
    assert report.findings == Findings()
    assert {part.label: len(part.images) for part in report.parts} == \
        {'train': 1036, 'val': 253, 'trainval': 1289, 'test': 630}
