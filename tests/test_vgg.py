"""VGG16, its neck and its box head."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from torch import nn

from mmilmil import InputError
from mmilmil.models import losses  # noqa: F401  registers UnbiasedCrossEntropyLoss
from mmilmil.models.backbones import VGG16
from mmilmil.models.necks import SelectLevels
from mmilmil.models.roi_heads import VGGBBoxHead
from mmilmil.registry import MODELS

TINY = ((4, 4), (4, 4), (6, 6, 6), (8, 8, 8), (8, 8, 10))
# Where torchvision's vgg16().features has its convolutions.
CONV_INDICES = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]


@pytest.mark.parametrize('size', [64, 75])
def test_shapes_and_strides(size):
    outs = VGG16(out_indices=(0, 1, 2, 3, 4), channels=TINY)(torch.rand(2, 3, size, size))
    expected = [(2, w[-1], size // s, size // s) for w, s in zip(TINY, (2, 4, 8, 16, 16))]
    assert [tuple(o.shape) for o in outs] == expected


def test_default_returns_stages_4_and_5_at_the_paper_widths():
    net = VGG16()
    assert [tuple(o.shape) for o in net(torch.rand(1, 3, 32, 32))] == [(1, 512, 2, 2), (1, 512, 2, 2)]
    assert sum(p.numel() for p in net.parameters()) == 14_714_688  # torchvision's vgg16().features


def test_output_survives_the_next_stage():
    """In-place ReLUs must not write into a map that a hint keeps."""
    net = VGG16(out_indices=(2, 3, 4), channels=TINY, frozen_stages=0)
    image = torch.rand(1, 3, 32, 32)
    outs = net(image)
    assert torch.equal(outs[0], net.features[:net._level_ends[2]](image))
    sum(o.sum() for o in outs).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_frozen_stages():
    net = VGG16(channels=TINY, frozen_stages=2)
    net.train()
    frozen = [int(n.split('.')[1]) for n, p in net.named_parameters() if not p.requires_grad]
    assert sorted(set(frozen)) == [0, 2, 5, 7]
    net.init_weights()
    assert not net.features[0].weight.requires_grad


def test_builds_only_what_is_returned():
    net = VGG16(channels=TINY, out_indices=(1, 3), frozen_stages=0)
    assert len(net(torch.rand(1, 3, 32, 32))) == 2
    assert len(net.features) == 24  # up to and with pool4


@pytest.mark.parametrize('kwargs', [dict(out_indices=()), dict(out_indices=(5, )), dict(out_indices=(4, 3)),
                                    dict(frozen_stages=6), dict(frozen_stages=-1)])
def test_bad_arguments(kwargs):
    with pytest.raises(InputError, match='must'):
        VGG16(channels=TINY, **kwargs)


def _torchvision_like(channels, fc=None):
    """A state dict with torchvision's names."""
    state, last = {}, 3
    for index, width in zip(CONV_INDICES, [w for stage in channels for w in stage]):
        state[f'features.{index}.weight'] = torch.randn(width, last, 3, 3)
        state[f'features.{index}.bias'] = torch.randn(width)
        last = width
    for index, (n_in, n_out) in zip((0, 3, 6), fc or ()):
        state[f'classifier.{index}.weight'] = torch.randn(n_out, n_in)
        state[f'classifier.{index}.bias'] = torch.randn(n_out)
    return state


def test_names_are_those_of_torchvision():
    torchvision = pytest.importorskip('torchvision')
    with torch.device('meta'):
        theirs = torchvision.models.vgg16(weights=None).features.state_dict()
    ours = VGG16().features.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_pretrained_init_loads_backbone_and_head(tmp_path):
    state = _torchvision_like(TINY, fc=((10 * 9, 12), (12, 12), (12, 1000)))
    path = str(tmp_path / 'vgg16.pth')
    torch.save(state, path)
    net = VGG16(channels=TINY, init_cfg=dict(type='Pretrained', checkpoint=path))
    net.init_weights()
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name]), name
    normal = [dict(type='Normal', std=s, override=dict(name=n)) for n, s in (('fc_cls', 0.01), ('fc_reg', 0.001))]
    head = VGGBBoxHead(fc_out_channels=12, in_channels=10, roi_feat_size=3, num_classes=2,
                       init_cfg=[*normal, dict(type='Pretrained', checkpoint=path)])
    head.init_weights()
    assert torch.equal(head.shared_fcs[0].weight, state['classifier.0.weight'])
    assert torch.equal(head.shared_fcs[1].bias, state['classifier.3.bias'])
    assert head.fc_cls.weight.shape == (3, 12) and head.fc_cls.weight.std() < 0.05


