"""The readers of image lists, VOC XML and COCO JSON: each value read by its rule, or refused with file, place and remedy."""

import json
import sys

import pytest

from mmilmil import InputError
from mmilmil.datasets.coco_reader import is_ignored, read_coco
from mmilmil.datasets.reading import flag, identity, number, read_names
from mmilmil.datasets.voc_reader import read_annotation, read_list


class Told:
    """Collects what a reader tells."""

    def __init__(self):
        self.errors, self.notes = [], []

    def error(self, kind, text):
        self.errors.append((kind, str(text)))

    def note(self, kind, text):
        self.notes.append((kind, str(text)))


def refused(read, *parts):
    with pytest.raises(InputError) as caught:
        read()
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert '\n' not in str(caught.value)


# Values


@pytest.mark.parametrize('value, read', [
    (3, 3), (2.5, 2.5), ('3', 3), (' 2.50 ', 2.5), ('-1e1', -10), ('.5', .5), (True, None), (None, None), ('', None),
    ('1,5', None), ('1_0', None), ('nan', None), ('inf', None), ('1e400', None), (float('nan'), None), (float('inf'), None),
    (10**400, None), ([1], None),
])
def test_number(value, read):
    assert number(value) == read and type(number(value)) is type(read)


@pytest.mark.parametrize('value, read', [
    (1, 1), (1.0, 1), ('1', 1), (' 1', 1), ('001', 1), ('-7', -7), ('a1', 'a1'), ('1.0', '1.0')])
def test_identity(value, read):
    assert identity(value, 'id') == read and type(identity(value, 'id')) is type(read)


@pytest.mark.parametrize('value', [None, True, False, 1.5, float('nan'), float('inf'), '', ' ', [1], {}])
def test_no_identity(value):
    refused(lambda: identity(value, 'f.json, images[0]: id'), 'f.json, images[0]: id is', 'no id')


@pytest.mark.parametrize('value, read', [
    (0, 0), (1, 1), (0.0, 0), (1.0, 1), (False, 0), (True, 1), (None, 0), ('0', 0), ('1', 1), ('0.0', 0),
    ('false', 0), ('True', 1), (' 1 ', 1)])
def test_flag(value, read):
    assert flag(value, 'iscrowd') == read and isinstance(flag(value, 'iscrowd'), int)


@pytest.mark.parametrize('value', [2, -1, .5, 'Unspecified', '', 'none', float('nan'), [], [0], {}])
def test_no_flag(value):
    refused(lambda: flag(value, 'f.json: iscrowd'), 'f.json: iscrowd is', 'give 0 or 1')


# Text


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32'])
def test_encodings_of_lists_names_and_json(tmp_path, encoding):
    path = tmp_path / 'file'
    path.write_bytes('a\r\n  图 1\t\n\n./sub/b\rc'.encode(encoding))
    assert read_list(path) == ['a', '图 1', 'sub/b', 'c']
    path.write_bytes('cat\n 大 dog \r\n\n'.encode(encoding))
    assert read_names(path) == ['cat', '大 dog']
    path.write_bytes(json.dumps(sound(), ensure_ascii=False).encode(encoding))
    assert list(read_coco(path).names.values()) == ['猫', 'dog']


@pytest.mark.parametrize('read', [read_list, read_names, read_coco])
def test_what_is_no_text(tmp_path, read):
    path = tmp_path / 'file'
    path.write_bytes('{"a": "中国"}'.encode('gbk'))
    refused(lambda: read(path), str(path), 'UTF-8', 'at byte 7', 'save it as UTF-8')
    refused(lambda: read(tmp_path), f'no file {tmp_path}')
    refused(lambda: read(tmp_path / 'gone'), f'no file {tmp_path}/gone')


# Lists


@pytest.mark.parametrize('text, parts', [
    ('a\nb\na\n', ("lists 'a' 2 times", 'RepeatDataset')),
    ('a\n./a\n', ("lists 'a' 2 times",)),
    ('\n \n', ('lists no image',)),
    ('', ('lists no image',)),
    ('a -1\nb  1\n', ('list of a single class', "'a -1'", 'train.txt')),
    ('a.jpg\x00\n', ('control character',)),
])
def test_bad_lists(tmp_path, text, parts):
    path = tmp_path / 'train.txt'
    path.write_text(text)
    refused(lambda: read_list(path), str(path), *parts)


def test_names_that_end_in_a_number_are_no_list_of_a_class(tmp_path):
    path = tmp_path / 'train.txt'
    path.write_text('photo 1\nphoto 0\n')
    assert read_list(path) == ['photo 1', 'photo 0']


