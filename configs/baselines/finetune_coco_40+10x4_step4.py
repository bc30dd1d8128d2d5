# Fifth stage of COCO 2017 40+10x4, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and
# nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_coco_40+10x4_step4.py'

model = dict(
    distiller=None,
    merging=None,
    teacher=dict(
        config='{{ fileDirname }}/finetune_coco_40+10x4_step3.py',
        checkpoint='work_dirs/finetune_coco_40+10x4_step3/final.pth'))
