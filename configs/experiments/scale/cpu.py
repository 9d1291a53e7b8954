# The protocol for a CPU: 3,500 images of TIN-100 at 32 px, 20 epochs.
#
# 20 of the 64 training classes, images 1 to 175 of each. Choices are made on
# images 176 to 200, the final table is of 201 to 250; few-shot episodes are of
# the classes of val.csv and test.csv. Every method sees every image as often.
# MoCo v2 learns at this size with a symmetric loss, tau = 0.1, a small queue
# and a quick key encoder.
_base_ = [
    '../../_base_/models/ahpcl_thin.py',
    '../../_base_/datasets/tin100_32px.py',
    '../../_base_/schedules/ahpcl_200e.py',
    '../../_base_/default_runtime.py',
]
data = dict(
    images=3500,
    classes=20,
    thin=True,
    labels=dict(deepcluster=200, odc=200, sela=200, swav=200),
    small_views=dict(number=2, size=16, scale=(0.05, 0.2)),
    swav=dict(queue_len=512, queue_start_epoch=4, freeze_iters=54),
    pcl_shares=(51, 26, 13, 78),
)
get_data = 'CONTRIBUTING.md, "Data", says how to get TIN-100'

model = dict(
    queue_len=512,
    symmetric=True,
    backbone=dict(strides=(2, 2, 2)),
    head=dict(loss_inst=dict(temperature=0.1)),
    data_preprocessor=_base_.data.device_views,
)

__images = dict(
    type='MiniImageNet',
    data_root=_base_.data_root,
    decoded_cache='auto',
    test_per_class=50,
)
__pretraining = dict(
    __images, split='train', num_classes=20, train_per_class=175
)
__train, __val, __test = (
    dict(__pretraining, image_part=part) for part in ('train', 'val', 'test')
)
__in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=64,
    **__in_process,
    dataset=dict(__train, pipeline=_base_.data.train_pipeline, _delete_=True),
)
extract_dataloader = dict(
    **__in_process,
    dataset=dict(
        __train, pipeline=_base_.data.extract_pipeline, _delete_=True
    ),
)
val_dataloader = dict(
    **__in_process, dataset=_base_.data.pair(_base_.data, __train, __val)
)
test_dataloader = dict(
    **__in_process, dataset=_base_.data.pair(_base_.data, __train, __test)
)
fewshot_dataloader = {
    part: dict(
        batch_size=512,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            __images,
            image_part='test',
            split=part,
            pipeline=_base_.data.query_pipeline,
        ),
    )
    for part in ('val', 'test')
}

custom_hooks = [
    dict(
        _base_.pop('cluster_hook'),
        extract_dataloader=dict(
            batch_size=512,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='collate_batches'),
            **__in_process,
            dataset=dict(__train, pipeline=_base_.data.extract_pipeline),
        ),
        ladder=dict(
            type='ClusterLadder', rungs=[400, 200, 100, 50, 25, 10], window=3
        ),
        # Epochs of a rung: three advances take 9 at least and 15 at most.
        policy=dict(type='SlidingWindowPolicy', length=2, max_epochs=5),
        # As its rows were planned: the best of five starts, every epoch.
        clustering=dict(type='KMeansClustering', n_iter=20, n_init=5),
        interval=1,
        warmup_epochs=4,
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=5e-4))
train_cfg = dict(max_epochs=20, val_interval=5)
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg')],
    fewshot=[dict(type='FewShotMetric', ways=5, shots=[1, 5])],
)
