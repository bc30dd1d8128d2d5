"""Formats of one's own data, each in the layout that the program which writes it gives it, from the files to the boxes."""

import json
import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmilmil.data_tools.drawing import Draw
from mmilmil.data_tools.finding import find_data, find_test
from mmilmil.errors import InputError
from mmilmil.registry import DATASETS

WIDTH, HEIGHT = 64, 32
NAMES = ('ant', 'bee')
STEMS = tuple(f'img{number}' for number in range(10))
SPLITS = dict(train=STEMS[:6], val=STEMS[6:8], test=STEMS[8:])
# In pixels, x1 y1 x2 y2; no two images have the same.
BOXES = {stem: [('ant', (number, 2, number + 20, 12)), ('bee', (10, number, 30, number + 8))]
         for number, stem in enumerate(STEMS)}
SPLIT_COMMAND = 'python split_dataset.py {}'.format
COCO_NAMES = [dict(id=label + 1, name=name) for label, name in enumerate(NAMES)]


def image(path: Path, size=(WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))


def write(path: Path, text: str | dict | list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def label_lines(stem: str) -> str:
    lines = []
    for name, (x1, y1, x2, y2) in BOXES[stem]:
        shares = (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT
        lines.append(' '.join([str(NAMES.index(name)), *(f'{share:.6f}' for share in shares)]))
    return '\n'.join(lines) + '\n'


def yolo(root: Path, stems, images: str, labels: str) -> list[str]:
    """Images and label files; the paths of the images below the folder."""
    for stem in stems:
        image(root / images / f'{stem}.jpg')
        write(root / labels / f'{stem}.txt', label_lines(stem))
    return [f'{images}/{stem}.jpg' for stem in stems]


def voc_xml(stem: str) -> str:
    objects = ''.join(f'<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2 + 1}</xmax>'
                      f'<ymax>{y2 + 1}</ymax></bndbox></object>' for name, (x1, y1, x2, y2) in BOXES[stem])
    return (f'<annotation><folder>x</folder><filename>{stem}.jpg</filename><path>C:\\x\\{stem}.jpg</path><size><width>{WIDTH}'
            f'</width><height>{HEIGHT}</height><depth>3</depth></size>{objects}</annotation>')


def voc(root: Path, stems, images: str, annotations: str) -> None:
    for stem in stems:
        image(root / images / f'{stem}.jpg')
        write(root / annotations / f'{stem}.xml', voc_xml(stem))


def coco(stems, file_name='{}.jpg'.format) -> dict:
    annotations = [dict(image_id=number, category_id=NAMES.index(name) + 1, bbox=[x1, y1, x2 - x1, y2 - y1])
                   for number, stem in enumerate(stems) for name, (x1, y1, x2, y2) in BOXES[stem]]
    return dict(images=[dict(id=number, file_name=file_name(stem), width=WIDTH, height=HEIGHT)
                        for number, stem in enumerate(stems)],
                annotations=[dict(one, id=number) for number, one in enumerate(annotations)], categories=COCO_NAMES)


def cvat(stems, attributes='', subset_of=lambda stem: '') -> str:
    labels = ''.join(f'<label><name>{name}</name><color>#fa3253</color><type>any</type></label>' for name in NAMES)
    nodes = []
    for number, stem in enumerate(stems):
        shapes = ''.join(f'<box label="{name}" source="manual" occluded="0" xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" '
                         f'ybr="{y2:.2f}" z_order="0"></box>' for name, (x1, y1, x2, y2) in BOXES[stem])
        nodes.append(f'<image id="{number}" name="{stem}.jpg" {subset_of(stem)} width="{WIDTH}" height="{HEIGHT}">{shapes}'
                     '</image>')
    return (f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><labels>{labels}</labels>'
            f'</task></meta>{"".join(nodes)}</annotations>')


def images(root: Path, stems, folder: str) -> None:
    for stem in stems:
        image(root / folder / f'{stem}.jpg')


# A builder for each layout. It gives the path to name, and whether the layout has splits.


def ultralytics(root):
    """Ultralytics' own layout, `coco8.yaml`."""
    for split, stems in SPLITS.items():
        yolo(root, stems, f'images/{split}', f'labels/{split}')
    write(root / 'coco8.yaml', 'path: .\ntrain: images/train\nval: images/val\ntest: images/test\n\n'
          'names:\n  0: ant\n  1: bee\n\ndownload: https://ultralytics.com/assets/coco8.zip\n')
    return root / 'coco8.yaml', True


def ultralytics_lists(root):
    """A list of folders, and a text file with paths that begin with ./ ."""
    yolo(root, STEMS[:3], 'images/a', 'labels/a')
    yolo(root, STEMS[3:6], 'images/b', 'labels/b')
    lines = yolo(root, STEMS[6:], 'images/c', 'labels/c')
    write(root / 'val.txt', '\n'.join(f'./{line}' for line in lines[:2]))
    write(root / 'test.txt', '\r\n'.join(str(root / line) for line in lines[2:]))
    write(root / 'data.yaml', 'train: [images/a, images/b]\nval: val.txt\ntest: test.txt\nnc: 2\nnames: [ant, bee]\n')
    return root, True


def roboflow_yolo(root):
    for split, stems in SPLITS.items():
        folder = 'valid' if split == 'val' else split
        yolo(root, stems, f'{folder}/images', f'{folder}/labels')
    write(root / 'data.yaml', "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['ant', "
          "'bee']\n\nroboflow:\n  workspace: x\n  project: y\n  version: 1\n")
    write(root / 'README.roboflow.txt', 'exported')
    return root, True


def roboflow_darknet(root):
    """Images, labels and the names in each split's folder."""
    for split, stems in SPLITS.items():
        folder = 'valid' if split == 'val' else split
        yolo(root, stems, folder, folder)
        write(root / folder / '_darknet.labels', 'ant\nbee\n')
    return root, True


def roboflow_coco(root):
    for split, stems in SPLITS.items():
        folder = 'valid' if split == 'val' else split
        images(root, stems, folder)
        write(root / folder / '_annotations.coco.json', coco(stems))
    return root, True


def cvat_ultralytics(root):
    """Ultralytics YOLO Detection 1.0."""
    lines = yolo(root, STEMS, 'images/train', 'labels/train')
    write(root / 'train.txt', '\n'.join(lines))
    write(root / 'data.yaml', 'names:\n  0: ant\n  1: bee\npath: .\ntrain: train.txt\n')
    return root, False


def cvat_ultralytics_subsets(root):
    for split, subset in dict(train='Train', val='Validation', test='Test').items():
        write(root / f'{subset}.txt', '\n'.join(yolo(root, SPLITS[split], f'images/{subset}', f'labels/{subset}')))
    write(root / 'data.yaml', 'Test: Test.txt\nTrain: Train.txt\nValidation: Validation.txt\nnames:\n  0: ant\n  1: bee\n'
          'path: .\n')
    return root, True


def cvat_yolo(root):
    """YOLO 1.1; the paths have data/ in front."""
    lines = yolo(root, STEMS, 'obj_train_data', 'obj_train_data')
    write(root / 'train.txt', '\n'.join(f'data/{line}' for line in lines))
    write(root / 'obj.names', 'ant\nbee\n')
    write(root / 'obj.data', 'classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n')
    return root, False


def cvat_images(root):
    images(root, STEMS, 'images')
    write(root / 'annotations.xml', cvat(STEMS))
    return root, False


def cvat_images_file(root):
    cvat_images(root)
    return root / 'annotations.xml', False


def cvat_project(root):
    """Of a project: each image tells its subset, and lies in its folder."""
    subset_of = {stem: subset for split, subset in dict(train='Train', val='Validation', test='Test').items()
                 for stem in SPLITS[split]}
    for stem in STEMS:
        image(root / f'images/{subset_of[stem]}/{stem}.jpg')
    write(root / 'annotations.xml', cvat(STEMS, subset_of=lambda stem: f'subset="{subset_of[stem]}" task_id="1"'))
    return root, True


def cvat_coco(root):
    images(root, STEMS, 'images/default')
    write(root / 'annotations/instances_default.json', coco(STEMS))
    return root, False


def cvat_coco_subsets(root):
    for split, subset in dict(train='Train', val='Validation', test='Test').items():
        images(root, SPLITS[split], f'images/{subset}')
        write(root / f'annotations/instances_{subset}.json', coco(SPLITS[split]))
    return root, True


def cvat_voc(root):
    voc(root, STEMS, 'JPEGImages', 'Annotations')
    write(root / 'ImageSets/Main/default.txt', '\n'.join(STEMS))
    write(root / 'labelmap.txt', '# label:color_rgb:parts:actions\nant:250,50,83::\nbee:1,2,3::\n')
    return root, False


def cvat_voc_subsets(root):
    voc(root, STEMS, 'JPEGImages', 'Annotations')
    for split, subset in dict(train='Train', val='Validation', test='Test').items():
        write(root / f'ImageSets/Main/{subset}.txt', '\n'.join(SPLITS[split]))
    return root, True


def labelimg_voc(root):
    voc(root, STEMS, '.', '.')
    return root, False


def labelimg_voc_folder(root):
    """labelImg's `Change Save Dir` set to a folder beside that of the images."""
    voc(root, STEMS, 'images', 'Annotations')
    return root, False


def labelimg_yolo(root):
    yolo(root, STEMS, '.', '.')
    write(root / 'classes.txt', 'ant\nbee\n')
    return root, False


def labelimg_yolo_folder(root):
    yolo(root, STEMS, 'images', 'labels')
    write(root / 'labels/classes.txt', 'ant\nbee\n')
    return root, False


def label_studio_coco(root):
    images(root, (f'1a2b3c4d-{stem}' for stem in STEMS), 'images')
    write(root / 'result.json', coco(STEMS, 'images/1a2b3c4d-{}.jpg'.format))
    return root, False


def label_studio_coco_windows(root):
    images(root, (f'1a2b3c4d-{stem}' for stem in STEMS), 'images')
    write(root / 'result.json', coco(STEMS, 'images\\1a2b3c4d-{}.jpg'.format))
    return root, False


def label_studio_coco_without_images(root):
    """Exported without images, and the images that were once uploaded beside it."""
    images(root, STEMS, 'my photos/2020')
    write(root / 'result.json', coco(STEMS, '/data/upload/1/1a2b3c4d-{}.jpg'.format))
    return root, False


def label_studio_yolo(root):
    yolo(root, STEMS, 'images', 'labels')
    write(root / 'classes.txt', 'ant\nbee')
    write(root / 'notes.json', dict(categories=[dict(id=0, name='ant'), dict(id=1, name='bee')], info=dict(version='1.0')))
    return root, False


def label_studio_voc(root):
    voc(root, STEMS, 'images', 'Annotations')
    return root, False


def fiftyone_coco(root):
    images(root, STEMS, 'data')
    write(root / 'labels.json', coco(STEMS))
    return root, False


def fiftyone_coco_splits(root):
    for split, stems in SPLITS.items():
        images(root, stems, f'{split}/data')
        write(root / split / 'labels.json', coco(stems))
    return root, True


def fiftyone_voc(root):
    voc(root, STEMS, 'data', 'labels')
    return root, False


def fiftyone_yolo(root):
    for split, stems in SPLITS.items():
        yolo(root, stems, f'images/{split}', f'labels/{split}')
    write(root / 'dataset.yaml', f'names:\n  0: ant\n  1: bee\npath: {root}\ntest: ./images/test/\ntrain: ./images/train/\n'
          'val: ./images/val/\n')
    return root, True


def fiftyone_yolo4(root):
    yolo(root, STEMS, 'data', 'data')
    write(root / 'obj.names', 'ant\nbee\n')
    write(root / 'images.txt', '\n'.join(f'data/{stem}.jpg' for stem in STEMS))
    return root, False


def fiftyone_cvat(root):
    images(root, STEMS, 'data')
    write(root / 'labels.xml', cvat(STEMS))
    return root, False


def scattered_voc(root):
    """XML files in one folder, images in others."""
    voc(root, STEMS, 'x', 'Annotations')
    for number, stem in enumerate(STEMS):
        target = root / f'images/{number % 3}/deep/{stem}.jpg'
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / f'x/{stem}.jpg').rename(target)
    return root, False


def scattered_coco(root):
    for number, stem in enumerate(STEMS):
        image(root / f'pictures/{number % 3}/deep/{stem}.jpg')
    write(root / 'annotations/all.json', coco(STEMS))
    return root, False


def coco_own(root):
    for split, stems in SPLITS.items():
        images(root, stems, f'{split}2017')
        write(root / f'annotations/instances_{split}2017.json', coco(stems))
    return root, True


LAYOUTS = [
    ultralytics, ultralytics_lists, roboflow_yolo, roboflow_darknet, roboflow_coco, cvat_ultralytics, cvat_ultralytics_subsets,
    cvat_yolo, cvat_images, cvat_images_file, cvat_project, cvat_coco, cvat_coco_subsets, cvat_voc, cvat_voc_subsets,
    labelimg_voc, labelimg_voc_folder, labelimg_yolo, labelimg_yolo_folder, label_studio_coco, label_studio_coco_windows,
    label_studio_coco_without_images, label_studio_yolo, label_studio_voc, fiftyone_coco, fiftyone_coco_splits, fiftyone_voc,
    fiftyone_yolo, fiftyone_yolo4, fiftyone_cvat, scattered_voc, scattered_coco, coco_own,
]


def boxes(kind: str, settings: dict) -> dict:
    """What the dataset gives, by the image's name without what Label Studio puts in front."""
    metainfo = dict(classes=NAMES, split=(len(NAMES), ))
    dataset = DATASETS.build(dict(type=kind, **settings, metainfo=metainfo, pipeline=[], test_mode=True,
                                  serialize_data=False))  # which collects garbage each time
    read = {}
    for one in dataset:
        assert os.path.isfile(one['img_path']) and (one['width'], one['height']) == (WIDTH, HEIGHT)
        read[Path(one['img_path']).stem.rpartition('-')[2]] = sorted(
            (NAMES[instance['bbox_label']], tuple(instance['bbox'])) for instance in one['instances'])
    return read


def read(data) -> dict[str, dict]:
    return {split: boxes(data.kind, dict(settings, data_root=str(data.root))) for split, settings in data.settings.items()}


def same(found: dict, stems) -> None:
    assert sorted(found) == sorted(stems)
    for stem, objects in found.items():
        assert [name for name, _ in objects] == ['ant', 'bee']
        assert [box for _, box in objects] == [pytest.approx(box, abs=1e-3) for _, box in BOXES[stem]]


@pytest.mark.parametrize('layout', LAYOUTS, ids=lambda layout: layout.__name__)
def test_from_an_export_to_boxes(tmp_path, layout):
    """As the program writes it: found without an option; where there are no splits, drawn when asked for."""
    path, has_splits = layout(tmp_path / 'data')
    find = partial(find_data, path, split_command=SPLIT_COMMAND)
    if has_splits:
        found = read(find())
        for split, stems in SPLITS.items():
            same(found[split], stems)
    else:
        with pytest.raises(InputError, match='python split_dataset.py .* --shares 0.7 0.1 0.2 to have it drawn at once'):
            find()
        found = read(find(draw=Draw(seed=1)))
        assert [len(part) for part in found.values()] == [7, 1, 2]
        same({**found['train'], **found['val'], **found['test']}, STEMS)
    # Read again it is the same, and nothing is written anew.
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / 'data').rglob('*')}
    again = find(draw=Draw(seed=1))
    assert read(again) == found and again.found == NAMES
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / 'data').rglob('*')}