def test_all_mistakes_of_a_list(tmp_path):
    path, told = tmp_path / 'train.txt', Told()
    path.write_text('a\nb\na\nb\nc\x01\n')
    assert read_list(path, tell=told) == ['a', 'b']
    assert [kind for kind, _ in told.errors] == ['list that cannot be read', *['image listed more than once'] * 2]


# XML

OBJECT = '<object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3.9</xmax><ymax>40</ymax></bndbox></object>'


def write_xml(tmp_path, text, encoding='utf-8', head=''):
    path = tmp_path / 'a.xml'
    path.write_bytes((head + text).encode(encoding))
    return path


@pytest.mark.parametrize('declared, encoding', [
    ('gb2312', 'gb2312'), ('GB2312', 'gb2312'), ('GBK', 'gbk'), ('gb18030', 'gb18030'), ('Big5', 'big5'),
    ('Shift_JIS', 'shift_jis'), ('EUC-KR', 'euc-kr'), ('utf-8', 'utf-8'), ('utf-8', 'utf-8-sig'), ('UTF-16', 'utf-16'),
    (None, 'utf-8'), (None, 'utf-8-sig'), (None, 'utf-16'), ('utf-8', 'utf-16'), ('gbk', 'utf-8-sig')])
def test_encodings_of_xml(tmp_path, declared, encoding):
    name = '가' if encoding == 'euc-kr' else '中'
    head = f'<?xml version="1.0" encoding=\'{declared}\' standalone="yes"?>\n' if declared else ''
    path = write_xml(tmp_path, f'<annotation>{OBJECT.format(name)}</annotation>', encoding, head)
    assert read_annotation(path) == (None, [{'name': name, 'bbox': [0, 1, 2, 39], 'ignore_flag': 0}])


@pytest.mark.parametrize('declared, encoding, parts', [
    ('klingon', 'utf-8', ("'klingon'", 'Python does not know', 'save it as UTF-8')),
    ('base64', 'utf-8', ("'base64'", 'Python does not know')),
    ('utf-8', 'gbk', ('not a text file in UTF-8', 'at byte', "'utf-8'")),
    ('gb2312', 'utf-8', ('not a text file in GB2312', "'gb2312'")),
    ('utf-16', 'utf-8', ('not a text file in UTF-16',)),
    (None, 'gbk', ('not a text file in UTF-8', 'declare its encoding')),
])
def test_encodings_that_are_refused(tmp_path, declared, encoding, parts):
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ''
    path = write_xml(tmp_path, f'<annotation>{OBJECT.format("中国")}</annotation>', encoding, head)
    refused(lambda: read_annotation(path), str(path), *parts)


def test_size_and_flags(tmp_path):
    text = ('<annotation><size><width> 64 </width><height>48.0</height></size>' + OBJECT.format('\n\t big  cat \n')
            + OBJECT.format('a').replace('<bndbox>', '<pose>Unspecified</pose><difficult>1</difficult><bndbox>')
            + OBJECT.format('b').replace('<bndbox>', '<difficult> false </difficult><part><name>x</name></part><bndbox>')
            + '</annotation>')
    told = Told()
    size, objects = read_annotation(write_xml(tmp_path, text), tell=told)
    assert size == (64, 48)
    assert [(one['name'], one['ignore_flag']) for one in objects] == [('big  cat', 0), ('a', 1), ('b', 0)]
    assert not told.errors and [text for _, text in told.notes] == [
        f"{tmp_path}/a.xml: '\\n\\t big  cat \\n' is read as 'big  cat'"]
    for absent in ('', '<size><width>0</width><height>48</height></size>'):
        assert read_annotation(write_xml(tmp_path, f'<annotation>{absent}</annotation>')) == (None, [])


SOUND = OBJECT.format('cat')


