"""What a card says of its images: what they are, their licence, its limits."""

from __future__ import annotations

from dataclasses import dataclass

CODE_LICENCE = 'apache-2.0'
_OTHER = 'other'
_TOO_SMALL = (
    'It is for reproducing the table, and for comparing methods with as '
    'little computation; take an encoder that was trained on many more '
    'images for anything else.'
)


@dataclass(frozen=True)
class ImageSet:
    """The images of a scale of the experiments.

    Attributes:
        name: Name of the card's file, and of the encoder's.
        title: Name of the images.
        parts: What was trained on and what was measured on.
        licence: Of the card, as hubs name licences.
        licence_name: Further name that hubs ask for where it is 'other'.
        data_licence: Whose images they are, and under which terms.
        limits: What the encoder is not for.
    """

    name: str
    title: str
    parts: str
    licence: str
    licence_name: str | None
    data_licence: str
    limits: tuple[str, ...]


SETS = {
    'digits_full': ImageSet(
        name='digits',
        title='digits of scikit-learn',
        parts='1,157 of the 1,442 training images at 16 px were trained on; '
        'choices were made on the other 285, on which all figures are.',
        licence=CODE_LICENCE,
        licence_name=None,
        data_licence="scikit-learn's `load_digits`: the test part of "
        '*Optical Recognition of Handwritten Digits* (E. Alpaydin and '
        'C. Kaynak, UCI Machine Learning Repository, 1998, '
        '<https://doi.org/10.24432/C50P49>), under CC BY 4.0: name them.',
        limits=(
            'Digits of 8 x 8 px, enlarged to 16. Nothing was measured on '
            'other images, of digits or of anything else.',
            _TOO_SMALL,
        ),
    ),
    'cifar10': ImageSet(
        name='cifar10',
        title='CIFAR-10',
        parts='images 0 to 1999 of each of the ten classes at 32 px were '
        'trained on; choices were made on images 4500 to 4999 of each class, '
        'on which all figures are. The images were stored as JPEG, so that '
        'figures differ a little from those of the original pixels.',
        licence=_OTHER,
        licence_name='cifar-10-without-explicit-licence',
        data_licence='CIFAR-10 comes without an explicit licence. Its authors '
        'ask to cite A. Krizhevsky, *Learning Multiple Layers of Features '
        'from Tiny Images*, technical report, University of Toronto, 2009. '
        'The images were collected from the web and have owners of their '
        'own.',
        limits=(
            'A thin net that saw two fifths of the training images for few '
            'epochs: far below what is published for CIFAR-10.',
            'Photographs of ten kinds at 32 px; others were not measured.',
            _TOO_SMALL,
        ),
    ),
    'cpu': ImageSet(
        name='tin100',
        title='TIN-100, a part of Tiny ImageNet',
        parts='3,500 images of 20 classes at 32 px were trained on; choices '
        'were made on 500 others of these classes, on which all figures are '
        'unless the test part is named (1,000 others, few-shot episodes of '
        'other classes).',
        licence=_OTHER,
        licence_name='imagenet-non-commercial-research',
        data_licence='Tiny ImageNet is a part of ImageNet, whose terms allow '
        'non-commercial research and education only '
        '(<https://image-net.org/download>); the images have owners of their '
        'own. Whether weights trained on them may be used otherwise is a '
        'question for a lawyer.',
        limits=(
            'A scale at which a CPU trains in minutes: 3,500 images and a '
            'thin net. What k-means finds there is colours more than kinds.',
            'Photographs of 20 kinds at 32 px; others were not measured.',
            _TOO_SMALL,
        ),
    ),
}