# YOLO


@pytest.fixture
def data_yaml(tmp_path):
    """Three splits in Ultralytics' layout."""
    return ultralytics(tmp_path / 'data')[0]


def change(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


find = partial(find_data, split_command=SPLIT_COMMAND)


@pytest.mark.parametrize(('old', 'new', 'told'), [
    ('  1: bee', '', 'img0.txt, line 2: label 1, but .*coco8.yaml names 1 classes, 0 to 0: add the name there, or correct'),
    ('  1: bee', '  2: bee', 'the ids in names are 0, 2; number the classes from 0 without a gap'),
    ('  1: bee', '  1: ant', "names has 'ant' twice"),
    ('  1: bee', '  1: yes', 'names: the class name is True, not a text; write it in quotes'),
    ('names:\n  0: ant\n  1: bee', 'names: classes.txt', "names is 'classes.txt'; give the class names"),
    ('names:', 'nc: 3\nnames:', r'nc is 3, but names has 2 \(ant, bee\): correct one of the two'),
    ('names:', 'names: [', 'is not valid YAML'),
    ('path: .', 'path: /content/nowhere', 'path: /content/nowhere is no folder .looked for /content/nowhere.: correct it'),
    ('path: .', 'path: datasets/x', 'is no folder .looked for .*/data/datasets/x, datasets/x.: correct'),
    ('train: images/train', 'train: images/gone', 'names train: images/gone, which is not in .*data: correct it, or path'),
    ('test: images/test', 'test: images/gone', 'no annotation for test .*names test: images/gone, which is not in'),
    ('train: images/train', 'train: 5', 'train is 5; give a folder of images, a list of folders or a .txt'),
    ('train: images/train', 'train: labels/train', 'names train: labels/train, where no image lies'),
    ('train: images/train', '', 'has no file for train, only'),
    ('path: .', 'path: [1]', r'path is \[1\]; give a folder'),
    ('names:', 'kpt_shape: 3\nnames:', 'kpt_shape is 3; give two numbers, or leave it out'),
])
def test_a_data_yaml_that_is_wrong(data_yaml, old, new, told):
    with pytest.raises(InputError, match=told):
        find(change(data_yaml, old, new))


@pytest.mark.parametrize(('line', 'told'), [
    ('7 0.5 0.5 0.2 0.2', 'label 7, but .* names 2 classes, 0 to 1'),
    ('-1 0.5 0.5 0.2 0.2', 'label -1, but'),
    ('0.5 0.5 0.5 0.2 0.2', 'label 0.5, but'),
    ('ant 0.5 0.5 0.2 0.2', "'ant' is not a number"),
    ('0 0.5 0.5 nan 0.2', "'nan' is not a number"),
    ('0 0.5 0.5 0.2', '3 numbers behind the label; give four'),
    ('0 0.5 0.5 0.2 0.2 0.9', r'5 numbers behind the label \(predictions with a confidence\?\)'),
    ('0 0.1 0.1 0.5 0.1 0.5 0.5 0.1', '7 numbers behind the label'),
    ('0 32 16 10 10', '32 is no share of the image between 0 and 1 but looks like pixels: divide by its width or height'),
    ('0 0.5 -0.5 0.1 0.1', '-0.5 is no share of the image between 0 and 1; correct'),
    ('0 0.5 0.5 -0.005 0.1', 'the width or height -0.005 is negative'),
])
def test_a_label_that_is_wrong(data_yaml, line, told):
    """The file and the line are named; nothing is written."""
    file = data_yaml.parent / 'labels/val/img6.txt'
    file.write_text(f'{label_lines("img6")}\n{line}\n')
    with pytest.raises(InputError, match=f'{file}, line 4: {told}'):
        find(data_yaml)
    assert not (data_yaml.parent / 'coco').exists()


def test_what_lines_may_hold(data_yaml):
    """An outline is kept, with the box around it; key points are left out; numbers may be 1.0 and 5e-1."""
    change(data_yaml, 'names:', 'kpt_shape: [2, 3]\nnames:')
    write(data_yaml.parent / 'labels/val/img6.txt', '1.0 5e-1 0.5 0.25 0.5\n0 0.25 0.25 0.75 0.25 0.5 1.0\n'
          '1 0.5 0.5 0.25 0.5 0.1 0.1 2 0.2 0.2 0\n')
    found = read(find(data_yaml))['val']['img6']
    assert found == [('ant', (16, 8, 48, 32)), ('bee', (24, 8, 40, 24)), ('bee', (24, 8, 40, 24))]
    content = json.loads((data_yaml.parent / 'coco/val.json').read_text())
    assert [one['segmentation'] for one in content['annotations'][:3]] == [[], [[16, 8, 48, 8, 32, 32]], []]


def test_images_without_an_object(data_yaml):
    """Without a label file they are told; an empty one is an image without an object, as meant."""
    (data_yaml.parent / 'labels/train/img1.txt').unlink()
    write(data_yaml.parent / 'labels/train/img2.txt', '')
    data = find(data_yaml)
    told = 'train: 1 images without a label file, taken as images without an object'
    assert f'{told}: {data_yaml.parent}/images/train/img1.jpg' in data.notes(NAMES)
    assert len(data.splits['train'].images) == 6 and data.splits['train'].boxes.total() == 8
    for file in (data_yaml.parent / 'labels/test').iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r'none of the 2 images of test has a label file \(looked for .*/labels/test/img8.txt '
                       r'and .*/images/test/img8.txt\): put the label files there'):
        find(data_yaml)


