# The C++ engine: a shared library with a CMake package, its tests and fuzz targets.
#
# GRAPHDET_OPENVINO: AUTO uses OpenVINO where it is found (a C++ installation, or the wheel of the Python in use), ON
# insists, OFF leaves it out. GRAPHDET_ONNXRUNTIME: the same for ONNX Runtime, of which a build needs the headers (set
# ONNXRUNTIME_INCLUDE_DIR, or CMAKE_PREFIX_PATH to an installation); the library may be that of the wheel.
# GRAPHDET_TENSORRT: the same for TensorRT 10 or TensorRT-RTX, with the CUDA runtime (TENSORRT_INCLUDE_DIR says which).
set(GRAPHDET_OPENVINO AUTO CACHE STRING "Backend OpenVINO: AUTO, ON or OFF")
set(GRAPHDET_ONNXRUNTIME AUTO CACHE STRING "Backend ONNX Runtime: AUTO, ON or OFF")
set(GRAPHDET_TENSORRT AUTO CACHE STRING "Backend TensorRT: AUTO, ON or OFF")
set_property(CACHE GRAPHDET_OPENVINO GRAPHDET_ONNXRUNTIME GRAPHDET_TENSORRT PROPERTY STRINGS AUTO ON OFF)

file(STRINGS graphdet/_version.py GRAPHDET_VERSION REGEX "^__version__")
string(REGEX REPLACE "[^\"]*\"([^\"]*)\".*" "\\1" GRAPHDET_VERSION "${GRAPHDET_VERSION}")
file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/generated/graphdet_version.h"
     CONTENT "#define GRAPHDET_VERSION \"@GRAPHDET_VERSION@\"\n" @ONLY)

find_package(Threads REQUIRED)

# --- backends
find_package(Python COMPONENTS Interpreter)
if(NOT GRAPHDET_OPENVINO STREQUAL "OFF")
  if(Python_FOUND)
    execute_process(COMMAND "${Python_EXECUTABLE}" -c "from openvino.utils import get_cmake_path as p; print(p())"
                    OUTPUT_VARIABLE openvino_wheel OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  find_package(OpenVINO QUIET COMPONENTS Runtime HINTS "${openvino_wheel}")
  if(NOT OpenVINO_FOUND AND GRAPHDET_OPENVINO STREQUAL "ON")
    message(FATAL_ERROR "OpenVINO is not found: pip install openvino, or set OpenVINO_DIR")
  endif()
endif()

if(NOT GRAPHDET_ONNXRUNTIME STREQUAL "OFF")
  find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_cxx_api.h PATH_SUFFIXES onnxruntime onnxruntime/core/session)
  find_library(ONNXRUNTIME_LIBRARY NAMES onnxruntime libonnxruntime.so.1)
  if(NOT ONNXRUNTIME_LIBRARY AND Python_FOUND)
    execute_process(COMMAND "${Python_EXECUTABLE}" -c "from importlib.util import find_spec as f; from pathlib import Path
print(next(Path(f('onnxruntime').submodule_search_locations[0], 'capi').glob('libonnxruntime.so.1*')), end='')"
                    OUTPUT_VARIABLE ONNXRUNTIME_LIBRARY ERROR_QUIET)
  endif()
  if(ONNXRUNTIME_INCLUDE_DIR)
    set(ONNXRUNTIME_FOUND TRUE)
  elseif(GRAPHDET_ONNXRUNTIME STREQUAL "ON")
    message(FATAL_ERROR "ONNX Runtime's headers are not found: set ONNXRUNTIME_INCLUDE_DIR")
  endif()
endif()

# Two libraries have these headers. Plans of one are not plans of the other, so each is a target of its own.
if(NOT GRAPHDET_TENSORRT STREQUAL "OFF")
  find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h)
  if(TENSORRT_INCLUDE_DIR)
    find_package(CUDAToolkit QUIET)
  endif()
  set(TENSORRT_TARGET tensorrt)
  set(library nvinfer)
  if(EXISTS "${TENSORRT_INCLUDE_DIR}/NvInferVersion.h")
    file(STRINGS "${TENSORRT_INCLUDE_DIR}/NvInferVersion.h" rtx REGEX "TRT_MAJOR_RTX")
    if(rtx)
      set(TENSORRT_TARGET tensorrt-rtx)
      set(library tensorrt_rtx)
    endif()
  endif()
  find_library(TENSORRT_LIBRARY ${library} HINTS "${TENSORRT_INCLUDE_DIR}/../lib")
  if(TENSORRT_INCLUDE_DIR AND TENSORRT_LIBRARY AND CUDAToolkit_FOUND)
    set(TENSORRT_FOUND TRUE)
  elseif(GRAPHDET_TENSORRT STREQUAL "ON")
    message(FATAL_ERROR "TensorRT is not found: set TENSORRT_INCLUDE_DIR and TENSORRT_LIBRARY, and CUDAToolkit_ROOT")
  endif()
