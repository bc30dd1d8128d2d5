# DeepPCB 4+2 with a pruned teacher and a student of the same structure.
_base_ = '../frcnn_pcb_4+2.py'
final = 'work_dirs/frcnn_pcb_4_recover/final.pth'

model = dict(
    pruned=final, teacher=dict(config='{{ fileDirname }}/../../pruning/frcnn_pcb_4_recover.py', checkpoint=final))