@pytest.mark.parametrize('text, parts', [
    ('', ('not valid XML', 'line 1')),
    ('<annotation><object>', ('not valid XML',)),
    ('<!DOCTYPE a [<!ENTITY x "cat">]><annotation>' + OBJECT.format('&x;') + '</annotation>', ('entities', 'write out')),
    ('<annotation xmlns="http://x.org">' + SOUND + '</annotation>', ('namespace', '{http://x.org}object')),
    ('<annotation xmlns="http://x.org"/>', ('no VOC annotation', '{http://x.org}annotation')),
    ('<annotations><image><box label="cat"/></image></annotations>', ('no VOC annotation', '<annotations>')),
    ('<annotation><objects>' + SOUND + '</objects></annotation>', ('directly below the root',)),
    ('<annotation>' + SOUND.replace('object>', 'Object>') + '</annotation>', ('<Object>', 'small letters')),
    ('<annotation><size><width>-1</width><height>5</height></size></annotation>', ('<size>', '-1x5')),
    ('<annotation><size><width>1</width></size></annotation>', ('<size>', 'no <height>')),
    ('<annotation><size/><size/></annotation>', ('2 times <size>',)),
    *((f'<annotation>{SOUND.replace(*change)}</annotation>', parts) for change, parts in [
        (('cat', ' \n'), ('no <name>',)),
        (('cat', 'big\ncat'), (r"'big\ncat'", 'line break')),
        (('cat', 'big\tcat'), (r"'big\tcat'",)),
        (('<bndbox>', '<name>dog</name><bndbox>'), ('2 times <name>',)),
        (('<bndbox>', '<bndbox/><bndbox>'), ("'cat'", '2 times <bndbox>')),
        (('bndbox', 'polygon'), ("'cat'", 'no <bndbox>')),
        (('<xmin>', '<xmin>1</xmin><xmin>'), ('2 times <xmin>',)),
        (('3.9', '3,9'), ("<xmax> is '3,9', not a number",)),
        (('<bndbox>', '<difficult>Unspecified</difficult><bndbox>'), ("<difficult> is 'Unspecified'", 'give 0 or 1')),
        (('<bndbox>', '<difficult/><bndbox>'), ("<difficult> is ''",)),
    ]),
])
def test_bad_xml(tmp_path, text, parts):
    path = write_xml(tmp_path, text)
    refused(lambda: read_annotation(path), str(path), *parts)


def test_all_mistakes_of_a_file(tmp_path):
    text = '<annotation><size><width>x</width></size>' + SOUND + OBJECT.format('') + SOUND.replace('1', 'one') + '</annotation>'
    told = Told()
    assert len(read_annotation(write_xml(tmp_path, text), tell=told).objects) == 1
    assert [kind for kind, _ in told.errors] == ['annotation that cannot be read', *['object that cannot be read'] * 2]


def test_missing_annotation_names_its_list(tmp_path):
    refused(lambda: read_annotation(tmp_path / 'b.xml', listed='train.txt'), f'no annotation {tmp_path}/b.xml', 'train.txt')


# COCO


def sound():
    return {
        'info': {'year': 2026},
        'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 64, 'height': 48, 'license': 3},
                   {'id': 2, 'file_name': 'b.jpg', 'width': 5, 'height': 6}],
        'categories': [{'id': 7, 'name': 'dog'}, {'id': 3, 'name': '猫'}],
        'annotations': [{'id': 1, 'image_id': 1, 'category_id': 7, 'bbox': [1, 2, 3.5, 4], 'area': 9, 'iscrowd': 0,
                         'segmentation': []},
                        {'id': 2, 'image_id': 1, 'category_id': 3, 'bbox': [1, 2, 3, 4]}]}


def write_json(tmp_path, **changes):
    """Changes as part__index__key=value; of a whole part as part=value."""
    content = sound()
    for name, value in changes.items():
        part, *place = name.split('__')
        if place:
            content[part][int(place[0])][place[1]] = value
        else:
            content[part] = value
    path = tmp_path / 'set.json'
    path.write_text(json.dumps(content))
    return path


def test_sound_file_stays_as_it_is(tmp_path):
    read = read_coco(write_json(tmp_path))
    assert read.content == sound() and read.images == sound()['images']
    assert list(read.names.items()) == [(3, '猫'), (7, 'dog')]
    assert read.annotations == {1: sound()['annotations'], 2: []} and read.lost == {}


@pytest.mark.parametrize('spelt', ['1', '01', 1.0, ' 1'])
def test_ids_that_are_spelt_otherwise(tmp_path, spelt):
    read = read_coco(write_json(tmp_path, annotations__0__image_id=spelt, annotations__0__id=spelt, categories__0__id='7',
                                annotations__1__category_id='3'))
    assert read.content == sound() and len(read.annotations[1]) == 2


def test_flags_and_numbers_as_text(tmp_path):
    path = write_json(tmp_path, annotations__0__iscrowd='0', annotations__0__ignore='false', annotations__1__ignore='1',
                      annotations__0__bbox=['1', '2', '3.5', 4], annotations__0__area='9', images__0__width='64')
    read = read_coco(path)
    assert [is_ignored(one) for one in read.annotations[1]] == [False, True]
    assert read.annotations[1][0]['bbox'] == [1, 2, 3.5, 4] and read.images[0]['width'] == 64


def test_names_and_paths(tmp_path):
    told = Told()
    path = write_json(tmp_path, categories__0__name=' big dog\n', categories__1__name=5, images__0__file_name='./sub//a.jpg',
                      images__1__file_name='https://x.org/b.jpg')
    read = read_coco(path, tell=told)
    assert list(read.names.values()) == ['5', 'big dog'] and not told.errors and len(told.notes) == 2
    assert [image['file_name'] for image in read.images] == ['sub/a.jpg', 'https://x.org/b.jpg']


