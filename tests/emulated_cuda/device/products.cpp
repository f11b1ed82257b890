// cuBLAS and cuBLASLt of the emulated device: products with sums in double, of numbers rounded as
// the type of computation says. The descriptors of cuBLASLt are those of the real library.
#include <cublas_v2.h>
#include <cublasLt.h>
#include <dlfcn.h>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

// Of the device.
extern "C" int emu_put(void*, void (*)(void*), void*, void (*)(void*), const char*);
extern "C" int emu_usable(const void*, size_t, const char*);
extern "C" int emu_use(const void*, size_t, int write, const char* who);
extern "C" void emu_fault(const char* counter, const char* text);
extern "C" int emu_device();

#define C(x) ((cublasStatus_t)(x))
enum { INVALID = 7, FAILED = 13, UNSUPPORTED = 15 };

static cublasStatus_t refused(int status, const char* format, ...) {
  char text[512];
  va_list given;
  va_start(given, format);
  vsnprintf(text, sizeof text, format, given);
  va_end(given);
  emu_fault(status == UNSUPPORTED ? "not emulated" : "refused products", text);
  return C(status);
}

// Numbers of the types that products take --------------------------------------------------------
static size_t size_of(int type) {
  switch (type) {
  case CUDA_R_32F: return 4;
  case CUDA_R_64F: return 8;
  case CUDA_R_16F:
  case CUDA_R_16BF: return 2;
  default: return 0;
  }
}
// Calls a function with a pointer of the type.
template <typename F> static void typed(const void* p, int type, F&& f) {
  switch (type) {
  case CUDA_R_32F: return f((float*)p);
  case CUDA_R_64F: return f((double*)p);
  case CUDA_R_16F: return f((__half*)p);
  default: return f((__nv_bfloat16*)p);
  }
}
static double number(const void* p, int type) {
  double value;
  typed(p, type, [&](auto* x) { value = (double)*x; });
  return value;
}
static double rounded(double v, int compute) {
  switch (compute) {
  case CUBLAS_COMPUTE_32F_FAST_16F: return (float)__half((float)v);
  case CUBLAS_COMPUTE_32F_FAST_16BF: return (float)__nv_bfloat16((float)v);
  case CUBLAS_COMPUTE_32F_FAST_TF32: {
    float f = (float)v;
    unsigned u;
    memcpy(&u, &f, 4);
    if ((u & 0x7f800000u) != 0x7f800000u) u = (u + 0x1000u) >> 13 << 13;
    memcpy(&f, &u, 4);
    return f;
  }
  default: return v;
  }
}

