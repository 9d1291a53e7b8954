# FCN on VOC12 from a ResNet-50 of ours, for mmsegmentation's train.py. The
# file is written by tools/model_converters/extract_backbone.py, for mmpretrain
# (--to).
_base_ = 'mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py'
model = dict(
    pretrained=None,
    backbone=dict(
        # Not its ResNetV1c: that has another stem, which our weights lack.
        type='ResNet',
        init_cfg=dict(
            type='Pretrained', checkpoint='r50.pth', prefix='backbone.'
        ),
    ),
)
