custom_imports = dict(imports=['ahpcl'], allow_failed_imports=False)

default_hooks = dict(
    # As mmengine's, but it waits for a GPU once per logging interval.
    runtime_info=dict(type='DeferredInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # A checkpoint is written atomically; last_checkpoint names a good one.
    checkpoint=dict(
        type='AtomicCheckpointHook', interval=10, max_keep_ckpts=3
    ),
    # Augmentation by (seed, epoch, sample, view), so that a resume is exact.
    sampler_seed=dict(type='SampleSeedHook'),
    # Checkpoints that load with weights_only=True.
    plain_checkpoint=dict(type='SafeCheckpointHook'),
    # A checkpoint to start from that does not fit is refused.
    start_checkpoint=dict(type='StartCheckpointHook'),
    invalid_loss=dict(type='InvalidLossHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Seconds after which ranks give up on one that does not come; an E-step
    # on rank 0 must take less.
    dist_cfg=dict(backend='nccl', timeout=1800),
)

log_processor = dict(
    window_size=10,
    mean_pattern=r'.*(loss|time|data_time|grad_norm|acc_).*',
)
visualizer = dict(
    type='Visualizer',
    name='visualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ],
)

randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
