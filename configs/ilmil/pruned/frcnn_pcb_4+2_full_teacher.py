# DeepPCB 4+2 with the full teacher and a student that starts from the pruned and recovered detector.
_base_ = '../frcnn_pcb_4+2.py'
model = dict(pruned='work_dirs/frcnn_pcb_4_recover/final.pth')
