"""The stage filter on VOC-style and COCO-style sets: hand-counted boxes, and every kind of bad input."""

import json
import pickle
import re

import mmdet.datasets  # noqa: F401  (registers the pipeline's transforms and the wrappers)
import pytest
from mmdet.datasets import XMLDataset
from mmengine.dataset import ConcatDataset, RepeatDataset
from PIL import Image

from mmilmil import InputError
from mmilmil.datasets import IncrementalCocoDataset, IncrementalVOCDataset
from mmilmil.datasets.stage_filter import ImageFolder, clip_box, close_names, split_instances
from mmilmil.registry import DATASETS

CLASSES = ('cat', 'cow', 'dog')
# Stage (cat, cow) + dog; `hotdog` and `bird` are on no list. Old, new and unlisted objects share images.
IMAGES = {
    'a': [('cat', 1, 1, 10, 10), ('dog', 11, 11, 30, 40), ('bird', 5, 5, 9, 9)],
    'b': [('dog', 1, 1, 20, 20, 1)],
    'c': [('cow', 3, 3, 30, 30), ('bird', 5, 5, 9, 9)],
    'd': [('hotdog', 3, 3, 30, 30)],
    'e': [('dog', 2, 2, 64, 64), ('dog', 5, 5, 15, 15, 1), ('cow', 1, 1, 9, 9), ('cat', 1, 1, 9, 9, 1)],
    'f': [],
}


def build(root, split='train', classes=CLASSES, groups=(2, 1), **kwargs):
    return IncrementalVOCDataset(
        data_root=str(root),
        ann_file=f'ImageSets/Main/{split}.txt',
        metainfo={'classes': classes, 'split': groups},
        **kwargs)


def ids(dataset):
    return [dataset.get_data_info(index)['img_id'] for index in range(len(dataset))]


# The pure parts


def test_split_instances_compares_names_exactly():
    objects = [{'name': name} for name in ('dog', 'hotdog', 'Dog', 'dog ', 'cat', 'cat')]
    kept, others = split_instances(objects, ['dog'])
    assert kept == [{'name': 'dog'}]
    assert others == {'hotdog': 1, 'Dog': 1, 'dog ': 1, 'cat': 2}


@pytest.mark.parametrize('box, clipped', [
    ([0, 0, 9, 9], [0, 0, 9, 9]),
    ([-3, 2, 12, 5], [0, 2, 9, 5]),
    ([10, 0, 14, 9], None),
    ([-5, 0, 0, 9], None),
    ([4, 4, 4, 9], None),
    ([0, 4, 9, 4], None),
    ([6, 1, 2, 9], None),
])
def test_clip_box(box, clipped):
    assert clip_box(box, 9, 9) == clipped


def test_close_names():
    assert close_names('Pin_hole', ['pin-hole', 'short']) == ['pin-hole']
    assert close_names('dog', ['dog ', 'Zebra']) == ['dog ']
    assert close_names('dog', ['zebra']) == []
    assert close_names(' DOG', ['dog ', 'Dog']) == ['dog ']  # of one form the first