def test_text_ids_and_mixed_ones_have_an_order(tmp_path):
    categories = [{'id': key, 'name': str(key) * 2} for key in ('b', 'a', 12, 7, 3)]
    path = write_json(tmp_path, categories=categories)
    assert list(read_coco(path).names) == [3, 7, 12, 'a', 'b']


def test_boxes_of_images_that_are_not_listed(tmp_path):
    read = read_coco(write_json(tmp_path, annotations__0__image_id='img_1'))
    assert list(read.lost) == ['img_1'] and len(read.annotations[1]) == 1


NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize('change, parts', [
    (dict(categories=None), ("no list 'categories'",)),
    (dict(annotations={}), ("no list 'annotations'",)),
    (dict(images=[]), ('lists no image',)),
    (dict(images=[1]), ('images[0]: 1 is not an object',)),
    (dict(images=[{'id': 1}]), ("images[0] (id 1): lacks 'file_name', 'width', 'height'",)),
    (dict(images__1__id=1), ('the id 1 of images 2 times',)),
    (dict(images__1__id='1'), ('the id 1 of images 2 times',)),
    (dict(images__1__file_name='./a.jpg'), ("the file_name 'a.jpg' of images 2 times",)),
    *((dict(images__1__id=value), ('images[1] (id ', 'id is', 'no id')) for value in (None, True, 1.5, NAN)),
    *((dict(images__1__file_name=value), ('images[1] (id 2): file_name is',))
      for value in (None, '', 3, 'a\n.jpg', '\ud800.jpg')),
    *((dict(images__1__width=value), ('images[1] (id 2): width is', 'number of pixels'))
      for value in (None, 0, -3, True, 'wide', INF)),
    *((dict(annotations__1__category_id=value), ('annotations[1] (id 2, image_id 1): category_id is',))
      for value in (None, 99, 'cat', False)),
    *((dict(annotations__1__image_id=value), ('annotations[1]', 'image_id is', 'no id')) for value in (None, True, .5)),
    *((dict(annotations__1__bbox=value), ('annotations[1] (id 2, image_id 1)', 'bbox is', 'not four numbers'))
      for value in (None, [], [1, 2, 3], [1, 2, 3, True], [1, 2, 3, None], [1, 2, NAN, 3], [1, 2, 3, 'x'], 'x', {'x': 1})),
    *((dict(annotations__1__area=value), ('annotations[1] (id 2, image_id 1)', 'area is', 'leave it out'))
      for value in (None, 'big', INF)),
    (dict(annotations__1__iscrowd='no'), ("iscrowd is 'no'", 'give 0 or 1')),
    (dict(annotations__1__ignore=2), ('ignore is 2',)),
    (dict(annotations__1__id=1), ('the id 1 of annotations 2 times',)),
    (dict(categories__1__id=7), ('the id 7 of categories 2 times',)),
    (dict(categories__1__name='dog '), ("2 categories 'dog'", 'id 7 (1 boxes), id 3 (1 boxes)')),
    *((dict(categories__1__name=value), ('categories[1] (id 3)', 'class name'))
      for value in (None, '', ' ', 'a\nb', 'a\tb', 1.5, True, ['a'])),
])
def test_bad_coco(tmp_path, change, parts):
    path = write_json(tmp_path, **change)
    refused(lambda: read_coco(path), str(path), *parts)


@pytest.mark.parametrize('text', ['', '{"images": [', '[' * 100000, '{} {}', '{"images": [{"id": ' + '9' * 5000 + '}]}'])
def test_no_json(tmp_path, text):
    path = tmp_path / 'set.json'
    path.write_text(text)
    refused(lambda: read_coco(path), f'{path} is not valid JSON')


def test_deep_json_where_mmrazor_is_imported(tmp_path):
    path = tmp_path / 'set.json'
    path.write_text('[' * 100000)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(2**20)  # what MMRazor sets
    try:
        refused(lambda: read_coco(path), f'{path} is not valid JSON')
        assert sys.getrecursionlimit() == 2**20
    finally:
        sys.setrecursionlimit(limit)


def test_all_mistakes_of_a_coco_file(tmp_path):
    told = Told()
    path = write_json(tmp_path, images__1__width=0, annotations__1__category_id=9, categories__1__name=None)
    read = read_coco(path, tell=told)
    assert [kind for kind, _ in told.errors] == \
        [f'entry of {part} that cannot be read' for part in ('categories', 'images', 'annotations')]
    assert (len(read.images), len(read.annotations[1]), list(read.names)) == (1, 1, [7])