// Products ---------------------------------------------------------------------------------------
struct Matrix {
  const void* data;
  int type;
  long leading, stride;
  long rows, columns;
  bool transposed;
  size_t bytes(long batch) const {
    return ((batch - 1) * stride + (columns - 1) * leading + rows) * size_of(type);
  }
};
struct Product {
  int compute;
  long m, n, k, batch;
  Matrix a, b, c;
  double alpha, beta;
  int epilogue;
  const void *bias, *workspace;
};
// Copies a matrix so that what is multiplied with each other lies side by side.
static void gather(const Matrix& x, bool across, long q, int compute, std::vector<double>& out) {
  long outer = across ? x.columns : x.rows, inner = across ? x.rows : x.columns;
  long outer_step = across ? x.leading : 1, inner_step = across ? 1 : x.leading;
  out.resize(outer * inner);
  typed(x.data, x.type, [&](auto* p) {
    p += q * x.stride;
    for (long i = 0; i < outer; ++i)
      for (long j = 0; j < inner; ++j)
        out[i * inner + j] = (double)p[i * outer_step + j * inner_step];
  });
  if (x.type == CUDA_R_32F && compute != CUBLAS_COMPUTE_32F)
    for (auto& v : out) v = rounded(v, compute);
}
__attribute__((target_clones("avx2", "default"))) static double dot(const double* x, const double* y,
                                                                    long n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (long i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}
static void run_product(void* given) {
  auto& g = *(Product*)given;
  const char* who = "a product";
  for (auto* x : {&g.a, &g.b})
    if (x->rows && x->columns && !emu_use(x->data, x->bytes(g.batch), false, who)) return;
  if (g.bias && !emu_use(g.bias, g.m * size_of(g.c.type), false, who)) return;
  // Two products must not share a workspace at the same time.
  if (g.workspace && !emu_use(g.workspace, 1, true, who)) return;
  std::vector<double> a, b;
  for (long q = 0; q < g.batch; ++q) {
    gather(g.a, g.a.transposed, q, g.compute, a);
    gather(g.b, !g.b.transposed, q, g.compute, b);
    typed(g.c.data, g.c.type, [&](auto* c) {
      c += q * g.c.stride;
      for (long j = 0; j < g.n; ++j, c += g.c.leading) {
        if (g.beta != 0 && !emu_use(c, g.m * sizeof *c, false, who)) return;
        if (!emu_use(c, g.m * sizeof *c, true, who)) return;
        for (long i = 0; i < g.m; ++i) {
          double v = g.alpha * dot(&a[i * g.k], &b[j * g.k], g.k);
          if (g.beta != 0) v += g.beta * c[i];
          if (g.bias) v += ((decltype(c))g.bias)[i];
          if (g.epilogue & CUBLASLT_EPILOGUE_RELU) v = std::fmax(v, 0.0);
          c[i] = std::decay_t<decltype(*c)>(v);
        }
      }
    });
  }
}
static cublasStatus_t multiply(void* stream, const Product& g, const char* who) {
  if (g.m < 0 || g.n < 0 || g.k < 0 || g.batch < 0)
    return refused(INVALID, "%s: %ld x %ld x %ld, %ld times", who, g.m, g.n, g.k, g.batch);
  if (!g.m || !g.n || !g.batch) return C(0);
  const char* c = (const char*)g.c.data;
  for (auto* x : {&g.a, &g.b, &g.c}) {
    char name = x == &g.a ? 'A' : x == &g.b ? 'B' : 'C';
    if (!size_of(x->type)) return refused(UNSUPPORTED, "%s of numbers of type %d", who, x->type);
    if (x->leading < x->rows || x->leading < 1)
      return refused(INVALID, "%s: matrix %c of %ld rows has the leading dimension %ld", who, name,
                     x->rows, x->leading);
    if (!x->rows || !x->columns) continue;
    if ((size_t)x->data % size_of(x->type))
      return refused(INVALID, "%s: matrix %c at %p", who, name, x->data);
    if (!emu_usable(x->data, x->bytes(g.batch), who)) return C(INVALID);
    auto* start = (const char*)x->data;
    if (x != &g.c && start < c + g.c.bytes(g.batch) && c < start + x->bytes(g.batch))
      return refused(INVALID, "%s: the result overlaps matrix %c", who, name);
  }
  if (g.batch > 1 && g.c.stride < (g.n - 1) * g.c.leading + g.m)
    return refused(INVALID, "%s: the results overlap each other", who);
  auto destroy = [](void* p) { delete (Product*)p; };
  return C(emu_put(stream, run_product, new Product(g), destroy, who) ? FAILED : 0);
}
static double scalar(const void* p, int compute) {
  bool is_double = compute == CUBLAS_COMPUTE_64F || compute == CUBLAS_COMPUTE_64F_PEDANTIC;
  bool is_half = compute == CUBLAS_COMPUTE_16F || compute == CUBLAS_COMPUTE_16F_PEDANTIC;
  return number(p, is_double ? CUDA_R_64F : is_half ? CUDA_R_16F : CUDA_R_32F);
}

// cuBLAS -----------------------------------------------------------------------------------------
struct Handle {
  int device = emu_device();
  void* stream = nullptr;
  int pointer_mode = 0, math = 0;
};
struct Operand {
  const void* data;
  int type;
  long leading, stride;
};
static cublasStatus_t gemm(cublasHandle_t h, int ta, int tb, long m, long n, long k, const void* al,
                           Operand a, Operand b, const void* be, Operand c, long batch, int compute,
                           const char* who) {
  auto* handle = (Handle*)h;
  if (handle->device != emu_device())
    return refused(INVALID, "%s: a handle of device %d on device %d", who, handle->device,
                   emu_device());
  if (handle->pointer_mode) return refused(UNSUPPORTED, "%s with factors on the device", who);
  if (ta > 1 || tb > 1) return refused(UNSUPPORTED, "%s of conjugates", who);
  if (compute == CUBLAS_COMPUTE_32F && handle->math == CUBLAS_TF32_TENSOR_OP_MATH)
    compute = CUBLAS_COMPUTE_32F_FAST_TF32;
  auto matrix = [](Operand x, long rows, long columns, bool transposed) {
    if (transposed) std::swap(rows, columns);
    return Matrix{x.data, x.type, x.leading, x.stride, rows, columns, transposed};
  };
  return multiply(handle->stream,
                  {compute, m, n, k, batch, matrix(a, m, k, ta), matrix(b, k, n, tb),
                   matrix(c, m, n, false), scalar(al, compute), scalar(be, compute)},
                  who);
}
extern "C" {
cublasStatus_t cublasCreate_v2(cublasHandle_t* h) { return *h = (cublasHandle_t) new Handle, C(0); }
cublasStatus_t cublasDestroy_v2(cublasHandle_t h) { return delete (Handle*)h, C(0); }
cublasStatus_t cublasSetStream_v2(cublasHandle_t h, cudaStream_t s) {
  return ((Handle*)h)->stream = s, C(0);
}
cublasStatus_t cublasGetStream_v2(cublasHandle_t h, cudaStream_t* s) {
  return *s = (cudaStream_t)((Handle*)h)->stream, C(0);
}
cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t h, cublasPointerMode_t m) {
  return ((Handle*)h)->pointer_mode = m, C(0);
}
cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t h, cublasPointerMode_t* m) {
  return *m = (cublasPointerMode_t)((Handle*)h)->pointer_mode, C(0);
}
cublasStatus_t cublasSetMathMode(cublasHandle_t h, cublasMath_t m) {
  return ((Handle*)h)->math = m, C(0);
}
cublasStatus_t cublasGetMathMode(cublasHandle_t h, cublasMath_t* m) {
  return *m = (cublasMath_t)((Handle*)h)->math, C(0);
}
cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int* v) { return *v = 130100, C(0); }
#define GEMM(T, letter, type, compute)                                                             \
  cublasStatus_t cublas##letter##gemm_v2(                                                          \
      cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,           \
      const T* al, const T* a, int lda, const T* b, int ldb, const T* be, T* c, int ldc) {         \
    return gemm(h, ta, tb, m, n, k, al, {a, type, lda, 0}, {b, type, ldb, 0}, be,                  \
                {c, type, ldc, 0}, 1, compute, "gemm");                                            \
  }                                                                                                \
  cublasStatus_t cublas##letter##gemmStridedBatched(                                               \
      cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,           \
      const T* al, const T* a, int lda, long long sa, const T* b, int ldb, long long sb,           \
      const T* be, T* c, int ldc, long long sc, int batch) {                                       \
    return gemm(h, ta, tb, m, n, k, al, {a, type, lda, sa}, {b, type, ldb, sb}, be,                \
                {c, type, ldc, sc}, batch, compute, "gemmStridedBatched");                         \
  }