def test_shares_are_of_the_image_as_it_is_turned(data_yaml):
    """An image that EXIF turns is as high as its file is wide, for whoever drew the boxes and for training."""
    path = data_yaml.parent / 'images/val/img6.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (WIDTH, HEIGHT)).save(path, exif=exif)
    write(data_yaml.parent / 'labels/val/img6.txt', '0 0.5 0.5 0.5 0.25')
    assert any('EXIF orientation' in line for line in find(data_yaml).notes(NAMES))
    content = json.loads((data_yaml.parent / 'coco/val.json').read_text())
    assert (content['images'][0]['width'], content['images'][0]['height']) == (HEIGHT, WIDTH)
    assert content['annotations'][0]['bbox'] == [8, 24, 16, 16]


def test_ultralytics_datasets_dir(tmp_path, monkeypatch):
    """`path` is below the folder that Ultralytics' settings name, where it is nowhere else; the place is told."""
    ultralytics(tmp_path / 'sets/mine')
    file = change(tmp_path / 'sets/mine/coco8.yaml', 'path: .', 'path: mine').rename(tmp_path / 'coco8.yaml')
    monkeypatch.setenv('YOLO_CONFIG_DIR', str(tmp_path / 'config'))
    with pytest.raises(InputError, match='path: mine is no folder'):
        find(file)
    write(tmp_path / 'config/Ultralytics/settings.json', dict(datasets_dir=str(tmp_path / 'sets')))
    data = find(file)
    assert f'path of {file}: found as {tmp_path}/sets/mine' in data.told
    assert data.root == tmp_path / 'sets/mine'


