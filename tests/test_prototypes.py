"""Regional prototypes: by hand on a few tensors."""

import torch
from tiny import OLD

from mmilmil.models.memory import FeatureMemory
from mmilmil.models.prototypes import prototypes, prototypes_of
from mmilmil.models.replay import FeatureReplay

# Around two directions, three and two tensors, and one alone; as (2, 1, 1) RoI tensors.
X, Y = [1.0, 0.0], [0.0, 1.0]
SIX = torch.tensor([Y, X, [2.0, 0.2], [0.8, 0.0], [0.0, 3.0], [-1.0, -1.0]])[:, :, None, None]


def flat(found):
    return found.flatten(1).tolist()


def close(found, wanted):
    return torch.allclose(found.flatten(1), torch.tensor(wanted), atol=1e-6)


def test_coarse_and_fine_ones():
    """Tensors 1, 2, 3 are neighbours, and 0 and 4; of six two, 5 and 4, have the fewest neighbours and are no centres."""
    found = prototypes(SIX)
    assert close(found, [[2.8 / 6, 3.2 / 6], [3.8 / 3, 0.2 / 3], [0.0, 2.0]])
    assert close(prototypes(SIX, limit=2), [[2.8 / 6, 3.2 / 6], [3.8 / 3, 0.2 / 3]])
    assert close(prototypes(SIX, limit=1), [[2.8 / 6, 3.2 / 6]])


def test_neighbours_are_told_by_the_cosine():
    """(2, 0.2) has a cosine of 0.995 with (1, 0): with 0.999 it is alone, and one of the two that are no centres."""
    assert close(prototypes(SIX, similarity=0.999)[1:], [[0.0, 2.0], [0.9, 0.0]])
    assert close(prototypes(SIX[:1]), [Y, Y])
    # (0, 1) and (1.2, 1.6) have a cosine of 0.8, (1, 0) and (1.2, 1.6) one of 0.6.
    three = torch.tensor([X, [1.2, 1.6], Y])[:, :, None, None]
    assert close(prototypes(three, similarity=0.59)[1:], [[2.2 / 3, 2.6 / 3]])
    assert close(prototypes(three, similarity=0.7)[1:], [[0.6, 1.3]])


def test_at_most_ten_of_a_class():
    found = prototypes(torch.eye(30)[:, :, None, None])
    assert len(found) == 10 and flat(found[1:]) == torch.eye(30)[:9].tolist()


def test_of_a_memory():
    labels = torch.tensor([0, 0, 1, 3, 3])
    memory = FeatureMemory(torch.cat([SIX[1:2], SIX[4:5], SIX[:1], SIX[2:4]]), labels, OLD, 'hash')
    found = prototypes_of(memory)
    assert found.labels.tolist() == [0, 0, 0, 1, 1] and found.classes == OLD and found.teacher == 'hash'
    assert close(found.features, [[0.5, 1.5], X, [0.0, 3.0], Y, Y])
    assert len(prototypes_of(FeatureMemory(SIX[:0], labels[:0], OLD, 'hash'))) == 0


def test_replay_shows_them():
    memory = FeatureMemory(SIX, torch.tensor([0, 0, 0, 0, 0, 3]), OLD, 'hash')
    assert FeatureReplay().shown(memory) is memory
    replay = FeatureReplay(prototypes=True)
    found = replay.shown(memory)
    assert found.labels.tolist() == [0, 0, 0] and replay.shown(memory) is found
    assert close(found.features[1:], [[3.8 / 3, 0.2 / 3], [0.0, 2.0]])
