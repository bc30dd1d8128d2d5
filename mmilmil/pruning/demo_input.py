"""What MMRazor's tracer shows a detector."""

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from mmrazor.models.task_modules.demo_inputs import BaseDemoInput
from mmrazor.registry import TASK_UTILS


@TASK_UTILS.register_module()
class DetectionDemoInput(BaseDemoInput):
    """One image of noise with one object of class 0.

    MMRazor's own input for detectors draws labels up to 9 and masks, which a detector with few classes and no mask head
    cannot take.
    """

    def _get_data(self, model, input_shape, training) -> dict:
        height, width = input_shape[2:]
        sample = DetDataSample(
            metainfo=dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0)),
            gt_instances=InstanceData(
                bboxes=torch.tensor([[0.0, 0.0, width / 2, height / 2]]), labels=torch.zeros(1, dtype=torch.long)),
            ignored_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)))
        data = dict(inputs=[torch.zeros(3, height, width, dtype=torch.uint8)], data_samples=[sample])
        return dict(model.data_preprocessor(data, bool(training)), mode='loss')
