"""What features were made from, as one text to compare."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset


def digest_of(name: str, model: nn.Module, dataset: Dataset) -> str:
    """Return a digest that tells weights, images and transforms apart.

    Images in memory are told apart by their pixels, files by their paths,
    sizes and times of change.

    Args:
        name: What the images are used for.
        model: The model whose weights count.
        dataset: Images with their transforms, or several such sets, joined.

    Returns:
        64 hexadecimal digits.
    """
    found = hashlib.sha256(name.encode())
    for key, value in model.state_dict().items():
        found.update(key.encode())
        flat = value.detach().cpu().contiguous().view(-1)
        found.update(flat.view(torch.uint8).numpy())
    for part in getattr(dataset, 'datasets', None) or [dataset]:
        found.update(repr(part.pipeline).encode())
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path = str(info.get('img_path', index))
        found.update(f'{path} {info.get("gt_label")}'.encode())
        if 'img' in info:
            found.update(np.ascontiguousarray(info['img']))
        elif os.path.isfile(path):
            status = os.stat(path)
            found.update(f'{status.st_size} {status.st_mtime_ns}'.encode())
    return found.hexdigest()