def test_a_test_set_that_an_export_names_but_lacks(data_yaml):
    """It is drawn where that is asked for, and told."""
    change(data_yaml, 'test: images/test', 'test: ../test/images')
    data = find(data_yaml, draw=Draw(seed=1))
    assert f'{data_yaml} names test: ../test/images, which is not in {data_yaml.parent}' in data.told
    found = read(data)
    assert len(found['train']) == 5 and len(found['test']) == 1
    same({**found['train'], **found['test']}, SPLITS['train'])
    same(found['val'], SPLITS['val'])


def test_a_list_that_names_what_is_not_there(tmp_path):
    root, _ = ultralytics_lists(tmp_path / 'data')
    change(root / 'val.txt', 'img7.jpg', 'gone.jpg')
    with pytest.raises(InputError, match='val.txt, line 2: no image ./images/c/gone.jpg .looked for .*: correct the line'):
        find(root)
    change(root / 'val.txt', 'gone.jpg', 'img6.jpg')
    with pytest.raises(InputError, match='lists the image .*img6.jpg more than once in one split'):
        find(root)


def test_classes_without_a_box_keep_their_order(data_yaml):
    """Ids are those of data.yaml; a name without a box is a category, as in any COCO file."""
    change(data_yaml, '  0: ant\n  1: bee', '  0: ant\n  1: bee\n  2: wasp')
    data = find(data_yaml)
    assert data.found == NAMES and data.splits['train'].categories == ('ant', 'bee', 'wasp')
    assert "left out, a category without a box in any of the files: 'wasp'" in '\n'.join(data.notes(NAMES))


