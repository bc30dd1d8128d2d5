# VOC2007 19+1, VGG16, the setting of the ILMIL paper, in the paper's own form of distillation.
_base_ = ['./frcnn_vgg16_voc_19+1.py', '../_base_/distillers/ilmil_paper.py']
model = dict(distiller=_base_.paper_distiller, merging=_base_.paper_merging)
