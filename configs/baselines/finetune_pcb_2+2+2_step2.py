# Third stage of DeepPCB 2+2+2, small R18-FPN, by plain fine-tuning: the earlier detector's weights, the new data and
# nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_pcb_2+2+2_step2.py'

model = dict(
    distiller=None,
    merging=None,
    teacher=dict(
        config='{{ fileDirname }}/finetune_pcb_2+2+2_step1.py',
        checkpoint='work_dirs/finetune_pcb_2+2+2_step1/final.pth'))