def test_options_that_do_not_fit(data_yaml):
    with pytest.raises(InputError, match='--images x: .*coco8.yaml says itself where its images lie'):
        find(data_yaml, images='x')
    with pytest.raises(InputError, match='--annotations is for a folder with XML files'):
        find(data_yaml, annotations='x')
    write(data_yaml.parent / 'other.yaml', 'train: images/train\nnames: [ant, bee]\n')
    with pytest.raises(InputError, match='has 2 files that describe a YOLO data set .coco8.yaml, other.yaml.: give one'):
        find(data_yaml.parent)


# What is converted


def test_converted_files_follow_the_labels(tmp_path):
    """Labels that change are converted again, into the parts that were drawn too, which keep their images."""
    root, _ = label_studio_yolo(tmp_path / 'data')
    first = read(find(root, draw=Draw(seed=1)))
    stem = next(iter(first['val']))
    write(root / f'labels/{stem}.txt', '0 0.5 0.5 0.5 0.5\n')
    data = find(root)
    found = read(data)
    assert found['val'][stem] == [('ant', (16, 8, 48, 24))] and found['train'] == first['train']
    assert f'converted to COCO from {root}/classes.txt: {root}/coco/all_val.json' in data.told
    (root / f'images/{stem}.jpg').unlink()
    with pytest.raises(InputError, match='all_val.json has no image of the file that it was drawn from: remove it'):
        find(root)


