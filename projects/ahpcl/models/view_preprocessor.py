"""Views to normalised floats on the device, and nothing more."""

import torch
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class ViewPreprocessor(ImgDataPreprocessor):
    """mmselfsup's preprocessor without what a step does not need.

    mmselfsup copies every field of every sample of the batch to the device,
    one by one. Here the samples stay where they are; models send the indices
    in one piece (:func:`ahpcl.models.features.sample_indices`). The CPU does
    not wait until the images have arrived (with ``pin_memory`` in the
    loader), and they are normalised in place. The values are mmselfsup's.

    Args:
        mean: Mean of every channel in 0 to 255, as in mmselfsup; one for all,
            or as many as there are.
        std: Standard deviation of every channel, likewise.
        bgr_to_rgb: Turn B, G, R into R, G, B before the normalisation. Images
            of other than three channels keep their order.
        rgb_to_bgr: Turn R, G, B into B, G, R, likewise.
        non_blocking: Send images without waiting for them.

    Raises:
        ValueError: if only one of ``mean`` and ``std`` is given, or they are
            of several lengths.
    """

    def __init__(
        self,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool = True,
    ) -> None:
        # mmengine's takes the statistics of one channel or of three only.
        super().__init__(
            bgr_to_rgb=bgr_to_rgb,
            rgb_to_bgr=rgb_to_bgr,
            non_blocking=non_blocking,
        )
        if (mean is None) != (std is None) or len(mean or ()) != len(
            std or ()
        ):
            raise ValueError(
                'expected mean and std of as many channels, or neither, got '
                f'{mean} and {std}'
            )
        if mean is not None:
            self._enable_normalize = True
            for name, values in (('mean', mean), ('std', std)):
                channels = torch.tensor(values, dtype=torch.float32)
                self.register_buffer(name, channels.view(-1, 1, 1), False)

    def forward(
        self, data: dict, training: bool = False
    ) -> tuple[list[Tensor], list | None]:
        """Views on the device, normalised, and the samples untouched.

        Args:
            data: ``inputs``, a list of views (B, C, H, W), and perhaps
                ``data_samples``.
            training: Not read.

        Raises:
            ValueError: if ``data`` is no dict with ``inputs``, its images are
                of several sizes, or have another number of channels than
                ``mean``.
        """
        if not isinstance(data, dict) or 'inputs' not in data:
            raise ValueError(
                'expected a batch as a dict with inputs, got '
                f"{type(data).__name__}; use collate_fn=dict(type='"
                "default_collate') in the loader"
            )
        if 'sizes' in data:
            raise ValueError(
                'expected images of one size in a batch, got '
                f'{sorted(set(map(tuple, data["sizes"].tolist())))}; crop or '
                'resize them in the pipeline'
            )
        views = [self._normalise(view) for view in data['inputs']]
        return views, data.get('data_samples')

    def _normalise(self, view: Tensor) -> Tensor:
        sent = self.cast_data(view)
        channels = sent.shape[1]
        if self._enable_normalize and len(self.mean) not in (1, channels):
            raise ValueError(
                f'expected images of {len(self.mean)} channels, as many as '
                f'model.data_preprocessor.mean has numbers, got {channels}; '
                f'set channels={len(self.mean)} on every dataset, or mean and '
                f'std to {channels} numbers and model.backbone.in_channels='
                f'{channels}'
            )
        if self._channel_conversion and channels == 3:
            sent = sent[:, [2, 1, 0]]
        image = sent.float()
        if not self._enable_normalize:
            return image
        if image is view:
            return (image - self.mean) / self.std
        return image.sub_(self.mean).div_(self.std)
