# What all data sets share: how an image becomes an input, and the loaders.
#
# `data` is for the configs that inherit a data set: its number of images, its
# pipelines, and functions that make both. The last config of the chain takes
# it away (`_base_.pop('data')`), so that it is not part of any run.
#
# The framework is mmselfsup, or MMPretrain where mmselfsup is not installed.
_base_ = '../frameworks/{}.py'.format(
    'mmselfsup'
    if __import__('importlib.util').util.find_spec('mmselfsup')
    else 'mmpretrain'
)
__load = dict(type='LoadImageBGR')
__pack = dict(_base_.data.pack, algorithm_keys=['sample_idx'])


def __role(fit, role):
    keys = ['sample_idx', 'gt_label']
    pack = dict(__pack, algorithm_keys=keys, meta_keys=['role'])
    return [__load, *fit, dict(type='SetRole', role=role), pack]


def __pipelines(view, fit=()):
    """All pipelines of a view; `fit` brings an image to size without it."""
    return dict(
        view_pipeline=view,
        # Images as they are: the model's preprocessor makes the views.
        train_pipeline=[__load, __pack],
        device_views=dict(type='DeviceViews', views=[view], num_views=[2]),
        extract_pipeline=[__load, *fit, __pack],
        reference_pipeline=__role(fit, 'reference'),
        query_pipeline=__role(fit, 'query'),
    )


def __pair(data, references, queries):
    """Labelled images that vote, and the images that they vote on."""
    return dict(
        type='ConcatDataset',
        datasets=[
            dict(references, pipeline=data['reference_pipeline']),
            dict(queries, pipeline=data['query_pipeline']),
        ],
    )


def __views(config):
    """Where a config has its views: on the device, or in the pipeline."""
    on_device = config.model.data_preprocessor
    if 'views' in on_device:
        return on_device
    return config.train_dataloader.dataset.pipeline[1]


def __views_on_cpu(config):
    """Let the data set make the views, image by image, in its workers."""
    on_device = config.model.data_preprocessor
    on_device.type = 'ViewPreprocessor'
    views = {name: on_device.pop(name) for name in ('views', 'num_views')}
    dataset = config.train_dataloader.dataset
    load, pack = dataset.pipeline
    dataset.pipeline = [load, dict(type='SeededMultiView', **views), pack]


def __one_view(config):
    """Every image is seen once in an epoch."""
    __views(config).num_views = [1]


def __add_small_views(config, data):
    """Small crops, which are otherwise changed as the two views are."""
    views = __views(config)
    small = data.small_views
    crop = _base_.data.crop(small.size, small.scale)
    views.views.append([crop, *views.views[0][1:]])
    views.num_views = [2, small.number]


def __classify_clusters(config, ladder):
    """Learn clusters as DeepCluster does (Caron et al., ECCV 2018).

    Clusters are of whitened features before the projection, and the prototypes
    of a level are the weights of a classifier, which starts anew with every
    E-step. Instance contrast, ladder and policy stay.
    """
    config.model.cluster_space = 'whitened'
    config.model.head.loss_proto = dict(
        type='ClusterClassifierLoss',
        num_clusters=ladder.get('finest') or max(ladder.rungs),
    )
    config.model.head.proto_weight = 3.0
    # A classifier that starts anew has few steps to learn many clusters, and
    # no momentum from those before.
    config.optim_wrapper.update(
        constructor='GroupedConstructor',
        paramwise_cfg=dict(
            custom_keys={'head.loss_proto': dict(lr_mult=10.0, momentum=0.0)}
        ),
    )


data = dict(
    pipelines=__pipelines,
    pair=__pair,
    views_on_cpu=__views_on_cpu,
    one_view=__one_view,
    add_small_views=__add_small_views,
    classify_clusters=__classify_clusters,
)

train_dataloader = dict(
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='collate_batches'),
)
extract_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='collate_batches'),
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='KNNMetric', k=20)]
val_cfg = dict()
test_cfg = dict()