def test_files_of_ones_own_stay(data_yaml, tmp_path):
    mine = write(data_yaml.parent / 'coco/val.json', coco(STEMS))
    before = mine.read_text()
    with pytest.raises(InputError, match='coco/val.json is there and was not converted from .*coco8.yaml: give --converted'):
        find(data_yaml)
    assert mine.read_text() == before and not (data_yaml.parent / 'coco/train.json').exists()
    data = find(data_yaml, converted=str(data_yaml.parent.parent / 'made/here'))
    assert data.root == data_yaml.parent.parent and data.settings['val']['ann_file'] == 'made/here/val.json'
    same(read(data)['test'], SPLITS['test'])
    other, _ = ultralytics(tmp_path / 'other')
    with pytest.raises(InputError, match='made/here/train.json is there and was not converted from .*other/coco8.yaml'):
        find(other, converted=str(tmp_path / 'made/here'))


@pytest.mark.skipif(os.geteuid() == 0, reason='root writes anywhere')
def test_a_folder_that_cannot_be_written(data_yaml):
    data_yaml.parent.chmod(0o555)
    with pytest.raises(InputError, match='cannot be written: give --converted FOLDER, another one'):
        find(data_yaml)
    data_yaml.parent.chmod(0o755)


def test_one_set_to_test_on(data_yaml, tmp_path):
    found = find_test(data_yaml)
    same(boxes(found.kind, found.settings), SPLITS['test'])
    change(data_yaml, 'test: images/test', '')
    found = find_test(data_yaml.parent)
    same(boxes(found.kind, found.settings), SPLITS['val'])
    change(data_yaml, 'val: images/val', '')
    with pytest.raises(InputError, match='--old-test .* has neither test nor val, only .*train.json'):
        find_test(data_yaml)
    path, _ = fiftyone_cvat(tmp_path / 'whole')
    found = find_test(path)
    same(boxes(found.kind, found.settings), STEMS)
    assert any('converted to COCO from' in line for line in found.data.notes)


# CVAT