GEMM(float, S, CUDA_R_32F, CUBLAS_COMPUTE_32F)
GEMM(double, D, CUDA_R_64F, CUBLAS_COMPUTE_64F)
cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m,
                            int n, int k, const void* al, const void* a, cudaDataType at, int lda,
                            const void* b, cudaDataType bt, int ldb, const void* be, void* c,
                            cudaDataType ct, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t) {
  return gemm(h, ta, tb, m, n, k, al, {a, at, lda, 0}, {b, bt, ldb, 0}, be, {c, ct, ldc, 0}, 1,
              compute, "gemmEx");
}
cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, cublasOperation_t ta,
                                          cublasOperation_t tb, int m, int n, int k, const void* al,
                                          const void* a, cudaDataType at, int lda, long long sa,
                                          const void* b, cudaDataType bt, int ldb, long long sb,
                                          const void* be, void* c, cudaDataType ct, int ldc,
                                          long long sc, int batch, cublasComputeType_t compute,
                                          cublasGemmAlgo_t) {
  return gemm(h, ta, tb, m, n, k, al, {a, at, lda, sa}, {b, bt, ldb, sb}, be, {c, ct, ldc, sc},
              batch, compute, "gemmStridedBatchedEx");
}
cublasStatus_t cublasSgemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m,
                             int n, int k, const float* al, const void* a, cudaDataType at, int lda,
                             const void* b, cudaDataType bt, int ldb, const float* be, void* c,
                             cudaDataType ct, int ldc) {
  return gemm(h, ta, tb, m, n, k, al, {a, at, lda, 0}, {b, bt, ldb, 0}, be, {c, ct, ldc, 0}, 1,
              CUBLAS_COMPUTE_32F, "gemmEx");
}

