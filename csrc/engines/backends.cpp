#include "engine/segment.h"

namespace graphdet {

// One line for each backend: the macro is set where the build has found it.
#if defined(GRAPHDET_WITH_OPENVINO)
Result<std::unique_ptr<Segment>> open_openvino(const SegmentRequest& request);
#endif
#if defined(GRAPHDET_WITH_ONNXRUNTIME)
Result<std::unique_ptr<Segment>> open_onnxruntime(const SegmentRequest& request);
#endif
#if defined(GRAPHDET_TENSORRT)
Result<std::unique_ptr<Segment>> open_tensorrt(const SegmentRequest& request);
#endif

const Backends& built_in_backends() {
    static const Backends backends = {
#if defined(GRAPHDET_WITH_OPENVINO)
        {"openvino", open_openvino},
#endif
#if defined(GRAPHDET_WITH_ONNXRUNTIME)
        {"onnx", open_onnxruntime},
        {"onnxruntime", open_onnxruntime},
#endif
#if defined(GRAPHDET_TENSORRT)
        {GRAPHDET_TENSORRT, open_tensorrt},
#endif
    };
    return backends;
}

}  // namespace graphdet