def test_head_loads_torchvision_names_inside_a_larger_model():
    """The prefix of an enclosing model must not hide the names, and the caller's dict must stay as it was."""
    model = nn.ModuleDict(dict(head=VGGBBoxHead(fc_out_channels=12, in_channels=2, roi_feat_size=1, num_classes=2)))
    state = {f'head.{k}': v for k, v in _torchvision_like((), fc=((2, 12), (12, 12))).items()}
    model.load_state_dict(state, strict=False)
    assert torch.equal(model['head'].shared_fcs[1].weight, state['head.classifier.3.weight'])


def test_head_is_the_stock_head_but_for_dropout():
    register_all_modules(init_default_scope=False)
    args = dict(fc_out_channels=64, in_channels=4, roi_feat_size=2, num_classes=2)
    head, stock = VGGBBoxHead(**args), MODELS.build(dict(type='mmdet.Shared2FCBBoxHead', **args))
    stock.load_state_dict(head.state_dict(), strict=True)
    x = torch.randn(3, 4, 2, 2)
    with torch.no_grad():
        for ours, theirs in zip(head.eval()(x), stock(x)):
            assert torch.equal(ours, theirs)
        assert not torch.equal(head.train()(x)[0], stock(x)[0])


def test_select_levels():
    maps = tuple(torch.rand(1, c, 2, 2) for c in (1, 2, 3))
    assert SelectLevels()(maps) == (maps[2], )
    assert SelectLevels(indices=(2, 0))(maps) == (maps[2], maps[0])
    with pytest.raises(InputError, match='returns 3 maps'):
        SelectLevels(indices=(3, ))(maps)


def _faster_rcnn():
    sampler = dict(type='RandomSampler', pos_fraction=0.5, neg_pos_ub=-1)
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, ignore_iof_thr=-1)
    rpn_assigner = dict(assigner, pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True)
    proposals = dict(nms_pre=100, max_per_img=50, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0)
    return MODELS.build(
        ConfigDict(
            type='FasterRCNN',
            data_preprocessor=dict(type='DetDataPreprocessor'),
            backbone=dict(type='VGG16', channels=TINY, frozen_stages=2),
            neck=dict(type='SelectLevels'),
            rpn_head=dict(
                type='RPNHead',
                in_channels=10,
                feat_channels=8,
                anchor_generator=dict(type='AnchorGenerator', scales=[1, 2, 4], ratios=[0.5, 1, 2], strides=[16])),
            roi_head=dict(
                type='StandardRoIHead',
                bbox_roi_extractor=dict(
                    type='SingleRoIExtractor',
                    roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=0),
                    out_channels=10,
                    featmap_strides=[16]),
                bbox_head=dict(
                    type='VGGBBoxHead', fc_out_channels=16, in_channels=10, roi_feat_size=3, num_classes=3,
                    loss_cls=dict(type='UnbiasedCrossEntropyLoss', num_old_classes=2))),
            train_cfg=dict(
                rpn=dict(
                    assigner=rpn_assigner, sampler=dict(sampler, num=32, add_gt_as_proposals=False), allowed_border=-1,
                    pos_weight=-1, debug=False),
                rpn_proposal=proposals,
                rcnn=dict(
                    assigner=dict(assigner, match_low_quality=False),
                    sampler=dict(sampler, num=16, add_gt_as_proposals=True), pos_weight=-1, debug=False)),
            test_cfg=dict(rpn=proposals, rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5),
                                                   max_per_img=10))))


def test_faster_rcnn_trains_one_step(tmp_path):
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmilmil'):
        model = _faster_rcnn()
    model.train()
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), batch_input_shape=(64, 64), scale_factor=(1., 1.),
                                         ori_shape=(64, 64), pad_shape=(64, 64)))
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[8., 8., 40., 40.]]), labels=torch.tensor([2]))
    found = model.loss(torch.rand(1, 3, 64, 64), [sample])
    total, logged = model.parse_losses(found)
    assert {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'} <= set(logged)
    assert torch.isfinite(total) and found['loss_cls'] > 0
    total.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert model.backbone.features[0].weight.grad is None
    assert model.roi_head.bbox_head.fc_cls.weight.grad.abs().sum() > 0

    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    load_checkpoint(model, str(tmp_path / 'a.pth'), strict=True)
