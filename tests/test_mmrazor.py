"""MMRazor imports on this stack and prunes a detector that then runs on its own."""

import subprocess
import sys

import pytest
import torch
from mmdet.models.detectors import FasterRCNN
from mmengine.registry import DefaultScope
from tiny import batch, build, stock_cfg


def test_mmrazor_imports_in_a_fresh_process():
    code = 'import mmilmil, mmrazor.models, mmrazor.structures; print(mmrazor.__version__)'
    assert subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True).stdout.strip() == '1.0.0'


def test_the_stand_in_says_what_is_missing_when_it_is_used():
    import mmrazor.models  # noqa: F401
    from mmrazor.structures.quantization import QConfigHandler
    with pytest.raises(RuntimeError, match='QConfigHandler cannot be used: .*torch < 2.0'):
        QConfigHandler({})


def test_prunes_a_detector_to_a_static_one():
    from mmrazor.models.algorithms import ItePruneAlgorithm
    from mmrazor.structures import export_fix_subnet

    from mmilmil.pruning import DetectionDemoInput
    detector = build(stock_cfg(3))
    before = sum(weight.numel() for weight in detector.parameters())
    with DefaultScope.overwrite_default_scope('mmrazor'):
        algorithm = ItePruneAlgorithm(
            detector,
            mutator_cfg=dict(
                type='ChannelMutator',
                channel_unit_cfg=dict(type='L1MutableChannelUnit', default_args=dict(choice_mode='ratio')),
                parse_cfg=dict(
                    type='ChannelAnalyzer', demo_input=DetectionDemoInput((1, 3, 64, 64)), tracer_type='FxTracer')))
    mutator = algorithm.mutator
    units = mutator.mutable_units
    assert len(units) > 5
    mutator.set_choices({unit.name: 0.5 for unit in units})
    _, static = export_fix_subnet(algorithm, export_subnet_mode='mutator', slice_weight=True)
    pruned = static.architecture
    after = sum(weight.numel() for weight in pruned.parameters())
    assert after < 0.5 * before
    assert type(pruned) is FasterRCNN
    inputs, samples = batch()
    with torch.no_grad():
        masked, cut = algorithm.architecture.eval(), pruned.eval()
        for mine, theirs in zip(cut.extract_feat(inputs), masked.extract_feat(inputs)):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        assert len(cut.predict(inputs, samples)) == 2
