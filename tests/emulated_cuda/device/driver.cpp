// Settings, counters, messages and errors; devices, modules and launches.
#include <dlfcn.h>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "device.h"
#undef cudaGetDeviceProperties

recursive_mutex turn;
bool shuffled = setting("EMU_SHUFFLE", 0);
mt19937 rng(setting("EMU_SEED", 1));
thread_local int current_device = 0;
map<string, long> counters;
int lost;

static void print(const char* start, const char* format, va_list given) {
  static FILE* log = getenv("EMU_LOG") ? fopen(getenv("EMU_LOG"), "a") : stderr;
  fprintf(log, "%s", start);
  vfprintf(log, format, given);
  fprintf(log, "\n");
  fflush(log);
}
void complain(const char* format, ...) {
  va_list given;
  va_start(given, format);
  print("EMU: ", format, given);
  va_end(given);
}
void fault(const char* counter, const char* format, ...) {
  if (counters[counter]++ >= 10) return;
  string start = string("EMU: ") + counter;
  if (running.launch) start += " in " + running.launch->function->name;
  va_list given;
  va_start(given, format);
  print((start + ": ").c_str(), format, given);
  va_end(given);
}

// Errors -----------------------------------------------------------------------------------------
static const struct {
  int code;
  const char *runtime, *driver;
} errors[] = {
    {0, "Success", "SUCCESS"},
    {1, "InvalidValue", "INVALID_VALUE"},
    {2, "MemoryAllocation", "OUT_OF_MEMORY"},
    {100, "NoDevice", "NO_DEVICE"},
    {101, "InvalidDevice", "INVALID_DEVICE"},
    {200, "InvalidKernelImage", "INVALID_IMAGE"},
    {217, "PeerAccessUnsupported", "PEER_ACCESS_UNSUPPORTED"},
    {400, "InvalidResourceHandle", "INVALID_HANDLE"},
    {401, "IllegalState", "ILLEGAL_STATE"},
    {500, "SymbolNotFound", "NOT_FOUND"},
    {600, "NotReady", "NOT_READY"},
    {700, "IllegalAddress", "ILLEGAL_ADDRESS"},
    {701, "LaunchOutOfResources", "LAUNCH_OUT_OF_RESOURCES"},
    {702, "LaunchTimeout", "LAUNCH_TIMEOUT"},
    {704, "PeerAccessAlreadyEnabled", "PEER_ACCESS_ALREADY_ENABLED"},
    {705, "PeerAccessNotEnabled", "PEER_ACCESS_NOT_ENABLED"},
    {719, "LaunchFailure", "LAUNCH_FAILED"},
    {801, "NotSupported", "NOT_SUPPORTED"},
    {900, "StreamCaptureUnsupported", "STREAM_CAPTURE_UNSUPPORTED"},
    {901, "StreamCaptureInvalidated", "STREAM_CAPTURE_INVALIDATED"},
    {902, "StreamCaptureMerge", "STREAM_CAPTURE_MERGE"},
    {903, "StreamCaptureUnmatched", "STREAM_CAPTURE_UNMATCHED"},
    {904, "StreamCaptureUnjoined", "STREAM_CAPTURE_UNJOINED"},
    {905, "StreamCaptureIsolation", "STREAM_CAPTURE_ISOLATION"},
    {906, "StreamCaptureImplicit", "STREAM_CAPTURE_IMPLICIT"},
    {907, "CapturedEvent", "CAPTURED_EVENT"},
    {908, "StreamCaptureWrongThread", "STREAM_CAPTURE_WRONG_THREAD"},
};
static const char* name_of(int code, bool driver) {
  static map<pair<int, bool>, string> names;
  string& name = names[{code, driver}];
  if (!name.empty()) return name.c_str();
  name = to_string(code);
  for (auto& error : errors)
    if (error.code == code) name = driver ? error.driver : error.runtime;
  bool success = !code && !driver;
  name = (driver ? "CUDA_" + string(code ? "ERROR_" : "") : success ? "cuda" : "cudaError") + name;
  return name.c_str();
}
static thread_local int last_error = 0;
cudaError_t answer(int error) {
  if (error) last_error = error;
  if (error && verbose) complain("%s", name_of(error, false));
  return (cudaError_t)error;
}
static CUresult answer_driver(int error) { return (CUresult)answer(error); }

