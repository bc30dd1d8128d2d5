# COCO 2017 40+40, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and nothing that keeps
# the old classes.
_base_ = '../ilmil/frcnn_coco_40+40.py'
model = dict(distiller=None, merging=None)
