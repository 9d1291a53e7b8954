"""Views to normalised floats on the device, and nothing more."""

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
        mean: Mean of the three channels, as in mmselfsup.
        std: Standard deviation of the three channels, as in mmselfsup.
        bgr_to_rgb: Turn B, G, R into R, G, B before the normalisation.
        rgb_to_bgr: Turn R, G, B into B, G, R before the normalisation.
        non_blocking: Send images without waiting for them.
    """

    def __init__(
        self,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(
            mean=mean,
            std=std,
            bgr_to_rgb=bgr_to_rgb,
            rgb_to_bgr=rgb_to_bgr,
            non_blocking=non_blocking,
        )

    def forward(
        self, data: dict, training: bool = False
    ) -> tuple[list[Tensor], list | None]:
        """Views on the device, normalised, and the samples untouched.

        Args:
            data: ``inputs``, a list of views (B, 3, H, W), and perhaps
                ``data_samples``.
            training: Not read.

        Raises:
            ValueError: if ``data`` is no dict with ``inputs``, or its images
                are of several sizes.
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
        if self._channel_conversion:
            sent = sent[:, [2, 1, 0]]
        image = sent.float()
        if not self._enable_normalize:
            return image
        if image is view:
            return (image - self.mean) / self.std
        return image.sub_(self.mean).div_(self.std)
