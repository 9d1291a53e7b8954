# InstDisc's augmentation (Wu et al., CVPR 2018), MoCo v1's and PCL v1's: no
# blur, and colours that change in every image. These transforms follow a
# random crop.
instdisc = [
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
    dict(
        type='SafeColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.4,
    ),
    dict(type='RandomFlip', prob=0.5),
]
