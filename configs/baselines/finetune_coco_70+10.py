# COCO 2017 70+10, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and nothing that keeps
# the old classes.
_base_ = '../ilmil/frcnn_coco_70+10.py'
model = dict(distiller=None, merging=None)