extern "C" {
const char* cudaGetErrorName(cudaError_t e) {
  LOCK;
  return name_of(e, false);
}
const char* cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }
cudaError_t cudaGetLastError() {
  int error = last_error;
  last_error = 0;
  return (cudaError_t)error;
}
CUresult cuGetErrorName(CUresult e, const char** name) {
  LOCK;
  return *name = name_of(e, true), CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult e, const char** text) { return cuGetErrorName(e, text); }

// Of emulated.py, and of the libraries of products ------------------------------------------------
void emu_reset() {
  LOCK;
  counters.clear();
}
void emu_dump(char* text, size_t n) {
  LOCK;
  string all;
  for (auto& [name, count] : counters) all += name + "=" + to_string(count) + ";";
  strncpy(text, all.c_str(), n - 1);
}
// Whether a kernel has left an error behind; the device then works again.
int emu_recover() {
  LOCK;
  int error = lost;
  lost = 0;
  return error;
}
void emu_touched_by_host(const void* p, size_t n, int write) {
  LOCK;
  touched_by_host(p, n, write);
}
int emu_put(void* s, void (*work)(void*), void* data, void (*destroy)(void*), const char* what) {
  LOCK;
  counters[what]++;
  shared_ptr<void> kept(data, destroy);
  return put(find_stream(s), what, [=] { work(kept.get()); });
}
int emu_device() { return current_device; }
void emu_fault(const char* counter, const char* text) {
  LOCK;
  fault(counter, "%s", text);
}
void emu_absent(const char* name) {
  LOCK;
  fault("not emulated", "%s", name);
}

// Devices ----------------------------------------------------------------------------------------
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13020, cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { return *device = current_device, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* n) { return *n = devices, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
  LOCK;
  if (device < 0 || device >= devices) return answer(cudaErrorInvalidDevice);
  current_device = device;
  counters["setDevice"]++;
  return cudaSuccess;
}
static const map<int, int> attributes = {  // of an H100
    {cudaDevAttrMaxThreadsPerBlock, MOST_THREADS}, {cudaDevAttrMaxBlockDimX, 1024},
    {cudaDevAttrMaxBlockDimY, 1024}, {cudaDevAttrMaxBlockDimZ, 64},
    {cudaDevAttrMaxGridDimX, 0x7fffffff}, {cudaDevAttrMaxGridDimY, 65535},
    {cudaDevAttrMaxGridDimZ, 65535}, {cudaDevAttrMaxSharedMemoryPerBlock, SHARED},
    {cudaDevAttrMaxSharedMemoryPerBlockOptin, MOST_SHARED}, {cudaDevAttrWarpSize, 32},
    {cudaDevAttrMaxRegistersPerBlock, 65536}, {cudaDevAttrMultiProcessorCount, 132},
    {cudaDevAttrMaxThreadsPerMultiProcessor, 2048}, {cudaDevAttrComputeCapabilityMajor, 9},
    {cudaDevAttrComputeCapabilityMinor, 0}, {cudaDevAttrMemoryPoolsSupported, 0},
};
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  auto found = attributes.find(attribute);
  *value = found == attributes.end() ? 1 : found->second;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "Emulated H100");
  size_t free;
  cudaMemGetInfo(&free, &p->totalGlobalMem);
  p->major = 9;
  p->warpSize = 32;
  p->maxThreadsPerBlock = MOST_THREADS;
  p->multiProcessorCount = 132;
  p->sharedMemPerBlock = SHARED;
  return cudaSuccess;
}
CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int* version) { return *version = 13000, CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int* n) { return *n = devices, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice* device, int n) { return *device = n, CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext* c) {
  return *c = (CUcontext)(uintptr_t)(current_device + 1), CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext c) {
  return c ? (CUresult)cudaSetDevice((int)(uintptr_t)c - 1) : CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device) { return *device = current_device, CUDA_SUCCESS; }

