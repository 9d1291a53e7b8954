# The protocol for one GPU, image split: TIN-100 at 64 px, ResNet-18, 200
# epochs, for kNN, linear classification and clustering.
#
# All 100 classes; pre-training on images 1 to 175 of each, choices on 176 to
# 200, the final table on 201 to 250. The recipe is that of ahpcl_tin100.py,
# with the symmetric loss, augmentation on the GPU and bfloat16.
_base_ = '../../ahpcl_tin100.py'
num_images = 17500
channels = 512
hidden = 512
rungs = _base_.cluster_hook.ladder.rungs
num_classes = 100
# Clusters of methods without a ladder.
num_labels = 200
warmup_epochs = 20
longest_stay = _base_.cluster_hook.policy.max_epochs
small_size = 32
small_crops = 6
get_data = 'CONTRIBUTING.md, "Data", says how to get TIN-100'
one_view_epochs = 200
small_scale = (0.05, 0.2)
swav_queue_len = 1024
thin = False
views_on_device = True

model = dict(
    symmetric=True,
    data_preprocessor=dict(
        type='DeviceViews', views=[_base_.view_pipeline], num_views=[2]
    ),
)
images = dict(
    type='MiniImageNet',
    data_root=_base_.data_root,
    protocol='image',
    train_per_class=175,
    test_per_class=50,
    decoded_cache='auto',
)
training_images = dict(
    **images, split='train', pipeline=_base_.extract_pipeline
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **images,
        split='train',
        pipeline=_base_.raw_pipeline,
    )
)
extract_dataloader = dict(dataset=dict(_delete_=True, **training_images))
references = dict(**images, split='train', pipeline=_base_.reference_pipeline)
val_dataloader = dict(
    dataset=dict(
        datasets=[
            references,
            dict(**images, split='val', pipeline=_base_.query_pipeline),
        ]
    )
)
test_dataloader = dict(
    dataset=dict(
        datasets=[
            references,
            dict(**images, split='test', pipeline=_base_.query_pipeline),
        ]
    )
)
custom_hooks = [
    dict(
        _base_.cluster_hook,
        extract_dataloader=dict(
            _base_.extract_dataloader,
            dataset=training_images,
        ),
    )
]
optim_wrapper = dict(type='BF16OptimWrapper')
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg')],
)
