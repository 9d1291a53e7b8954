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
num_images = 3500
channels = 64
hidden = 128
rungs = [400, 200, 100, 50, 25, 10]
num_classes = 20
# Clusters of methods without a ladder.
num_labels = 200
warmup_epochs = 4
# Epochs of a rung: three advances take 9 at least and 15 at most.
longest_stay = 5
small_size = 16
get_data = 'CONTRIBUTING.md, "Data", says how to get TIN-100'
one_view_epochs = 20
small_scale = (0.05, 0.2)
swav_queue_len = 512
small_crops = 2
# Thin encoders need necks of their own (configs/_base_/methods).
thin = True
views_on_device = True

model = dict(
    queue_len=512,
    symmetric=True,
    backbone=dict(strides=(2, 2, 2)),
    head=dict(loss_inst=dict(temperature=0.1)),
    data_preprocessor=dict(
        type='DeviceViews', views=[_base_.view_pipeline], num_views=[2]
    ),
)

pretraining = dict(
    type='MiniImageNet',
    data_root=_base_.data_root,
    split='train',
    num_classes=20,
    train_per_class=175,
    test_per_class=50,
    decoded_cache='auto',
)
novel = dict(
    type='MiniImageNet',
    data_root=_base_.data_root,
    image_part='test',
    test_per_class=50,
    decoded_cache='auto',
)
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=64,
    **in_process,
    dataset=dict(
        _delete_=True,
        **pretraining,
        image_part='train',
        pipeline=_base_.raw_pipeline,
    ),
)
extract_dataloader = dict(
    **in_process,
    dataset=dict(
        _delete_=True,
        **pretraining,
        image_part='train',
        pipeline=_base_.extract_pipeline,
    ),
)
references = dict(
    **pretraining, image_part='train', pipeline=_base_.reference_pipeline
)
val_dataloader = dict(
    **in_process,
    dataset=dict(
        datasets=[
            references,
            dict(
                **pretraining,
                image_part='val',
                pipeline=_base_.query_pipeline,
            ),
        ]
    ),
)
test_dataloader = dict(
    **in_process,
    dataset=dict(
        datasets=[
            references,
            dict(
                **pretraining,
                image_part='test',
                pipeline=_base_.query_pipeline,
            ),
        ]
    ),
)
fewshot_loader = dict(
    batch_size=512,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
fewshot_dataloader = dict(
    val=dict(
        **fewshot_loader,
        dataset=dict(**novel, split='val', pipeline=_base_.query_pipeline),
    ),
    test=dict(
        **fewshot_loader,
        dataset=dict(**novel, split='test', pipeline=_base_.query_pipeline),
    ),
)

custom_hooks = [
    dict(
        _base_.cluster_hook,
        extract_dataloader=dict(
            batch_size=512,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='collate_batches'),
            **in_process,
            dataset=dict(
                **pretraining,
                image_part='train',
                pipeline=_base_.extract_pipeline,
            ),
        ),
        ladder=dict(type='ClusterLadder', rungs=rungs, window=3),
        policy=dict(
            type='SlidingWindowPolicy', length=2, max_epochs=longest_stay
        ),
        warmup_epochs=warmup_epochs,
    )
]
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=5e-4))
train_cfg = dict(max_epochs=20, val_interval=5)
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg')],
    fewshot=[dict(type='FewShotMetric', ways=5, shots=[1, 5])],
)
