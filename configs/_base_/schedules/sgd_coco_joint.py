# SGD for all classes at once on COCO 2017: the 1x schedule, with which the literature trains its upper bound too.
_base_ = './sgd_coco.py'