def test_image_folder(tmp_path):
    for name in ('a.PNG', 'b.jpg', 'b.png', 'c.txt', 'e.Jpg', 'v1.2.jpeg', 'sub/d.bmp'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = ImageFolder(str(tmp_path))
    assert [folder.find(stem) for stem in ('a', 'b', 'c', 'e', 'v1.2', 'v1', 'sub/d')] == \
        ['a.PNG', 'b.jpg', None, 'e.Jpg', 'v1.2.jpeg', None, 'sub/d.bmp']
    assert folder.has('sub/d.bmp') and not folder.has('d.bmp')


def test_image_folder_is_listed_once_and_by_its_backend(monkeypatch):
    asked = []

    def listing(folder, list_dir, backend_args):
        asked.append((folder, list_dir, backend_args))
        return ['a.jpg']

    monkeypatch.setattr('mmilmil.datasets.stage_filter.list_dir_or_file', listing)
    folder = ImageFolder('root', backend_args={'backend': 'petrel'})
    assert folder.find('a') == 'a.jpg' and folder.has('a.jpg') and folder.find('sub/a') == 'sub/a.jpg'
    assert asked == [('root', False, {'backend': 'petrel'}), ('root/sub', False, {'backend': 'petrel'})]


# The stage filter on a VOC-style set


def test_training_keeps_the_newest_group_only(voc_set):
    dataset = build(voc_set(IMAGES))
    assert ids(dataset) == ['a', 'e']  # b has nothing but a difficult dog; c, d and f have none
    assert dataset.get_data_info(0)['instances'] == [{'bbox': [10, 10, 29, 39], 'ignore_flag': 0, 'bbox_label': 2}]
    assert dataset.get_data_info(1)['instances'] == [
        {'bbox': [1, 1, 63, 63], 'ignore_flag': 0, 'bbox_label': 2},
        {'bbox': [4, 4, 14, 14], 'ignore_flag': 1, 'bbox_label': 2},
    ]
    report = dataset.report
    assert (report.images_listed, report.images_kept, report.images_dropped) == (6, 2, 4)
    assert report.boxes == {'dog': 2} and report.ignored == 1
    assert report.hidden_old == 3  # cat in a, cow and cat in e
    assert report.hidden_unlisted == {'bird': 1} and report.unlisted == {'bird': 2, 'hotdog': 1}
    assert (report.clipped, report.dropped) == (0, 0)
    assert dataset.metainfo == {'classes': CLASSES, 'split': (2, 1)}
    assert dataset.stage.new == ('dog',) and dataset.stage.old == ('cat', 'cow')


def test_first_stage_hides_future_classes(voc_set):
    dataset = build(voc_set(IMAGES), classes=['cat', 'cow'], groups=[2])
    assert dataset.metainfo == {'classes': ('cat', 'cow'), 'split': (2,)}
    assert ids(dataset) == ['a', 'c', 'e']
    assert dataset.report.boxes == {'cat': 1, 'cow': 2} and dataset.report.ignored == 1
    assert dataset.report.hidden_old == 0
    assert dataset.report.hidden_unlisted == {'bird': 2, 'dog': 3}


def test_joint_training_keeps_all_seen_classes(voc_set):
    dataset = build(voc_set(IMAGES), keep='seen')
    assert ids(dataset) == ['a', 'c', 'e']
    assert dataset.report.boxes == {'cat': 1, 'cow': 2, 'dog': 2} and dataset.report.ignored == 2
    assert [instance['bbox_label'] for instance in dataset.get_data_info(2)['instances']] == [2, 2, 1, 0]


@pytest.mark.parametrize('keep', ['newest', 'seen'])
def test_testing_keeps_every_image_and_all_seen_classes(voc_set, keep):
    dataset = build(voc_set(IMAGES), 'test', test_mode=True, keep=keep)
    assert ids(dataset) == list('abcdef')
    assert dataset.report.boxes == {'cat': 1, 'cow': 2, 'dog': 2} and dataset.report.ignored == 3
    assert dataset.report.unlisted == {'bird': 2, 'hotdog': 1}


def test_same_boxes_as_stock_mmdetection(voc_set):
    root = voc_set({**IMAGES, 'g': [('dog', '4.9', '5.2', '20.9', 30), ('cat', 1, 1, 64, 64)]})
    ours = build(root, 'test', test_mode=True)
    stock = XMLDataset(data_root=str(root), ann_file='ImageSets/Main/test.txt', metainfo={'classes': CLASSES},
                       data_prefix={'sub_data_root': ''}, test_mode=True)
    assert len(ours) == len(stock) == 7
    for index in range(7):
        assert ours.get_data_info(index) == stock.get_data_info(index)


def test_summary_is_logged_once_and_tells_the_counts(voc_set, monkeypatch):
    logged = []
    monkeypatch.setattr('mmilmil.datasets.stage_filter.print_log', lambda text, logger: logged.append((text, logger)))
    dataset = build(voc_set(IMAGES))
    dataset.full_init()
    assert logged == [(dataset.report.summary(), 'current')]
    for part in ('train.txt (training, newest group): 2 of 6 images kept, 4 dropped', '2 (dog 2), and 1 ignored',
                 '3 boxes of old classes, 1 of classes not in metainfo.classes', 'bird 2, hotdog 1'):
        assert part in logged[0][0]
    assert 'train.txt (training, all seen classes)' in build(dataset.data_root, keep='seen').report.summary()
    assert 'train.txt (testing, all seen classes)' in build(dataset.data_root, test_mode=True).report.summary()


def test_lazy_init_indices_and_wrappers(voc_set):
    root = voc_set(IMAGES)
    lazy = build(root, lazy_init=True)
    assert lazy.report is None and lazy.stage.new == ('dog',)
    lazy.full_init()
    assert len(lazy) == 2
    few = build(root, indices=[1], serialize_data=False)
    assert ids(few) == ['e'] and few.report.images_kept == 2
    assert ids(few) == ['e']  # get_data_info does not use the stored dict up
    assert len(RepeatDataset(lazy, 3)) == 6
    assert len(ConcatDataset([lazy, build(root, keep='seen')])) == 5
    assert len(pickle.loads(pickle.dumps(lazy))) == 2  # dataloader workers may be spawned


def test_built_from_a_config_with_a_pipeline(voc_set):
    pipeline = [{'type': 'mmdet.LoadImageFromFile'}, {'type': 'mmdet.LoadAnnotations', 'with_bbox': True},
                {'type': 'mmdet.PackDetInputs'}]
    root = voc_set(IMAGES, splits={'trainval': list(IMAGES)}, extension='.png')
    dataset = DATASETS.build({'type': 'IncrementalVOCDataset', 'data_root': str(root), 'pipeline': pipeline,
                              'metainfo': {'classes': list(CLASSES), 'split': [2, 1]}})
    sample = dataset[1]['data_samples']
    assert sample.gt_instances.labels.tolist() == [2] and len(sample.ignored_instances) == 1
    assert tuple(dataset[1]['inputs'].shape) == (3, 64, 64)


def test_subfolders(voc_set, tmp_path):
    root = voc_set(IMAGES)
    (root / 'JPEGImages').rename(root / 'images')
    (root / 'Annotations').rename(root / 'xml')
    dataset = IncrementalVOCDataset(
        data_root=str(tmp_path), ann_file='voc/ImageSets/Main/train.txt', data_prefix={'sub_data_root': 'voc/'},
        img_subdir='images', ann_subdir='xml', metainfo={'classes': CLASSES, 'split': (2, 1)})
    assert len(dataset) == 2


def test_filter_cfg(voc_set):
    root = voc_set(IMAGES)
    dataset = build(root, filter_cfg={'filter_empty_gt': False, 'bbox_min_size': 25})
    assert ids(dataset) == ['e']  # the dog of image a is 19 px wide: ignored, so the image has nothing to train on
    with pytest.raises(InputError, match='images too small'):
        build(root, filter_cfg={'min_size': 65})


def test_least_size_of_a_box(voc_set):
    # 19 x 39 and 39 x 19 pixels, away from the corner.
    root = voc_set({'a': [('dog', 11, 5, 30, 44), ('dog', 5, 11, 44, 30)]})
    kwargs = dict(classes=('dog',), groups=(1,))
    report = build(root, **kwargs, filter_cfg={'bbox_min_size': 19}).report
    assert (report.boxes['dog'], report.ignored) == (2, 0)
    with pytest.raises(InputError, match=r"dog' there \(2\) are left out: 2 below .*'bbox_min_size'\] = 20"):
        build(root, **kwargs, filter_cfg={'bbox_min_size': 20})
    kept = build(voc_set({'a': [('dog', 1, 1, 19, 30), ('dog', 1, 1, 30, 30)]}), **kwargs, filter_cfg={'bbox_min_size': 20})
    assert [instance['ignore_flag'] for instance in kept.get_data_info(0)['instances']] == [1, 0]
    # Testing measures every box.
    assert build(kept.data_root, 'test', test_mode=True, **kwargs, filter_cfg={'bbox_min_size': 20}).report.ignored == 0


@pytest.mark.parametrize('size', [(64, 48), (48, 64)])
def test_least_size_of_an_image(voc_set, size):
    root = voc_set({'a': [('dog', 1, 1, 20, 20)]}, size=size)
    kwargs = dict(classes=('dog',), groups=(1,))
    assert len(build(root, **kwargs, filter_cfg={'min_size': 48})) == 1
    with pytest.raises(InputError, match='images too small'):
        build(root, **kwargs, filter_cfg={'min_size': 49})
    assert len(build(root, 'test', test_mode=True, **kwargs, filter_cfg={'min_size': 49})) == 1


def test_a_box_or_image_left_out_hides_none_behind_it(voc_set):
    root = voc_set({'a': [('dog', 7, 7, 7, 20), ('dog', 1, 1, 20, 20)]})
    assert build(root, classes=('dog',), groups=(1,)).report.boxes == {'dog': 1}

    def small_first(content):
        content['images'][0].update(width=30, height=30)
        content['annotations'][3]['bbox'] = [63.5, 0, 30, 30]  # half a pixel is left of it

    dataset = build_coco(coco(voc_set(IMAGES), small_first), filter_cfg={'min_size': 31})
    assert ids(dataset) == [9] and dataset.get_data_info(0)['instances'][0]['bbox'] == [63.5, 0, 64, 30]


# Told, not fatal


@pytest.mark.parametrize('test_mode', [False, True])
def test_boxes_outside_the_image(voc_set, test_mode):
    root = voc_set({
        'in': [('dog', 1, 1, 64, 48)],
        'partly': [('dog', 0, 40, 70, 60), ('dog', 1, 1, 5, 5), ('bird', 0, 0, 99, 99)],
        'wholly': [('dog', 65, 1, 90, 20)],
        'flat': [('dog', 7, 7, 7, 20), ('dog', 20, 20, 10, 10)],
    }, size=(64, 48))
    dataset = build(root, classes=('dog',), groups=(1,), test_mode=test_mode)
    assert ids(dataset) == (['in', 'partly', 'wholly', 'flat'] if test_mode else ['in', 'partly'])
    assert [instance['bbox'] for instance in dataset.get_data_info(0)['instances']] == [[0, 0, 63, 47]]
    assert [instance['bbox'] for instance in dataset.get_data_info(1)['instances']] == [[0, 39, 63, 47], [0, 0, 4, 4]]
    report = dataset.report
    assert report.boxes == {'dog': 3} and (report.clipped, report.dropped) == (1, 3)
    summary = report.summary()
    assert '1 boxes outside their image in part were clipped to it: ' in summary and 'partly.xml' in summary
    assert '3 boxes without area inside their image were dropped: ' in summary
    assert 'wholly.xml' in summary and summary.count('flat.xml') == 1


def test_many_files_are_named_only_in_part(voc_set):
    images = {f'i{number}': [('dog', 0, 1, 20, 20)] for number in range(9)}
    summary = build(voc_set(images), classes=('dog',), groups=(1,)).report.summary()
    assert '9 boxes' in summary and 'i4.xml, ...' in summary and 'i5.xml' not in summary


@pytest.mark.parametrize('size', ['', '<size><width>0</width><height>0</height></size>'])
def test_size_is_read_from_the_image_where_the_annotation_has_none(voc_set, size):
    root = voc_set(IMAGES, size=(40, 70))
    path = root / 'Annotations' / 'a.xml'
    path.write_text(path.read_text().replace('<size><width>40</width><height>70</height><depth>3</depth></size>', size))
    info = build(root, 'test', test_mode=True).get_data_info(0)
    assert (info['width'], info['height']) == (40, 70)


# Bad input


def fails(*parts, **kwargs):
    """Build, and check that the message has all parts."""
    with pytest.raises(InputError) as caught:
        build(**kwargs)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_missing_list(voc_set):
    root = voc_set(IMAGES)
    fails(str(root / 'ImageSets/Main/minival.txt'), 'check data_root and ann_file', root=root, split='minival')


@pytest.mark.parametrize('test_mode', [False, True])
def test_empty_list(voc_set, test_mode):
    fails('train.txt lists no image', root=voc_set(IMAGES, splits={'train': []}), test_mode=test_mode)


def test_list_that_is_no_text(voc_set):
    root = voc_set(IMAGES)
    (root / 'ImageSets/Main/train.txt').write_bytes(b'\xff\xfe\x00')
    fails('train.txt', 'not a text file', root=root)


def test_image_listed_twice(voc_set):
    fails("lists 'a' 2 times", root=voc_set(IMAGES, splits={'train': ['a', 'e', 'a']}))


@pytest.mark.parametrize('name', ['a', 'f'])  # f would be dropped: still told
def test_missing_annotation(voc_set, name):
    root = voc_set(IMAGES)
    (root / 'Annotations' / f'{name}.xml').unlink()
    fails(f'no annotation {root}/Annotations/{name}.xml', 'train.txt', 'add the file', root=root)


@pytest.mark.parametrize('name', ['a', 'f'])
def test_missing_image(voc_set, name):
    root = voc_set(IMAGES)
    (root / 'JPEGImages' / f'{name}.jpg').unlink()
    fails(f"lists '{name}'", f'{root}/JPEGImages has no image of that name', '.png', root=root)


def test_missing_image_folder(voc_set):
    root = voc_set(IMAGES)
    fails(f'no image folder {root}/images: check data_root', root=root, img_subdir='images')


@pytest.mark.parametrize('text', ['<annotation><object>', '', 'not xml'])
def test_broken_xml(voc_set, text):
    root = voc_set(IMAGES)
    (root / 'Annotations' / 'f.xml').write_text(text)
    fails(f'{root}/Annotations/f.xml is not valid XML: ', 'line 1', 'correct the file', root=root)


@pytest.mark.parametrize('good, bad, parts', [
    ('<name>bird</name>', '', ('an <object> has no <name>',)),
    ('<xmin>5</xmin>', '', ("object 'bird'", 'no <xmin>')),
    ('<xmin>5</xmin>', '<xmin>five</xmin>', ("object 'bird'", "<xmin> is 'five', not a number")),
    ('<xmin>5</xmin>', '<xmin>nan</xmin>', ("<xmin> is 'nan', not a number",)),
    ('<xmin>5</xmin>', '<xmin/>', ("<xmin> is '', not a number",)),
    ('<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>', '', ("object 'bird': no <bndbox>",)),
    ('<difficult>0</difficult>', '<difficult>no</difficult>', ("<difficult> is 'no'",)),
    ('<width>64</width>', '<width>wide</width>', ("<size>: <width> is 'wide'",)),
])
def test_broken_object(voc_set, good, bad, parts):
    root = voc_set(IMAGES)
    path = root / 'Annotations' / 'c.xml'  # an image that the stage would drop
    path.write_text(path.read_text().replace(good, bad))
    fails(str(path), *parts, root=root)


def test_image_that_cannot_be_decoded_where_its_size_is_needed(voc_set):
    root = voc_set(IMAGES)
    (root / 'JPEGImages' / 'f.jpg').write_bytes(b'broken')
    (root / 'Annotations' / 'f.xml').write_text('<annotation/>')
    fails(f'{root}/JPEGImages/f.jpg cannot be decoded', root=root)


def test_class_without_a_box(voc_set):
    root = voc_set(IMAGES)
    fails(f"{root}/ImageSets/Main/train.txt: no box to train on for class 'sheep'", 'class names found there',
          "'bird', 'cat'", root=root, classes=('cat', 'dog', 'sheep'), groups=(1, 2))
    assert len(build(root, classes=('sheep', 'dog'), groups=(1, 1))) == 2  # an old class needs none
    fails("'sheep'", root=root, classes=('sheep', 'dog'), groups=(1, 1), keep='seen')


def test_classes_without_a_box_are_all_told(voc_set):
    root = voc_set(IMAGES)
    with pytest.raises(InputError) as caught:
        build(root, classes=('dog', 'hotdgo', 'sheep'), groups=(1, 2))
    assert str(caught.value) == (
        f"{root}/ImageSets/Main/train.txt: the stage is empty: no box to train on for classes 'hotdgo', 'sheep' (6 images "
        "listed). Correct metainfo.classes (names are compared exactly) or ann_file; did you mean 'hotdog' by 'hotdgo'?; class "
        "names found there: 'bird', 'cat', 'cow', 'dog', 'hotdog'")
    # A name that a class of the stage claims is not what another one means.
    fails("for class 'dogs' (6 images", root=root, classes=('dog', 'dogs'), groups=(2,))
    with pytest.raises(InputError, match="^((?!did you mean 'dog' by).)*$"):
        build(root, classes=('dog', 'dogs'), groups=(2,))


@pytest.mark.parametrize('number, more', [(20, False), (21, True)])
def test_of_many_names_twenty_are_told(voc_set, number, more):
    names = [f'{chr(ord("a") + index)}' * 9 for index in range(number)]
    root = voc_set({'a': [(name, 1, 1, 20, 20) for name in names]})
    with pytest.raises(InputError) as caught:
        build(root, classes=('123',), groups=(1,))
    assert str(caught.value).endswith(', '.join(map(repr, names[:20])) + (', ...' if more else ''))


def test_misspelt_class_names_what_is_near(voc_set):
    with pytest.raises(InputError, match=r"did you mean 'hotdog' by 'hotdgo'\?$"):  # and no other name
        build(voc_set(IMAGES), classes=('dog', 'hotdgo'), groups=(2,))


def test_empty_stage_and_difficult_boxes_only(voc_set):
    root = voc_set(IMAGES, splits={'train': ['b', 'c']})
    fails("the stage is empty: no box to train on for class 'dog'", "all boxes of 'dog' there (1) are left out: 1 ignored",
          root=root)
    assert len(build(root, test_mode=True)) == 2  # testing has no such rule


@pytest.mark.parametrize('kwargs, parts', [
    ({'keep': 'old'}, ("keep = 'old'", "'newest'", "'seen'")),
    ({'groups': (1, 1)}, ('split = (1, 1) sums to 2', '3 names')),
    ({'classes': ('cat', 'dog', 'dog')}, ("'dog' more than once",)),
    ({'classes': ()}, ('classes is empty',)),
    ({'data_prefix': {'img': 'JPEGImages'}}, ("data_prefix of IncrementalVOCDataset has 'img'", 'img_subdir')),
])
def test_bad_settings(voc_set, kwargs, parts):
    fails(*parts, root=voc_set(IMAGES), **kwargs)


# COCO


def coco(root, change=lambda content: None):
    """The same kind of set as IMAGES in COCO's format; category ids in an order unlike that of CLASSES."""
    content = {
        'images': [{'id': number, 'file_name': f'{name}.jpg', 'width': 64, 'height': 64}
                   for number, name in enumerate('abc', start=7)],
        'categories': [{'id': 3, 'name': 'dog'}, {'id': 1, 'name': 'cow'}, {'id': 9, 'name': 'cat'},
                       {'id': 5, 'name': 'bird'}],
        'annotations': [
            {'id': 1, 'image_id': 7, 'category_id': 9, 'bbox': [0, 0, 10, 10], 'area': 100},
            {'id': 2, 'image_id': 7, 'category_id': 3, 'bbox': [10, 10, 20.5, 30], 'area': 615, 'iscrowd': 0},
            {'id': 3, 'image_id': 8, 'category_id': 3, 'bbox': [0, 0, 20, 20], 'area': 400, 'iscrowd': 1},
            {'id': 4, 'image_id': 9, 'category_id': 3, 'bbox': [50, 50, 30, 30], 'area': 900},
            {'id': 5, 'image_id': 9, 'category_id': 3, 'bbox': [5, 5, 0.5, 30], 'area': 15},
            {'id': 6, 'image_id': 9, 'category_id': 5, 'bbox': [5, 5, 30, 30], 'area': 900},
            {'id': 8, 'image_id': 99, 'category_id': 3, 'bbox': [5, 5, 30, 30]},
        ],
    }
    change(content)
    (root / 'train.json').write_text(json.dumps(content))
    return root


def build_coco(root, classes=CLASSES, groups=(2, 1), ann_file='train.json', **kwargs):
    return IncrementalCocoDataset(ann_file, data_root=str(root), data_prefix={'img': 'JPEGImages'},
                                  metainfo={'classes': classes, 'split': groups}, **kwargs)


def test_coco_training(voc_set):
    dataset = build_coco(coco(voc_set(IMAGES)))
    assert ids(dataset) == [7, 9]
    assert dataset.get_data_info(0)['instances'] == [{'bbox': [10, 10, 30.5, 40], 'ignore_flag': 0, 'bbox_label': 2}]
    assert dataset.get_data_info(1)['instances'] == [{'bbox': [50, 50, 64, 64], 'ignore_flag': 0, 'bbox_label': 2}]
    report = dataset.report
    assert (report.images_listed, report.images_kept) == (3, 2)
    assert report.boxes == {'dog': 2} and report.hidden_old == 1
    assert report.unlisted == {'bird': 1}
    assert (report.clipped, report.dropped) == (1, 1)
    assert '1 annotations belong to 1 images that the file does not list' in report.summary()
    assert dataset.cat_ids == [9, 1, 3] and dataset.cat2label == {9: 0, 1: 1, 3: 2}


def test_coco_testing_and_joint(voc_set):
    root = coco(voc_set(IMAGES))
    test = build_coco(root, test_mode=True)
    assert ids(test) == [7, 8, 9] and test.report.ignored == 1
    assert [instance['bbox_label'] for instance in test.get_data_info(0)['instances']] == [0, 2]
    joint = build_coco(root, classes=('cat', 'dog'), groups=(1, 1), keep='seen')
    assert ids(joint) == [7, 9] and joint.report.boxes == {'cat': 1, 'dog': 2}


@pytest.mark.parametrize('change, parts', [
    (lambda content: content.pop('categories'), ("no list 'categories'",)),
    (lambda content: content['images'][0].pop('width'), ("images[0] (id 7): lacks 'width'",)),
    (lambda content: content['annotations'][0].update(bbox=[1, 2, 3]), ('annotations[0] (id 1, image_id 7)', '[1, 2, 3]')),
    (lambda content: content['annotations'][0].update(bbox=[1, 2, 3, None]), ('not four numbers',)),
    (lambda content: content['annotations'][0].update(area=None), ('annotations[0] (id 1, image_id 7)', 'area is None')),
    (lambda content: content['images'][0].update(width=None), ('images[0] (id 7): width is None',)),
    (lambda content: content['images'][2].update(file_name='z.jpg'), ("'z.jpg'", 'JPEGImages has no such file')),
    (lambda content: content['annotations'][0].update(category_id=77), ('(id 1, image_id 7): category_id is 77',)),
    (lambda content: content['images'][1].update(id=7), ('the id 7 of images 2 times',)),
    (lambda content: content['categories'][0].update(name='Dog'), ("no category 'dog'", "did you mean 'Dog'?")),
    (lambda content: content.update(annotations=[]), ('the stage is empty',)),
    (lambda content: content.update(images=[], annotations=[]), ('lists no image',)),
])
def test_coco_bad_input(voc_set, change, parts):
    root = coco(voc_set(IMAGES), change)
    with pytest.raises(InputError) as caught:
        build_coco(root)
    for part in ('train.json', *parts):
        assert part in str(caught.value)


def test_coco_missing_and_broken_file(voc_set):
    root = coco(voc_set(IMAGES))
    with pytest.raises(InputError, match=r'no file .*val\.json .*check data_root and ann_file'):
        build_coco(root, ann_file='val.json')
    (root / 'train.json').write_text('{"images": [')
    with pytest.raises(InputError, match=r'train\.json is not valid JSON: .*line 1'):
        build_coco(root)


def test_coco_values_spelt_as_text(voc_set):
    """The same boxes as without: what is read by a rule is read by the same one in training."""

    def spell(content):
        for entry in content['annotations']:
            entry.update(iscrowd='1' if entry.get('iscrowd') else '0', image_id=str(entry['image_id']), ignore=None,
                         bbox=[str(value) for value in entry['bbox']], category_id=float(entry['category_id']))
        content['categories'][0].update(id='3', name='\n dog ')

    root = voc_set(IMAGES)
    plain = [build_coco(coco(root)).get_data_info(index) for index in range(2)]
    dataset = build_coco(coco(root, spell))
    assert [dataset.get_data_info(index) for index in range(2)] == plain
    assert 'class name read as text without what is blank around it (1)' in dataset.report.summary()


def only(*boxes, **more):
    def change(content):
        content['annotations'] = [dict(image_id=7, category_id=3, bbox=box, **more) for box in boxes]

    return change


@pytest.mark.parametrize('change, parts', [
    (only([.1, .2, .5, .5], [.3, .3, .1, .2]),
     ("all boxes of 'dog' there (2) are left out: 2 without area", 'as if normalised to the size of the image', 'pixels (2)')),
    (only([1, 2, 9, 9], [2, 2, 9, 9], iscrowd='1'), ('(2) are left out: 2 ignored (difficult or crowd)',)),
    (only([1, 2, 9, 0], [70, 2, 9, 9]), ('(2) are left out: 2 without area inside their image',)),
    (lambda content: [entry.update(image_id=1) for entry in content['annotations']],
     ('7 annotations belong to 1 images that the file does not list',)),
    (lambda content: content['annotations'].clear(), ("'dog' is a category without any box", 'leave it out')),
])
def test_why_a_class_has_no_box(voc_set, change, parts):
    root = coco(voc_set(IMAGES), change)
    with pytest.raises(InputError) as caught:
        build_coco(root)
    for part in ("the stage is empty: no box to train on for class 'dog'", *parts):
        assert part in str(caught.value)


def test_why_a_voc_class_has_no_box(voc_set):
    boxes = {'a': [('dog', .1, .1, .5, .5), ('dog', 1, 1, 20, 20, 1)], 'b': [('dog', 70, 1, 90, 20), ('dog', 1, 1, 9, 30)]}
    fails('(4) are left out: ', '2 without area inside their image', '1 ignored (difficult or crowd)',
          "1 below filter_cfg['bbox_min_size'] = 10", 'as if normalised to the size of the image', root=voc_set(boxes),
          filter_cfg={'bbox_min_size': 10})


@pytest.mark.parametrize('name, remedy', [
    ('a.jpg', "names stand without extension, so write 'a'"),
    ('a 1', "a single class's list"),
    ('A', "letter case counts, and there is 'a.jpg'"),
    ('JPEGImages\\\\a', 'write / between folders'),
    ('/data/a', 'it is an absolute path'),
    ('sub/a', "'a' is directly in that folder"),
    ('https://x.org/a', 'it is a URL'),
    ('# a', 'a list has no comments'),
    ('g', "there is 'g.gif', whose extension is another"),
    ('z', 'add it, or take the line out'),
])
def test_listed_image_that_is_not_there(voc_set, name, remedy):
    root = voc_set(IMAGES, splits={'train': ['e', name]})
    (root / 'JPEGImages/g.gif').touch()
    fails('train.txt lists', 'JPEGImages has no image of that name', remedy, root=root)


@pytest.mark.parametrize('name, remedy', [
    ('A.JPG', "letter case counts, and there is 'a.jpg'"),
    ('a.png', "there is 'a.jpg', whose extension is another"),
    ('a', "there is 'a.jpg', whose extension is another"),
    ('JPEGImages/a.jpg', "'a.jpg' is directly in that folder"),
    ('images\\a.jpg', 'write / between folders'),
    ('https://x.org/a.jpg', 'it is a URL'),
    ('/data/a.jpg', 'it is an absolute path'),
])
def test_image_of_a_coco_file_that_is_not_there(voc_set, name, remedy):
    root = coco(voc_set(IMAGES), lambda content: content['images'][0].update(file_name=name))
    with pytest.raises(InputError, match='has no such file') as caught:
        build_coco(root)
    assert remedy in str(caught.value)


def test_coco_paths(voc_set):
    root = voc_set(IMAGES)

    def spell(content):
        content['images'][0]['file_name'] = './a.jpg'
        content['images'][1]['file_name'] = '../JPEGImages//b.jpg'
        content['images'][2]['file_name'] = str(root / 'JPEGImages/c.jpg')

    dataset = build_coco(coco(root, spell), test_mode=True)
    assert [dataset[index]['img_path'] for index in range(3)] == [
        f'{root}/JPEGImages/a.jpg', f'{root}/JPEGImages/../JPEGImages/b.jpg', f'{root}/JPEGImages/c.jpg']


def test_size_is_that_of_the_pipelines_own_loader(voc_set):
    root = voc_set(IMAGES)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (80, 60)).save(root / 'JPEGImages/a.jpg', exif=exif)
    path = root / 'Annotations/a.xml'
    path.write_text(re.sub('<size>.*</size>', '', path.read_text()))
    for color_type, size in (('color', (60, 80)), ('color_ignore_orientation', (80, 60))):
        info = build(root, test_mode=True, pipeline=[dict(type='LoadImageFromFile', color_type=color_type)]).get_data_info(0)
        assert (info['width'], info['height']) == size


