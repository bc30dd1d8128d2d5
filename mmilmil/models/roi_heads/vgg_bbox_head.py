"""The two fully connected layers of VGG16 as a box head."""

from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from torch import nn

from ...registry import MODELS

# torchvision's fc6 and fc7, and what they are called in MMDetection's head.
_TORCHVISION_NAMES = {'classifier.0.': 'shared_fcs.0.', 'classifier.3.': 'shared_fcs.1.'}


@MODELS.register_module()
class VGGBBoxHead(Shared2FCBBoxHead):
    """``Shared2FCBBoxHead`` of width 4096 with VGG's dropout after each layer.

    Dropout has no parameters: a checkpoint fits the stock ``Shared2FCBBoxHead(fc_out_channels=4096)`` and gives the same
    detections there. torchvision's ``classifier`` layers load as fc6 and fc7, with 512 channels and a RoI of 7 x 7:
    ``init_cfg=[dict(type='Normal', std=0.01, override=dict(name='fc_cls')), dict(type='Normal', std=0.001,
    override=dict(name='fc_reg')), dict(type='Pretrained', checkpoint=URL)]``, the file that the backbone takes.

    Args:
        fc_out_channels (int): Width of both layers.
        dropout (float): Probability of dropping a value in training.
        **kwargs: As for ``Shared2FCBBoxHead``.
    """

    def __init__(self, fc_out_channels: int = 4096, dropout: float = 0.5, **kwargs) -> None:
        super().__init__(fc_out_channels=fc_out_channels, **kwargs)
        # The parent calls self.relu after each shared layer and, having no other layers, nowhere else.
        self.relu = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(dropout))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        for theirs, ours in _TORCHVISION_NAMES.items():
            for key in [k for k in state_dict if k.startswith(prefix + theirs)]:
                state_dict[prefix + ours + key[len(prefix + theirs):]] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)