// cuBLASLt: descriptors are those of the real library, which says what is in them ----------------
static void* real(const char* name) {
  static void* library = dlopen(getenv("EMU_REAL_LT"), RTLD_NOW | RTLD_LOCAL);
  return dlsym(library, name);
}
#define REAL(name) ((decltype(&name))real(#name))
cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) {
  return *h = (cublasLtHandle_t) new Handle, C(0);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return C(0); }
static long layout(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t a) {
  static auto get = REAL(cublasLtMatrixLayoutGetAttribute);
  bool is_long = a != CUBLASLT_MATRIX_LAYOUT_TYPE && a != CUBLASLT_MATRIX_LAYOUT_ORDER &&
                 a != CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
  long value = 0;
  size_t n;
  if (get(l, a, &value, is_long ? 8 : 4, &n)) refused(INVALID, "attribute %d of a layout", a);
  return value;
}
static long described(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a) {
  static auto get = REAL(cublasLtMatmulDescGetAttribute);
  long value = 0;
  size_t n;
  if (get(d, a, &value, a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? 8 : 4, &n))
    refused(INVALID, "attribute %d of a product", a);
  return value;
}
// What stands in the place of an algorithm: what it was found for.
struct Chosen {
  unsigned made, workspace;
  unsigned align[4];
  size_t problem;
};
static_assert(sizeof(Chosen) <= sizeof(cublasLtMatmulAlgo_t));
static size_t problem(cublasLtMatmulDesc_t d, std::initializer_list<cublasLtMatrixLayout_t> layouts) {
  size_t all = 0;
  auto add = [&](long value) { all = all * 1000003 + value; };
  for (auto a : {CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, CUBLASLT_MATMUL_DESC_TRANSA,
                 CUBLASLT_MATMUL_DESC_TRANSB, CUBLASLT_MATMUL_DESC_EPILOGUE})
    add(described(d, a));
  for (auto l : layouts)
    for (auto a : {CUBLASLT_MATRIX_LAYOUT_TYPE, CUBLASLT_MATRIX_LAYOUT_ROWS,
                   CUBLASLT_MATRIX_LAYOUT_COLS, CUBLASLT_MATRIX_LAYOUT_LD,
                   CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT})
      add(layout(l, a));
  return all;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t dd,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* found, int* count) {
  static auto get = REAL(cublasLtMatmulPreferenceGetAttribute);
  Chosen chosen{0x600dab1e, 0, {}, problem(d, {a, b, c, dd})};
  const cublasLtMatmulPreferenceAttributes_t aligned[] = {
      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
  size_t n, most;
  for (int i = 0; i < 4; ++i) get(preference, aligned[i], &chosen.align[i], 4, &n);
  get(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, 8, &n);
  chosen.workspace = most < 4096 ? most : 4096;
  *found = {};
  memcpy(&found->algo, &chosen, sizeof chosen);
  found->workspaceSize = chosen.workspace;
  *count = 1;
  return C(0);
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t d, const void* al,
                              const void* A, cublasLtMatrixLayout_t la, const void* B,
                              cublasLtMatrixLayout_t lb, const void* be, const void* Cc,
                              cublasLtMatrixLayout_t lc, void* D, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_size, cudaStream_t stream) {
  const char* who = "cublasLtMatmul";
  Chosen chosen;
  memcpy(&chosen, algorithm, sizeof chosen);
  if (((Handle*)h)->device != emu_device()) return refused(INVALID, "%s: another device's handle", who);
  if (chosen.made != 0x600dab1e || chosen.problem != problem(d, {la, lb, lc, ld}))
    return refused(INVALID, "%s: an algorithm that was found for something else", who);
  const void* given[] = {A, B, Cc, D};
  for (int i = 0; i < 4; ++i)
    if ((size_t)given[i] % chosen.align[i])
      return refused(INVALID, "%s: a matrix at %p, which is not aligned to %u bytes", who, given[i],
                     chosen.align[i]);
  if (workspace_size < chosen.workspace || (size_t)workspace % 16)
    return refused(INVALID, "%s: a workspace of %zu bytes at %p", who, workspace_size, workspace);
  if (workspace_size && !emu_usable(workspace, workspace_size, "workspace")) return C(INVALID);
  auto matrix = [](const void* p, cublasLtMatrixLayout_t l, bool transposed) {
    return Matrix{p,
                  (int)layout(l, CUBLASLT_MATRIX_LAYOUT_TYPE),
                  layout(l, CUBLASLT_MATRIX_LAYOUT_LD),
                  layout(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET),
                  layout(l, CUBLASLT_MATRIX_LAYOUT_ROWS),
                  layout(l, CUBLASLT_MATRIX_LAYOUT_COLS),
                  transposed};
  };
  Matrix a = matrix(A, la, described(d, CUBLASLT_MATMUL_DESC_TRANSA));
  Matrix b = matrix(B, lb, described(d, CUBLASLT_MATMUL_DESC_TRANSB));
  Matrix c = matrix(D, ld, false);
  long k = a.transposed ? a.rows : a.columns, batch = layout(ld, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
  if ((a.transposed ? a.columns : a.rows) != c.rows || (b.transposed ? b.rows : b.columns) != c.columns ||
      (b.transposed ? b.columns : b.rows) != k)
    return refused(INVALID, "%s: shapes that do not fit each other", who);
  for (auto l : {la, lb, lc, ld}) {
    if (layout(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) != batch)
      return refused(INVALID, "%s: not as many matrices everywhere", who);
    if (layout(l, CUBLASLT_MATRIX_LAYOUT_ORDER) != CUBLASLT_ORDER_COL)
      return refused(UNSUPPORTED, "%s of rows", who);
  }
  int compute = described(d, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE);
  Product g{compute, c.rows, c.columns, k, batch, a, b, c, scalar(al, compute), scalar(be, compute)};
  g.epilogue = described(d, CUBLASLT_MATMUL_DESC_EPILOGUE);
  g.workspace = workspace_size ? workspace : nullptr;
  if (g.beta != 0 && Cc != D) return refused(UNSUPPORTED, "%s with C apart from D", who);
  if (g.epilogue & ~(CUBLASLT_EPILOGUE_DEFAULT | CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_RELU))
    return refused(UNSUPPORTED, "%s with the epilogue %d", who, g.epilogue);
  if (g.epilogue & CUBLASLT_EPILOGUE_BIAS) {
    g.bias = (void*)described(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
    if ((size_t)g.bias % 16) return refused(INVALID, "%s: a bias at %p", who, g.bias);
    if (!emu_usable(g.bias, c.rows * size_of(c.type), "bias")) return C(INVALID);
  }
  return multiply(stream, g, "ltMatmul");
}
}
