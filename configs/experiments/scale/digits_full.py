# The digits, trained to their end: configs/ahpcl_digits.py with one start of
# k-means and warm starts between, as everywhere in these protocols.
#
# Of the 1,442 training images 1,157 are trained on, choices are made on the
# other 285, the final table is of the 355 test images.
_base_ = '../../ahpcl_digits.py'
num_images = 1157
channels = 64
hidden = 128
rungs = [200, 100, 50, 25, 10, 5]
num_classes = 10
num_labels = 100
warmup_epochs = 1
one_view_epochs = 30
longest_stay = 6
small_size = 10
small_scale = (0.3, 0.6)
small_crops = 2
swav_queue_len = 256
thin = True
views_on_device = False

fit_set = dict(type='Digits', img_size=16, split='fit')
val_set = dict(type='Digits', img_size=16, split='val')
test_set = dict(type='Digits', img_size=16, split='test')
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **in_process,
    dataset=dict(_delete_=True, **fit_set, pipeline=_base_.train_pipeline),
)
extract_dataloader = dict(
    dataset=dict(_delete_=True, **fit_set, pipeline=_base_.extract_pipeline)
)
references = dict(**fit_set, pipeline=_base_.reference_pipeline)
val_dataloader = dict(
    dataset=dict(
        datasets=[
            references,
            dict(**val_set, pipeline=_base_.query_pipeline),
        ]
    )
)
test_dataloader = dict(
    dataset=dict(
        datasets=[
            references,
            dict(**test_set, pipeline=_base_.query_pipeline),
        ]
    )
)
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(
            _base_.extract_dataloader,
            dataset=dict(**fit_set, pipeline=_base_.extract_pipeline),
        ),
        clustering=dict(type='KMeansClustering', n_init=1, warm_start=True),
    )
]
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg', grid=[0.1])],
    fewshot=[dict(type='FewShotMetric', ways=5, shots=[1, 5], episodes=500)],
)
