// The CUDA runtime API, or its emulation.
#pragma once

#if defined(GRAPHDET_CUDA_EMULATE)
#include "cuda/emulate.h"
#else
#include <cuda_runtime_api.h>
#endif
