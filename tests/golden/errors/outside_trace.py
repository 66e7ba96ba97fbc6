"""An op is called outside a detector."""

import numpy as np

from graphdet import ops


image = np.zeros((1, 3, 32, 32), np.float32)
print(ops.relu(image))
