import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler

from ahpcl.engine import check_extract_loader, extract_features


class Numbers(BaseDataset):
    """Image i is the number i + offset."""

    def __init__(self, length, offset=0):
        self.length, self.offset = length, offset
        super().__init__()

    def load_data_list(self):
        return [
            dict(img_path=f'{i + self.offset}.png', value=i + self.offset)
            for i in range(self.length)
        ]

    def prepare_data(self, index):
        info = self.get_data_info(index)
        return dict(
            inputs=torch.tensor([float(info['value'])]),
            data_samples=Sample(info['sample_idx']),
        )


class Sample:
    def __init__(self, index):
        self.sample_idx = index


def collate(batch):
    return dict(
        inputs=torch.stack([b['inputs'] for b in batch]),
        data_samples=[b['data_samples'] for b in batch],
    )


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.modes = []

    def data_preprocessor(self, batch, training):
        assert not training
        return batch['inputs'], batch['data_samples']

    def extract_keys(self, inputs):
        self.modes.append(self.training)
        return torch.cat([inputs, inputs**2], 1)


class Order(SequentialSampler):
    """Some order, as a distributed sampler or a faulty one gives."""

    def __init__(self, order):
        self.order = order

    def __iter__(self):
        return iter(self.order)

    def __len__(self):
        return len(self.order)


def loader(dataset, **kwargs):
    return DataLoader(dataset, batch_size=4, collate_fn=collate, **kwargs)


def test_features_lie_at_the_index_of_their_image():
    model = Encoder().train()
    order = [3, 1, 0, 2, 9, 8, 7, 6, 5, 4, 3, 1]  # two padded duplicates
    features = extract_features(
        model, loader(Numbers(10), sampler=Order(order))
    )
    numbers = torch.arange(10.0)
    assert torch.equal(features, torch.stack([numbers, numbers**2], 1))
    assert model.training
    assert not any(model.modes)


def test_images_left_out_are_an_error():
    with pytest.raises(ValueError, match=r'none for 2, first 5\.png'):
        extract_features(
            Encoder(), loader(Numbers(10, 5), sampler=Order(range(2, 10)))
        )


def test_parts_that_are_numbered_alike_are_told_apart():
    parts = [Numbers(6), Numbers(4, offset=6)]
    with pytest.raises(ValueError, match='ConcatImages'):
        extract_features(Encoder(), loader(ConcatDataset(parts)))


def test_features_that_are_no_numbers_name_the_file():
    def encode(inputs):
        return 1 / (inputs - 8)  # the image that is called so

    with pytest.raises(FloatingPointError, match=r'1 of 10.*first 8\.png'):
        extract_features(Encoder(), loader(Numbers(10, 5)), encode)


def test_accepts_the_same_images():
    check_extract_loader(loader(Numbers(10)), loader(Numbers(10)))


@pytest.mark.parametrize(
    ('extract', 'message'),
    [
        (loader(Numbers(10), shuffle=True), 'RandomSampler that shuffles'),
        (loader(Numbers(10), drop_last=True), 'drop_last=True'),
        (loader(Numbers(9)), '10 training images, got one over 9'),
        (loader(Numbers(10, 5)), r'got 5.png where image 0 .* is 0.png'),
    ],
)
def test_rejects_a_loader_that_cannot_serve(extract, message):
    with pytest.raises(ValueError, match=message):
        check_extract_loader(extract, loader(Numbers(10)))