endif()

# --- interfaces and backends as objects: they are linked whole
add_library(graphdet_objects OBJECT csrc/engine/c_api.cpp csrc/engine/graphdet.cpp csrc/engines/backends.cpp)
target_include_directories(graphdet_objects PUBLIC csrc csrc/include PRIVATE "${CMAKE_CURRENT_BINARY_DIR}/generated")
target_compile_options(graphdet_objects PRIVATE ${GRAPHDET_FLAGS} -fvisibility=hidden)
if(OpenVINO_FOUND)
  target_sources(graphdet_objects PRIVATE csrc/engines/openvino.cpp)
  target_compile_definitions(graphdet_objects PRIVATE GRAPHDET_WITH_OPENVINO)
  target_link_libraries(graphdet_objects PRIVATE openvino::runtime)
endif()

if(ONNXRUNTIME_FOUND)
  target_sources(graphdet_objects PRIVATE csrc/engines/onnxruntime.cpp)
  target_compile_definitions(graphdet_objects PRIVATE GRAPHDET_WITH_ONNXRUNTIME
                             GRAPHDET_ONNXRUNTIME_LIBRARY="${ONNXRUNTIME_LIBRARY}")
  target_include_directories(graphdet_objects SYSTEM PRIVATE "${ONNXRUNTIME_INCLUDE_DIR}")
endif()

if(TENSORRT_FOUND)
  target_sources(graphdet_objects PRIVATE csrc/engines/tensorrt.cpp)
  target_compile_definitions(graphdet_objects PRIVATE GRAPHDET_TENSORRT="${TENSORRT_TARGET}")
  target_include_directories(graphdet_objects SYSTEM PRIVATE "${TENSORRT_INCLUDE_DIR}" ${CUDAToolkit_INCLUDE_DIRS})
endif()

# What links the objects links these too.
set(GRAPHDET_ENGINE_LIBS graphdet_core ${CMAKE_DL_LIBS})
if(OpenVINO_FOUND)
  list(APPEND GRAPHDET_ENGINE_LIBS openvino::runtime)
endif()
if(TENSORRT_FOUND)
  list(APPEND GRAPHDET_ENGINE_LIBS "${TENSORRT_LIBRARY}" CUDA::cudart)
endif()