// Modules ----------------------------------------------------------------------------------------
static void find_place(Module& module, const string& path) {
  FILE* maps = fopen("/proc/self/maps", "r");
  char line[1024], rights[8];
  uintptr_t start, end;
  while (fgets(line, sizeof line, maps)) {
    sscanf(line, "%lx-%lx %7s", &start, &end, rights);
    bool zeroed = module.data && start == module.high && !strchr(line, '/');
    if (!strstr(line, path.c_str()) && !zeroed) continue;
    if (!module.low) module.low = start;
    if (!module.data && rights[1] == 'w') module.data = start;
    module.high = end;
  }
  fclose(maps);
  if (!module.data) module.data = module.high;
}
CUresult cuModuleLoadData(CUmodule* made, const void* image) {
  LOCK;
  if (int error = unsafe("cuModuleLoadData")) return answer_driver(error);
  if (strncmp((const char*)image, "EMU:", 4)) return answer_driver(CUDA_ERROR_INVALID_IMAGE);
  string path = (const char*)image + 4;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    complain("%s", dlerror());
    return answer_driver(CUDA_ERROR_INVALID_IMAGE);
  }
  auto* module = new Module{library, current_device};
  find_place(*module, path);
  *made = (CUmodule)module;
  counters["moduleLoad"]++;
  return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule) {
  LOCK;
  return answer_driver(unsafe("cuModuleUnload"));
}
CUresult cuModuleGetFunction(CUfunction* made, CUmodule handle, const char* name) {
  LOCK;
  auto* module = (Module*)handle;
  auto* kernel = (EmuKernel*)dlsym(module->library, (string("emu_kernel_") + name).c_str());
  if (!kernel) return answer_driver(CUDA_ERROR_NOT_FOUND);
  *made = (CUfunction) new Function{name, module, kernel, SHARED};
  return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction f) {
  bool bounds = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
  return *value = bounds ? ((Function*)f)->kernel->bounds : 0, CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute attribute, int value) {
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
  if (value < 0 || value > (int)MOST_SHARED) return answer_driver(CUDA_ERROR_INVALID_VALUE);
  ((Function*)f)->shared = value;
  return CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, CUstream stream, void** given,
                        void**) {
  LOCK;
  auto* f = (Function*)handle;
  size_t threads = (size_t)bx * by * bz;
  bool fits = gx && gy && gz && gx <= 0x7fffffffu && gy <= 65535 && gz <= 65535 && threads &&
              bx <= 1024 && by <= 1024 && bz <= 64 && threads <= MOST_THREADS;
  if (!fits || shared > f->shared) {
    complain("a launch of %ux%ux%u blocks of %ux%ux%u threads, with %u bytes: %s", gx, gy, gz, bx,
             by, bz, shared, f->name.c_str());
    return answer_driver(CUDA_ERROR_INVALID_VALUE);
  }
  if (threads > f->kernel->bounds) return answer_driver(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  auto* s = find_stream(stream);
  if (!s) return answer_driver(CUDA_ERROR_INVALID_HANDLE);
  if (s->device != current_device || f->module->device != current_device) {
    fault("wrong handle", "%s of device %d, on a stream of device %d, on device %d", f->name.c_str(),
          f->module->device, s->device, current_device);
    return answer_driver(CUDA_ERROR_INVALID_HANDLE);
  }
  auto launch = make_shared<Launch>();
  *launch = {f, {gx, gy, gz}, {bx, by, bz}, shared, current_device};
  // The arguments are copied, since it may run later.
  vector<size_t> starts;
  for (unsigned n = 0; n < f->kernel->count; ++n) {
    starts.push_back(launch->bytes.size());
    launch->bytes.resize(starts.back() + (f->kernel->sizes[n] + 15) / 16 * 16);
  }
  for (unsigned n = 0; n < f->kernel->count; ++n) {
    launch->arguments.push_back(launch->bytes.data() + starts[n]);
    memcpy(launch->arguments[n], given[n], f->kernel->sizes[n]);
  }
  counters["launch"]++;
  counters["kernel " + f->name]++;
  counters["launch on " + to_string(current_device)]++;
  return answer_driver(put(s, "kernel", [=] { run_grid(*launch); }));
}
}
