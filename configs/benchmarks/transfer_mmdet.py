# Mask R-CNN on COCO from a ResNet-50 of ours, for mmdetection's train.py. The
# file is written by tools/model_converters/extract_backbone.py, for
# mmdetection (--to).
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
__norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    # As mmselfsup's transfer: nothing frozen, batch norm trained everywhere.
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=__norm_cfg,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='r50.pth'),
    ),
    neck=dict(norm_cfg=__norm_cfg),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=__norm_cfg),
        mask_head=dict(norm_cfg=__norm_cfg),
    ),
)
