"""Views to normalised floats on the device, and nothing more."""

from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class ViewPreprocessor(ImgDataPreprocessor):
    """mmselfsup's preprocessor without what a step does not need.

    mmselfsup's SelfSupDataPreprocessor copies every field of every sample of
    the batch to the device, one by one. Here the samples stay where they are;
    models send the indices in one piece
    (:func:`ahpcl.models.features.sample_indices`). Images travel without the
    CPU waiting for them (with ``pin_memory`` in the loader), and are
    normalised in place. The values are the same.

    Args:
        mean: Subtracted from each channel, after the conversion of colours;
            None for no normalisation.
        std: What each channel is divided by.
        bgr_to_rgb: Whether the first and the last channel change places.
        rgb_to_bgr: The same.
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
            ValueError: if ``data`` is no dict with ``inputs``.
        """
        if not isinstance(data, dict) or 'inputs' not in data:
            raise ValueError(
                'expected a batch as a dict with inputs, got '
                f"{type(data).__name__}; use collate_fn=dict(type='"
                "default_collate') in the loader"
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
