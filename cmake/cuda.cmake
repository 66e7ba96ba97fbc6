# CUDA kernels as the static library graphdet_kernels_cuda, and the Python module _cuda through which tests call them.
#
# ON compiles with nvcc, EMULATE with the C++ compiler and csrc/cuda/emulate.h. The CPU's kernels are linked too: the
# checks of an op (`plan`) are the same for both.
if(GRAPHDET_CUDA STREQUAL "EMULATE")
  add_library(graphdet_kernels_cuda STATIC ${GRAPHDET_CUDA_KERNELS} csrc/cuda/emulate.cpp)
  set_source_files_properties(${GRAPHDET_CUDA_KERNELS} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
  target_compile_definitions(graphdet_kernels_cuda PUBLIC GRAPHDET_CUDA_EMULATE)
  target_compile_options(graphdet_kernels_cuda PRIVATE ${GRAPHDET_FLAGS} -O1 -fvisibility=hidden)
else()
  set(CMAKE_CUDA_ARCHITECTURES 80-real 89-real 90-real 120 CACHE STRING "GPUs to compile for; the last also as PTX")
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  add_library(graphdet_kernels_cuda STATIC ${GRAPHDET_CUDA_KERNELS})
  # -fmad=false: as on the CPU, no fused multiply-add, so that sums, products and comparisons give the same bits.
  target_compile_options(graphdet_kernels_cuda PRIVATE --extended-lambda --expt-relaxed-constexpr -fmad=false
                         -Werror all-warnings "SHELL:-Xcompiler -Wall,-Wextra,-Werror,-fvisibility=hidden")
  target_link_libraries(graphdet_kernels_cuda PUBLIC CUDA::cudart_static)
endif()
target_link_libraries(graphdet_kernels_cuda PUBLIC graphdet_kernels)

if(GRAPHDET_PYTHON)
  file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/generated/cuda_ops.inc" CONTENT "@GRAPHDET_CUDA_OP_LINES@" @ONLY)
  pybind11_add_module(_cuda MODULE NO_EXTRAS ${GRAPHDET_CUDA_BINDINGS})
  target_include_directories(_cuda PRIVATE "${CMAKE_CURRENT_BINARY_DIR}/generated")
  target_compile_definitions(_cuda PRIVATE GRAPHDET_CUDA_MODULE)
  target_compile_options(_cuda PRIVATE ${GRAPHDET_FLAGS})
  target_link_libraries(_cuda PRIVATE graphdet_kernels_cuda)
  set_target_properties(_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}")
endif()

if(GRAPHDET_CUDA STREQUAL "EMULATE")
  add_executable(cuda_tests csrc/tests/main.cpp csrc/tests/cuda/test_emulate.cpp csrc/tests/cuda/test_rle.cpp)
  target_compile_options(cuda_tests PRIVATE ${GRAPHDET_FLAGS})
  target_link_libraries(cuda_tests PRIVATE graphdet_kernels_cuda Threads::Threads)
endif()
