"""What a stage is, and which metainfo makes none."""

import dataclasses

import pytest

from mmilmil import InputError
from mmilmil.stage import Stage


def test_groups_old_and_new():
    stage = Stage.from_metainfo(dict(classes=['a', 'b', 'c', 'd', 'e', 'f'], split=[3, 1, 2]))
    assert stage.classes == ('a', 'b', 'c', 'd', 'e', 'f')
    assert stage.split == (3, 1, 2)
    assert stage.groups == (('a', 'b', 'c'), ('d', ), ('e', 'f'))
    assert stage.old == ('a', 'b', 'c', 'd')
    assert stage.new == ('e', 'f')


@pytest.mark.parametrize('split', [{}, {'split': None}, {'split': 2}, {'split': (2, )}])
def test_first_stage_is_one_group(split):
    stage = Stage.from_metainfo(dict(classes=('a', 'b'), **split))
    assert stage.groups == (('a', 'b'), )
    assert stage.old == ()
    assert stage.new == ('a', 'b')


def test_one_class_as_a_string_is_one_class():
    assert Stage.from_metainfo(dict(classes='dog')).classes == ('dog', )


def test_order_is_kept_and_counts():
    assert Stage.from_metainfo(dict(classes=('b', 'a'))) != Stage.from_metainfo(dict(classes=('a', 'b')))


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stage.from_metainfo(dict(classes=('a', ))).split = (1, )


@pytest.mark.parametrize('metainfo, words', [
    ({}, ['classes', 'empty', 'list the names']),
    (dict(classes=()), ['classes', 'empty', 'list the names']),
    (dict(classes=('a', 'b', 'a', 'b', 'c')), ["'a', 'b'", 'more than once', 'each class once']),
    (dict(classes=('a', 1, None)), ['1, None', 'quotes']),
    (dict(classes=('a', 'b', 'c'), split=(1, 1)), ['(1, 1)', 'sums to 2', '3 names', 'agree']),
    (dict(classes=('a', 'b', 'c'), split=(4, )), ['(4,)', 'sums to 4', '3 names']),
    (dict(classes=('a', 'b'), split=(2, 0)), ['(2, 0)', 'positive']),
    (dict(classes=('a', 'b'), split=(3, -1)), ['(3, -1)', 'positive']),
    (dict(classes=('a', 'b'), split=(1.0, 1.0)), ['(1.0, 1.0)', 'whole number']),
    (dict(classes=('a', 'b'), split=()), ['()', 'sums to 0', '2 names']),
])
def test_errors_name_value_and_remedy(metainfo, words):
    with pytest.raises(InputError) as error:
        Stage.from_metainfo(metainfo, 'train.metainfo')
    assert 'train.metainfo' in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_input_error_is_an_ordinary_value_error():
    assert issubclass(InputError, ValueError)
