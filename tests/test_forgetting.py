"""The figures of a chain against numbers worked out by hand."""

import json
from math import nan

import numpy as np
import pytest

from mmilmil.evaluation import ap_matrix, chain_figures
from mmilmil.evaluation.forgetting import abs_gap, forgetting, fpp, group_ap, omega, rel_gap, rpd, rsd

# Three stages of 2 + 1 + 1 classes. Class 0 falls steadily, class 1 is best in stage 2.
AP = np.array([
    [.8, .6, nan, nan],
    [.6, .7, .9, nan],
    [.4, .6, .5, .7],
])
SPLIT = (2, 1, 1)
JOINT = np.array([.8, .8, .9, .7])


def near(expected, **kwargs):
    return pytest.approx(expected, nan_ok=True, **kwargs)


def test_group_ap():
    np.testing.assert_allclose(group_ap(AP, SPLIT), [[.7, nan, nan], [.65, .9, nan], [.5, .5, .7]])
    np.testing.assert_allclose(group_ap(AP[-1], (3, 1)), [.5, .7])
    with pytest.raises(ValueError, match='sums to 3, but there are 4'):
        group_ap(AP, (2, 1))
    with pytest.raises(ValueError, match='but there are 4'):
        group_ap(AP[-1], (2, 1))


def test_what_is_undefined_may_be_none():
    """As ``metrics.json`` has it, in plain lists."""
    chain = [[.8, None], [.4, .6]]
    np.testing.assert_array_equal(group_ap(chain, (1, 1)), [[.8, nan], [.4, .6]])
    assert forgetting(chain) == near([.4, nan])
    assert abs_gap(chain, [.8, None]) == near(.4) and abs_gap([.4, None], [.8, .6]) == near(.4)
    # Stage 1 compares .8 alone; stage 2 the means .5 and .7.
    assert omega(chain, [.8, .6]) == near((1 + .5 / .7) / 2)
    assert omega(chain, [.8, None]) == near((1 + .4 / .8) / 2)


def test_forgetting():
    assert forgetting(AP) == near([.8 - .4, .7 - .6, .9 - .5, nan])
    assert forgetting(group_ap(AP, SPLIT)) == near([.7 - .5, .9 - .5, nan])
    # What got better is a negative loss; one stage has lost nothing yet.
    assert forgetting([[.5], [.6]]) == near([-.1])
    assert forgetting(AP[:1, :2]) == near([nan, nan])


def test_fpp():
    assert fpp(AP, SPLIT) == near(.7 - .5)
    assert fpp(AP[:1, :2], (2, )) == 0


def test_gaps():
    # Means: joint 3.2 / 4, chain 2.2 / 4.
    assert abs_gap(AP, JOINT) == near(.8 - .55)
    assert rel_gap(AP, JOINT) == near(.25 / .8)
    assert abs_gap(AP[-1], JOINT) == abs_gap(AP, JOINT)
    assert abs_gap(100 * AP, 100 * JOINT) == near(25)
    # A class without AP in either counts in neither.
    assert abs_gap([.5, nan], [.7, .9]) == near(.2)
    assert rel_gap([0., 0.], [0., 0.]) == near(nan)
    assert rel_gap([.5], [0.]) == near(nan) and omega([[.5]], [0.]) == near(nan)  # no ratio to nothing, nor infinity
    assert rel_gap([50.], [80.]) == near(.375)
    with pytest.raises(ValueError, match='4 classes in the chain'):
        abs_gap(AP, JOINT[:3])


def test_omega():
    first, second, third = 1.4 / 1.6, 2.2 / 2.5, 2.2 / 3.2
    assert omega(AP, JOINT) == near((first + second + third) / 3)
    # A joint run for each stage.
    joint = np.array([[.7, .7, nan, nan], [.8, .7, .9, nan], JOINT])
    assert omega(AP, joint) == near((1.4 / 1.4 + 2.2 / 2.4 + third) / 3)
    assert omega(joint, joint) == near(1)


def test_deficits():
    assert rsd(AP, JOINT, SPLIT) == near((.4 / .8 + .2 / .8 + .4 / .9) / 3)
    assert rpd(AP, JOINT, SPLIT) == near(0)
    assert rpd(AP, JOINT, (2, 2)) == near((.4 / .9 + 0) / 2)
    with pytest.raises(ValueError, match=r'split = \(2, 1\) sums to 3, but there are 4 classes'):
        rsd(AP, JOINT, (2, 1))
    # Nothing to keep yet; a class that joint training misses has no rate.
    assert rsd(AP, JOINT, (4, )) == near(nan)
    assert rpd([.5, .1], [1., 0.], (2, )) == near(.5)


@pytest.mark.filterwarnings('error')
def test_chain_figures():
    figures = chain_figures(AP, SPLIT, JOINT)
    assert figures['forgetting'] == [near(.4), near(.1), near(.4), None]
    assert figures['group_forgetting'] == [near(.2), near(.4), None]
    assert figures['fpp'] == near(.2) and figures['abs_gap'] == near(.25)
    assert set(figures) == {'forgetting', 'group_forgetting', 'fpp', 'abs_gap', 'rel_gap', 'omega', 'rsd', 'rpd'}
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert set(chain_figures(AP, SPLIT)) == {'forgetting', 'group_forgetting', 'fpp'}
    assert chain_figures(AP[:1, :2], (2, ), JOINT[:2])['rsd'] is None


def test_ap_matrix():
    runs = [dict(per_class=dict(b=.5, a=None)), dict(per_class=dict(b=.4, a=.3, c=.2))]
    np.testing.assert_array_equal(ap_matrix(runs), [[.5, nan, nan], [.4, .3, .2]])
    np.testing.assert_array_equal(ap_matrix(runs, ('c', 'b')), [[nan, .5], [.2, .4]])