@pytest.mark.parametrize(('old', 'new', 'told'), [
    ('xtl="0.00"', 'xtl="x"', "image 'img0.jpg', <box>: xtl is 'x', not a number"),
    ('xtl="0.00"', 'xtl="60"', 'has its corners swapped'),
    ('label="ant" source', 'label=" " source', "image 'img0.jpg', <box>: the class name is empty"),
    ('name="img3.jpg"', 'name="gone.jpg"', "lacks 1 of the images that .*, the first is 'gone.jpg': export it with its images"),
    (' width="64"', ' width="-64"', '-64x32 is no size in pixels'),
    ('<meta>', '<track id="0" label="ant"/><meta>', 'is of the format "CVAT for video" .*: export "CVAT for images 1.1"'),
    ('</annotations>', '', 'annotations.xml is not valid XML'),
])
def test_a_cvat_file_that_is_wrong(tmp_path, old, new, told):
    root, _ = cvat_images(tmp_path / 'data')
    change(root / 'annotations.xml', old, new)
    with pytest.raises(InputError, match=told):
        find(root)


def test_shapes_of_cvat(tmp_path):
    """Boxes around outlines, masks, ellipses and turned boxes; what has no box is counted."""
    root, _ = cvat_images(tmp_path / 'data')
    change(root / 'annotations.xml', '</box></image>', '</box><polygon label="bee" points="4,4;8,4;8,10"/>'
           '<mask label="bee" rle="0, 4" left="2" top="3" width="5" height="6"/>'
           '<ellipse label="bee" cx="20" cy="10" rx="4" ry="2"/>'
           '<box label="bee" xtl="10" ytl="10" xbr="20" ybr="14" rotation="90"/><points label="bee" points="1,1"/></image>')
    data = find(root, draw=Draw(seed=1))
    content = json.loads((root / 'coco/annotations.json').read_text())
    assert [one['bbox'] for one in content['annotations'][2:6]] == [
        [4, 4, 4, 6], [2, 3, 5, 6], [16, 8, 8, 4], pytest.approx([13, 7, 4, 10])]
    assert content['annotations'][2]['segmentation'] == [[4, 4, 8, 4, 8, 10]]
    told = '\n'.join(data.told)
    assert 'left out, as it is no object with a box: 1 <points>' in told and 'the box around is taken of 1 <mask>' in told


# Images anywhere


def test_images_that_may_be_several(tmp_path):
    """The folders before the name tell them apart, or both are named."""
    root = tmp_path / 'data'
    for stem in STEMS:
        image(root / f'pictures/day/{stem}.jpg')
        image(root / f'pictures/night/{stem}.jpg')
    write(root / 'all.json', coco(STEMS, 'old\\night\\{}.jpg'.format))
    data = find(root, draw=Draw(seed=1))
    assert f'{root}/pictures/night/img0.jpg' in set().union(*(part.images for part in data.splits.values()))
    write(root / 'other.json', coco(STEMS, 'old\\{}.jpg'.format))
    with pytest.raises(InputError, match=r'other.json names the image .*img0.jpg., which may be .*/pictures/day/img0.jpg or '
                       r'.*/pictures/night/img0.jpg: write its folder too'):
        find(root / 'other.json', draw=Draw(seed=1))
    assert not (root / 'other_train.json').exists()


def test_a_file_whose_images_lie_elsewhere_is_drawn_again(tmp_path):
    """With other shares, once the parts are removed; what stands in coco/ follows."""
    root, _ = label_studio_coco_windows(tmp_path / 'data')
    for seed in (1, 1, 2):
        data = find(root / 'result.json', draw=Draw(seed=seed))
        found = read(data)
        same({**found['train'], **found['val'], **found['test']}, STEMS)
        if seed == 1:
            first = found
    assert found == first and any('nothing is drawn' in line for line in data.told)
    for split in SPLITS:
        (root / f'result_{split}.json').unlink()
    assert read(find(root / 'result.json', draw=Draw(seed=2))) != first


def test_xml_files_that_may_mean_several_images(tmp_path):
    root, _ = scattered_voc(tmp_path / 'data')
    image(root / 'images/other/img4.jpg')
    with pytest.raises(InputError, match='img4.xml names the image .img4., which may be .*/images/1/deep/img4.jpg or '
                       '.*/images/other/img4.jpg'):
        find(root)


def test_lists_count_where_images_lie_elsewhere(tmp_path):
    root, _ = scattered_voc(tmp_path / 'data')
    for split, stems in SPLITS.items():
        write(root / f'ImageSets/Main/{split}.txt', '\n'.join(stems))
    data = find(root)
    assert 'images found by their file names alone, in other folders than their XML files: 10' in data.told
    for split, found in read(data).items():
        same(found, SPLITS[split])


