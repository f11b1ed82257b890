#pragma once
// What a kernel's source needs to be compiled by g++ for the emulated device.

#include <math.h>  // exp(float) is a float's
#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __shared__ static
#define __restrict__
#define __align__(n) alignas(n)
#define __managed__ static
#define __builtin_assume(x)
using std::abs;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::max;
using std::min;
using std::signbit;

extern "C" {
struct EmuPlace {
  unsigned x, y, z;
};
extern struct EmuState {
  EmuPlace threadIdx, blockIdx, blockDim, gridDim;
} emu_state;
extern char emu_shared[];  // what a launch asks for
void emu_barrier_block(void);
void emu_barrier_warp(unsigned lanes);
void emu_shuffle(unsigned lanes, const void* in, void* out, unsigned size, unsigned lane);
unsigned emu_lane(void);
void emu_fence(void);
void emu_atomic(void*, unsigned size);
}
#define threadIdx emu_state.threadIdx
#define blockIdx emu_state.blockIdx
#define blockDim emu_state.blockDim
#define gridDim emu_state.gridDim
#define warpSize 32
// The device looks at a kernel's accesses to memory, but not at these.
#define UNSEEN __attribute__((no_sanitize("thread", "alignment"))) static inline

UNSEEN void __syncthreads() { emu_barrier_block(); }
UNSEEN void __syncwarp(unsigned lanes = ~0u) { emu_barrier_warp(lanes); }
UNSEEN void __threadfence() { emu_fence(); }
UNSEEN void __threadfence_block() {}

template <typename T> UNSEEN T emu_shuffled(unsigned lanes, T v, int lane) {
  T o;
  emu_shuffle(lanes, &v, &o, sizeof v, lane);
  return o;
}
// A lane outside the part of the warp gives way to one's own.
template <typename T> UNSEEN T __shfl_sync(unsigned lanes, T v, int lane, int width = 32) {
  return emu_shuffled(lanes, v, emu_lane() / width * width + lane % width);
}
template <typename T> UNSEEN T __shfl_xor_sync(unsigned lanes, T v, int mask, int width = 32) {
  int me = emu_lane(), lane = me ^ mask;
  return emu_shuffled(lanes, v, lane / width <= me / width ? lane : me);
}
template <typename T> UNSEEN T __shfl_down_sync(unsigned lanes, T v, unsigned d, int width = 32) {
  int me = emu_lane(), lane = me + d;
  return emu_shuffled(lanes, v, lane / width == me / width ? lane : me);
}
template <typename T> UNSEEN T __shfl_up_sync(unsigned lanes, T v, unsigned d, int width = 32) {
  int me = emu_lane(), lane = me - (int)d;
  return emu_shuffled(lanes, v, lane >= me / width * width ? lane : me);
}

#define EMU_ATOMIC(name, changed)                                 \
  template <typename T, typename U> UNSEEN T name(T* p, U given) { \
    T old, v = (T)given, made;                                    \
    emu_atomic(p, sizeof old);                                    \
    memcpy(&old, p, sizeof old);                                  \
    made = changed;                                               \
    memcpy(p, &made, sizeof made);                                \
    return old;                                                   \
  }
EMU_ATOMIC(atomicAdd, old + v)
EMU_ATOMIC(atomicSub, old - v)
EMU_ATOMIC(atomicExch, v)
EMU_ATOMIC(atomicMax, old < v ? v : old)
EMU_ATOMIC(atomicMin, v < old ? v : old)
EMU_ATOMIC(atomicAnd, old & v)
EMU_ATOMIC(atomicOr, old | v)
EMU_ATOMIC(atomicXor, old ^ v)
template <typename T, typename U, typename V> UNSEEN T atomicCAS(T* p, U expected, V v) {
  emu_atomic(p, sizeof(T));
  T old = *p;
  if (old == (T)expected) *p = (T)v;
  return old;
}

template <typename A, typename B> UNSEEN B emu_bits(A a) {
  B b;
  static_assert(sizeof a == sizeof b);
  std::memcpy(&b, &a, sizeof b);
  return b;
}
static inline double __longlong_as_double(long long v) { return emu_bits<long long, double>(v); }
static inline long long __double_as_longlong(double v) { return emu_bits<double, long long>(v); }
static inline float __int_as_float(int v) { return emu_bits<int, float>(v); }
static inline int __float_as_int(float v) { return emu_bits<float, int>(v); }
static inline float __uint_as_float(unsigned v) { return emu_bits<unsigned, float>(v); }
static inline unsigned __float_as_uint(float v) { return emu_bits<float, unsigned>(v); }
static inline int __double2hiint(double v) { return (int)(__double_as_longlong(v) >> 32); }
static inline int __double2loint(double v) { return (int)__double_as_longlong(v); }
static inline double __hiloint2double(int h, int l) {
  return __longlong_as_double(((long long)h << 32) | (unsigned)l);
}
static inline int __clz(int v) { return v ? __builtin_clz(v) : 32; }
static inline int __clzll(long long v) { return v ? __builtin_clzll(v) : 64; }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __ffsll(long long v) { return __builtin_ffsll(v); }
static inline double rsqrt(double x) { return 1 / std::sqrt(x); }
static inline float rsqrt(float x) { return 1 / std::sqrt(x); }
static inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
template <typename T> static inline T __ldg(const T* p) { return *p; }

// How the device calls a kernel: with the addresses of its arguments, of which it knows the sizes.
struct EmuKernel {
  void (*run)(void**);
  const unsigned* sizes;
  unsigned count, bounds;
};
template <typename... A> struct EmuOf {
  static constexpr unsigned sizes[] = {sizeof(A)..., 0}, count = sizeof...(A);
  template <void (*kernel)(A...), size_t... I> UNSEEN void call(void** a, std::index_sequence<I...>) {
    kernel(*(A*)a[I]...);
  }
  template <void (*kernel)(A...)> UNSEEN void run(void** a) {
    call<kernel>(a, std::index_sequence_for<A...>{});
  }
};
template <typename... A> EmuOf<A...> emu_of(void (*)(A...));
#define EMU_ENTRY(name, bounds)                                                           \
  extern "C" EmuKernel emu_kernel_##name = {&decltype(emu_of(name))::run<name>,           \
                                            decltype(emu_of(name))::sizes,                \
                                            decltype(emu_of(name))::count, bounds};