# Real data


def test_deep_pcb(real_data):
    root = real_data('DeepPCB-320')
    classes = ('copper', 'mousebite', 'open', 'pin-hole', 'short', 'spur')
    first = build(root, classes=classes[:4], groups=(4,)).report
    second = build(root, classes=classes, groups=(4, 2)).report
    joint = build(root, classes=classes, groups=(4, 2), keep='seen').report
    test = build(root, 'test', classes=classes, groups=(4, 2), test_mode=True).report
    print('\n'.join(report.summary() for report in (first, second, joint, test)))
    assert first.images_listed == second.images_listed == joint.images_listed == 1036 and test.images_kept == 630
    assert first.boxes | second.boxes == joint.boxes
    # Counted by grep over the annotations of the split.
    assert joint.boxes == {'copper': 617, 'mousebite': 826, 'open': 781, 'pin-hole': 592, 'short': 592, 'spur': 729}
    assert 0 < second.hidden_old <= sum(first.boxes.values())
    assert first.unlisted == {'short': 592, 'spur': 729} and not joint.unlisted
    assert all(report.clipped == report.dropped == report.ignored == 0 for report in (first, second, joint, test))


def test_foda(real_data):
    root = real_data('FODA-20')
    classes = tuple((root / 'classes.txt').read_text().split())
    assert len(classes) == 20 and list(classes) == sorted(classes)
    second = build(root, classes=classes, groups=(15, 5)).report
    test = build(root, 'test', classes=classes, groups=(15, 5), test_mode=True).report
    print('\n'.join(report.summary() for report in (second, test)))
    assert second.boxes == dict.fromkeys(classes[15:], 100) and second.images_kept == 500
    assert test.images_kept == 800 and len(test.boxes) == 20 and min(test.boxes.values()) >= 40