# Lists of images


def test_lists_of_images_with_xml_files(tmp_path):
    """Paths or names, relative to the list or absolute; a file a split, or one from which all is drawn."""
    root = tmp_path / 'data'
    voc(root, STEMS, 'photos', 'xml')
    write(root / 'train.txt', '\n'.join(f'photos/{stem}.jpg' for stem in SPLITS['train']))
    write(root / 'val.txt', '\n'.join(f'./photos/{stem}' for stem in SPLITS['val']))
    write(root / 'test.txt', '\n'.join(str(root / f'photos/{stem}.jpg') for stem in SPLITS['test']))
    files = dict(val_ann=root / 'val.txt', test_ann=root / 'test.txt')
    with pytest.raises(InputError, match='no image that .*train.txt lists has an XML file or a label file .*--annotations'):
        find(root / 'train.txt', **files)
    data = find(root / 'train.txt', **files, annotations='xml')
    assert data.root == root and data.settings['val']['ann_file'] == 'coco/val.json'
    for split, found in read(data).items():
        same(found, SPLITS[split])
    write(root / 'all.txt', '\n'.join(STEMS))
    found = read(find(root / 'all.txt', images=str(root / 'photos'), annotations='xml', draw=Draw(seed=1)))
    same({**found['train'], **found['val'], **found['test']}, STEMS)
    (root / 'xml/img3.xml').unlink()
    with pytest.raises(InputError, match='train.txt lists 1 images without an XML file, the first is .*img3.jpg: add it'):
        find(root / 'train.txt', **files, annotations='xml')


def test_lists_of_images_with_label_files(tmp_path):
    root = tmp_path / 'data'
    lines = yolo(root, STEMS, 'images', 'labels')
    write(root / 'lists/all.txt', '\n'.join(f'../{line}' for line in lines))
    with pytest.raises(InputError, match='its images have label files, but no obj.names or classes.txt lies beside'):
        find(root / 'lists/all.txt')
    write(root / 'classes.txt', 'ant\nbee\n')
    found = read(find(root / 'lists/all.txt', draw=Draw(seed=1)))
    same({**found['train'], **found['val'], **found['test']}, STEMS)


def test_files_of_two_formats(tmp_path):
    """A file a split, each of its own format; what holds splits itself is none."""
    cvat_images(tmp_path / 'a')
    fiftyone_coco(tmp_path / 'b')
    path, _ = ultralytics(tmp_path / 'c')
    data = find(tmp_path / 'a/annotations.xml', val_ann=tmp_path / 'b/labels.json', test_ann=tmp_path / 'b/labels.json')
    same(read(data)['val'], STEMS)
    with pytest.raises(InputError, match='--val-ann .*coco8.yaml: give one file of annotations'):
        find(tmp_path / 'a/annotations.xml', val_ann=path)


# The tools


@pytest.mark.parametrize('layout', [ultralytics, label_studio_yolo, cvat_images, label_studio_coco_windows, fiftyone_voc])
def test_one_command_to_the_configs(tool, tmp_path, layout):
    """Also by split_dataset.py and a second command, which finds the same."""
    path, has_splits = layout(tmp_path / 'my data')
    new_split = ('new_split.py', '--ann', path, '--split', '1+1')
    if not has_splits:
        done = tool(*new_split, '--out', tmp_path / 'c')
        assert done.status == 1 and '--shares 0.7 0.1 0.2' in done.err and not (tmp_path / 'c').exists()
    done = tool(*new_split, '--shares', '0.6', '0.2', '0.2', '--seed', '3', '--out', tmp_path / 'c')
    assert done.status == 0, done.err
    assert (tmp_path / 'c/ilmil/frcnn_my_data_1+1.py').is_file()
    assert ('nothing is drawn' in done.out) == has_splits and ('drawn: ' in done.out) != has_splits
    if has_splits:
        return
    other, _ = layout(tmp_path / 'other/my data')
    drawn = tool('split_dataset.py', other, '--shares', '0.6', '0.2', '0.2', '--seed', '3')
    assert drawn.status == 0, drawn.err
    done = tool('new_split.py', '--ann', other, '--split', '1+1', '--out', tmp_path / 'd')
    assert done.status == 0, done.err
    for split in SPLITS:
        files = [next(file for file in sorted(root.rglob(f'*{split}.*')) if file.suffix in ('.json', '.txt')
                      and file.parent.name in ('coco', 'Main', root.name))
                 for root in (tmp_path / 'my data', tmp_path / 'other/my data')]
        assert files[0].read_text() == files[1].read_text()
    again = tool('split_dataset.py', other)
    assert again.status == 1
