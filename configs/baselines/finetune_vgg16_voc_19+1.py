# VOC2007 19+1, VGG16, by plain fine-tuning: the teacher's weights, the new data and nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_vgg16_voc_19+1.py'
model = dict(distiller=None, merging=None)
