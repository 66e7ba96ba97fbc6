// One source, several instruction sets: a function marked GD_CLONES is compiled for the baseline, AVX2 and AVX-512, and
// the loader picks one by the processor. Everything it calls must be inline, or it stays at the baseline.
//
// The arithmetic is the same in each clone (the build forbids contraction to fused multiply-add), so results are too.
// Compilers and systems without indirect functions get the baseline alone. GD_INLINE functions are also compiled for the
// GPU by nvcc: formulas that CPU and CUDA kernels share.
#pragma once

#if !defined(__CUDACC__) && defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define GD_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define GD_CLONES
#endif

#if defined(__CUDACC__)
#define GD_INLINE __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define GD_INLINE inline __attribute__((always_inline))
#else
#define GD_INLINE inline
#endif
