# AHPCL that learns its clusters as DeepCluster does (Caron et al., ECCV 2018):
# clusters are of whitened features before the projection, and the prototypes
# of a level are the weights of a classifier, which starts anew with every
# E-step. Instance contrast, ladder and policy are AHPCL's.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
_base_.pop('data')
model = dict(
    cluster_space='whitened',
    head=dict(
        loss_proto=dict(
            _delete_=True,
            type='ClusterClassifierLoss',
            num_clusters=_base_.custom_hooks[0].ladder.rungs[0],
        ),
        proto_weight=3.0,
    ),
)
# As in configs/baselines/deepcluster.py: a classifier that starts anew has few
# steps to learn many clusters, and no momentum from those before.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={'head.loss_proto': dict(lr_mult=10.0, momentum=0.0)}
    )
)
