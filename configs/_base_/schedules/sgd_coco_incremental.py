# SGD for a later stage on COCO 2017: the first stage's schedule once more, as in ERD (https://github.com/Hi-FT/ERD,
# configs/gfl_increment). Unlike on VOC2007 even a stage of few classes has thousands of images.
_base_ = './sgd_coco.py'
