# ResNet-50 with ImageNet weights, as MMDetection's detectors have it: what a full-size detector says of its backbone.
resnet50 = dict(
    depth=50,
    base_channels=64,
    frozen_stages=1,
    norm_eval=True,
    # torchvision://resnet50, which MMDetection names here, is this file.
    init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth'))
resnet50_channels = [256, 512, 1024, 2048]
