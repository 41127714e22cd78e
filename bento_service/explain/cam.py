"""Class activation maps."""

import numpy as np
from numpy.typing import NDArray

from bento_service.models.class_head import ClassHead


def map_class(features: NDArray[np.float32], head: ClassHead, class_id: int) -> tuple[NDArray[np.float32], float]:
    """Return what each cell of a feature map adds to a class's logit, and the class's bias.

    The head takes the mean over the cells and then a weighted sum over the channels. Both are linear, so the sum may
    come first: the mean of the returned map plus the bias is the logit. For such a head this is Grad-CAM's map too,
    before its ReLU and but for a constant factor.

    Args:
        features: Shape (channels, rows, columns).
        head: Of the same channels.
        class_id: One of the head's classes.

    Returns:
        The map, shape (rows, columns), and the bias.
    """
    contributions: NDArray[np.float32] = np.tensordot(head.weights[class_id], features, axes=1)
    return contributions, float(head.bias[class_id])