if(GRAPHDET_SDK)
  include(GNUInstallDirs)
  include(CMakePackageConfigHelpers)

  add_library(graphdet_engine SHARED $<TARGET_OBJECTS:graphdet_objects>)
  target_include_directories(graphdet_engine INTERFACE "$<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/csrc/include>"
                                                       "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  target_compile_features(graphdet_engine INTERFACE cxx_std_17)
  target_link_libraries(graphdet_engine PRIVATE ${GRAPHDET_ENGINE_LIBS})
  set_target_properties(graphdet_engine PROPERTIES OUTPUT_NAME graphdet EXPORT_NAME graphdet
                        VERSION ${GRAPHDET_VERSION} SOVERSION 0 LINKER_LANGUAGE CXX)
  # A backend may lie in a Python environment, also one inside this folder, which INSTALL_RPATH_USE_LINK_PATH leaves
  # out: the library remembers where.
  if(OpenVINO_FOUND)
    set_property(TARGET graphdet_engine APPEND PROPERTY INSTALL_RPATH "$<TARGET_FILE_DIR:openvino::runtime>")
  endif()
  if(TENSORRT_FOUND)
    get_filename_component(folder "${TENSORRT_LIBRARY}" DIRECTORY)
    set_property(TARGET graphdet_engine APPEND PROPERTY INSTALL_RPATH "${folder}")
  endif()

  if(UNIX AND NOT APPLE)
    target_link_options(graphdet_engine PRIVATE "-Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cmake/exports.map")
    set_target_properties(graphdet_engine PROPERTIES LINK_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cmake/exports.map")
  endif()

  set(package "${CMAKE_INSTALL_LIBDIR}/cmake/graphdet")
  install(TARGETS graphdet_engine EXPORT graphdet LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  install(DIRECTORY csrc/include/graphdet DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(DIRECTORY csrc/examples/ DESTINATION "${CMAKE_INSTALL_DATADIR}/graphdet/examples")
  install(EXPORT graphdet NAMESPACE graphdet:: DESTINATION "${package}" FILE graphdetConfig.cmake)
  write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/graphdetConfigVersion.cmake"
                                   VERSION ${GRAPHDET_VERSION} COMPATIBILITY SameMinorVersion)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/graphdetConfigVersion.cmake" DESTINATION "${package}")
endif()

if(GRAPHDET_TESTS)
  enable_testing()
  file(GLOB test_sources CONFIGURE_DEPENDS csrc/tests/test_*.cpp)
  add_executable(graphdet_tests csrc/tests/main.cpp csrc/tests/tiny.cpp ${test_sources}
                                $<TARGET_OBJECTS:graphdet_objects>)
  target_include_directories(graphdet_tests PRIVATE csrc csrc/include)
  target_compile_definitions(graphdet_tests PRIVATE GRAPHDET_VECTORS="${CMAKE_CURRENT_SOURCE_DIR}/csrc/tests/vectors")
  target_compile_options(graphdet_tests PRIVATE ${GRAPHDET_FLAGS})
  target_link_libraries(graphdet_tests PRIVATE ${GRAPHDET_ENGINE_LIBS})
  add_test(NAME engine COMMAND graphdet_tests)

  # The TensorRT adapter, on an emulation of TensorRT and CUDA: neither is needed.
  add_executable(tensorrt_tests csrc/tests/main.cpp csrc/tests/tiny.cpp csrc/tests/tensorrt/test_tensorrt.cpp
                                csrc/tests/tensorrt/plan.cpp csrc/engines/tensorrt.cpp csrc/engine/graphdet.cpp
                                csrc/engines/backends.cpp csrc/cuda/emulate.cpp)
  target_include_directories(tensorrt_tests PRIVATE csrc/tests/tensorrt csrc csrc/include
                             "${CMAKE_CURRENT_BINARY_DIR}/generated")
  target_compile_definitions(tensorrt_tests PRIVATE GRAPHDET_CUDA_EMULATE)
  target_compile_options(tensorrt_tests PRIVATE ${GRAPHDET_FLAGS})
  target_link_libraries(tensorrt_tests PRIVATE graphdet_core)
  add_test(NAME tensorrt COMMAND tensorrt_tests)

  add_executable(soak csrc/tests/soak.cpp $<TARGET_OBJECTS:graphdet_objects>)
  target_include_directories(soak PRIVATE csrc/include)
  target_compile_options(soak PRIVATE ${GRAPHDET_FLAGS})
  target_link_libraries(soak PRIVATE ${GRAPHDET_ENGINE_LIBS})
endif()

if(GRAPHDET_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "GRAPHDET_FUZZ needs clang: CXX=clang++ cmake ...")
  endif()
  # Everything that a target runs is instrumented, so it is compiled for it anew.
  add_executable(fuzz_artefact csrc/tests/fuzz_artefact.cpp ${GRAPHDET_READER} csrc/core/check.cpp)
  add_executable(fuzz_plan csrc/tests/fuzz_plan.cpp csrc/tests/tiny.cpp csrc/engine/graphdet.cpp
                           csrc/engines/backends.cpp ${GRAPHDET_READER} ${GRAPHDET_RUNNER} ${GRAPHDET_KERNELS})
  add_executable(fuzz_rle csrc/tests/fuzz_rle.cpp csrc/ops/rle/rle_cpu.cpp)
  foreach(target fuzz_artefact fuzz_plan fuzz_rle)
    target_include_directories(${target} PRIVATE csrc csrc/include "${CMAKE_CURRENT_BINARY_DIR}/generated")
    target_compile_options(${target} PRIVATE ${GRAPHDET_FLAGS} -fsanitize=fuzzer)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    target_link_libraries(${target} PRIVATE Threads::Threads)
  endforeach()
endif()
