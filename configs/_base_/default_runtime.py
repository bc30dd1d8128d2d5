custom_imports = dict(imports=['mmilmil'], allow_failed_imports=False)
default_scope = 'mmilmil'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Two, should a disk lose the latest.
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),
    # The project's own, here so that a config's `custom_hooks` does not take their place; of one priority in this order.
    work_dir_lock=dict(type='WorkDirLockHook'),
    random_state=dict(type='RandomStateHook'),
    structure=dict(type='StructureHook'),
    resume_check=dict(type='ResumeCheckHook'),
    stage_check=dict(type='StageCheckHook'),
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    precision=dict(type='PrecisionHook'),
    # Each process has batch norm statistics of its own; this averages them at the end of an epoch.
    sync_buffers=dict(type='SyncBuffersHook'),
    run_cost=dict(type='RunCostHook'),
    metrics_file=dict(type='MetricsFileHook'),
    final_model=dict(type='FinalModelHook'),
    model_card=dict(type='ModelCardHook'),
    # What the next stage replays; `per_class=0` keeps nothing.
    memory=dict(type='MemoryHook'))
custom_hooks = []

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
