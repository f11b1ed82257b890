// Memory of devices, and of the host's that is pinned; copies.
//
// All of it lies in one stretch of addresses. What was freed is taken away, and its addresses are
// not given again before all others were: whoever uses it is found out.
#include <sys/mman.h>
#include <algorithm>
#include <cstring>
#include "device.h"

const size_t ARENA = (size_t)1 << 41, EDGE = (size_t)1 << 36;  // nothing is given at its edges
char* reserve(size_t size, int rights, void* at) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0);
  return (char*)mmap(at, size, rights, flags, -1, 0);
}
char* const arena = reserve(ARENA, PROT_NONE);
bool in_arena(uintptr_t p) { return p - (uintptr_t)arena < ARENA; }

static const size_t total = (size_t)setting("EMU_MB", 80000) << 20;
static vector<size_t> used(devices);
static map<uintptr_t, Block> blocks;  // by where they start
static const uintptr_t first = (uintptr_t)arena + EDGE, end_ = (uintptr_t)arena + ARENA - EDGE;
static uintptr_t next_free = first;

const Block* near_block(uintptr_t p) {
  auto after = blocks.upper_bound(p + MARGIN);
  if (after == blocks.begin()) return nullptr;
  auto& block = prev(after)->second;
  return p < block.start + block.size + MARGIN ? &block : nullptr;
}
static Kind kind_of(const void* p) {
  auto* block = near_block((uintptr_t)p);
  return block ? block->kind : PAGEABLE;
}
bool usable(const void* p, size_t n, const char* who) {
  if (!n || !in_arena((uintptr_t)p)) return true;
  auto* block = near_block((uintptr_t)p);
  bool inside = block && (uintptr_t)p >= block->start &&
                (uintptr_t)p + n <= block->start + block->size;
  if (inside && !block->freed) return true;
  fault(block && block->freed ? "freed memory" : "out of bounds", "%s: %zu bytes at %p, %s", who, n,
        p, !block ? "where nothing is" : block->freed ? "freed" : "beyond an allocation");
  return false;
}

// Access to other devices
static vector<vector<bool>> access_(devices, vector<bool>(devices));
static const bool peers = setting("EMU_PEER", 1);
bool has_access(int device, int owner) { return device == owner || access_[device][owner]; }
void hide_from(int device, bool hidden) {
  for (auto& [start, block] : blocks)
    if (block.kind == DEVICE && !block.freed && !has_access(device, block.device))
      mprotect((void*)start, block.size, hidden ? PROT_NONE : PROT_READ | PROT_WRITE);
}

static size_t pages(size_t n) { return (max<size_t>(n, 1) + 4095) / 4096 * 4096; }
static void* allocate(size_t n, Kind kind) {
  size_t whole = pages(n) + 2 * MARGIN;
  if (whole > end_ - first) return nullptr;
  for (bool fits = false; !fits;) {
    if (next_free + whole > end_) next_free = first;
    fits = true;
    // Those here are from the round before.
    auto there = blocks.lower_bound(next_free - MARGIN);
    while (there != blocks.end() && there->first < next_free + whole + MARGIN) {
      auto& block = there->second;
      if (!block.freed) {
        next_free = block.start + pages(block.size) + MARGIN;
        fits = false;
        break;
      }
      there = blocks.erase(there);
    }
  }
  char* p = (char*)next_free + MARGIN;
  if (mprotect((char*)next_free, whole, PROT_READ | PROT_WRITE)) return nullptr;
  // What is read before it is written is no number, unless there is very much of it.
  if (n < (64u << 20)) memset(p, 0xff, pages(n));
  blocks[(uintptr_t)p] = {(uintptr_t)p, n, current_device, kind, false};
  next_free += whole;
  return p;
}
static bool free_(void* p, Kind kind) {
  auto found = blocks.find((uintptr_t)p);
  if (found == blocks.end() || found->second.freed || found->second.kind != kind) {
    fault("wrong free", "freed, but not allocated or freed before: %p", p);
    return false;
  }
  auto& block = found->second;
  // It waits for all that may use it, but that is nothing to rely on.
  for (int device = 0; device < devices; ++device) wait_for_device(device, false);
  block.freed = true;
  if (kind == DEVICE) used[block.device] -= pages(block.size);
  reserve(pages(block.size) + 2 * MARGIN, PROT_NONE, (char*)p - MARGIN);
  forget(block.start, block.size);
  return true;
}

// An operation's own look at memory, which may have been freed since it was put on a stream.
static bool use(const void* p, size_t n, bool write, const char* who) {
  if (!usable(p, n, who)) return lost = cudaErrorIllegalAddress, false;
  touch(p, n, write);
  return true;
}
static int copy(void* to, const void* from, size_t n, cudaMemcpyKind direction, Stream* s,
                bool waits) {
  if (!s) return cudaErrorInvalidResourceHandle;
  if (!n) return lost;
  if (!usable(from, n, "copy") || !usable(to, n, "copy")) return cudaErrorInvalidValue;
  Kind source = kind_of(from), target = kind_of(to);
  bool to_device = target == DEVICE, from_device = source == DEVICE;
  if (direction != cudaMemcpyDefault &&
      (to_device != (direction == cudaMemcpyHostToDevice || direction == cudaMemcpyDeviceToDevice) ||
       from_device != (direction == cudaMemcpyDeviceToHost || direction == cudaMemcpyDeviceToDevice)))
    fault("wrong copy", "a copy of kind %d, from %sdevice to %sdevice", (int)direction,
          from_device ? "" : "no ", to_device ? "" : "no ");
  Kind at_host = to_device ? source : target;
  if (s->capture && at_host == PAGEABLE) return refuse(s);
  string name = to_device && from_device ? "d2d" : to_device ? "h2d" : from_device ? "d2h" : "h2h";
  if (at_host != DEVICE) name += at_host == PINNED ? " pinned" : " pageable";
  if (!s->capture) counters["copy " + name + (waits ? "" : " async")]++;
  // Pageable memory is read at once, and what is copied into it is waited for.
  shared_ptr<vector<char>> staged;
  if (source == PAGEABLE) staged.reset(new vector<char>((char*)from, (char*)from + n));
  int error = put(s, "memcpy", [=] {
    if (use(from, n, false, "copy") && use(to, n, true, "copy"))
      memmove(to, staged ? staged->data() : from, n);
  });
  bool host_waits = target == PAGEABLE || (waits && !(to_device && from_device));
  if (error || s->capture || !host_waits) return error;
  counters["wait memcpy"]++;
  return wait_for(s);
}
static int fill(void* p, int value, size_t n, Stream* s) {
  if (!s) return cudaErrorInvalidResourceHandle;
  if (!usable(p, n, "memset")) return cudaErrorInvalidValue;
  counters["memset"]++;
  return put(s, "memset", [=] {
    if (use(p, n, true, "memset")) memset(p, value, n);
  });
}

extern "C" {
cudaError_t cudaMalloc(void** p, size_t n) {
  LOCK;
  *p = nullptr;
  if (int error = unsafe("cudaMalloc")) return answer(error);
  if (lost) return answer(lost);
  counters["malloc"]++;
  if (used[current_device] + pages(n) > total || !(*p = allocate(n, DEVICE)))
    return answer(cudaErrorMemoryAllocation);
  used[current_device] += pages(n);
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  LOCK;
  if (int error = unsafe("cudaFree")) return answer(error);
  if (!p) return cudaSuccess;
  counters["free"]++;
  return answer(free_(p, DEVICE) ? 0 : cudaErrorInvalidValue);
}
cudaError_t cudaHostAlloc(void** p, size_t n, unsigned) {
  LOCK;
  if (int error = unsafe("cudaHostAlloc")) return answer(error);
  counters["hostAlloc"]++;
  *p = allocate(n, PINNED);
  if (*p) touched_by_host(*p, n, true);
  return answer(*p ? 0 : cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* p) {
  LOCK;
  if (int error = unsafe("cudaFreeHost")) return answer(error);
  counters["freeHost"]++;
  return answer(free_(p, PINNED) ? 0 : cudaErrorInvalidValue);
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* all) {
  LOCK;
  *all = total;
  *free = total - used[current_device];
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t n, cudaMemcpyKind kind) {
  LOCK;
  auto* s = legacy_stream(current_device);
  int error = refuse_legacy(current_device);
  if (!error) error = unsafe("cudaMemcpy");
  return answer(error ? error : copy(to, from, n, kind, s, true));
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t n, cudaMemcpyKind kind,
                            cudaStream_t s) {
  LOCK;
  return answer(copy(to, from, n, kind, find_stream(s), false));
}
cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, size_t n) {
  return cudaMemcpy(to, from, n, cudaMemcpyDefault);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t n, cudaStream_t s) {
  return cudaMemcpyAsync(to, from, n, cudaMemcpyDefault, s);
}
cudaError_t cudaMemset(void* p, int value, size_t n) {
  LOCK;
  int error = refuse_legacy(current_device);
  if (!error) error = unsafe("cudaMemset");
  return answer(error ? error : fill(p, value, n, legacy_stream(current_device)));
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t n, cudaStream_t s) {
  LOCK;
  return answer(fill(p, value, n, find_stream(s)));
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  LOCK;
  *attributes = {};
  auto* block = near_block((uintptr_t)p);
  if (!block || block->freed) {
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = cudaInvalidDeviceId;
    return cudaSuccess;
  }
  attributes->type = block->kind == DEVICE ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
  attributes->device = block->device;
  attributes->devicePointer = (void*)p;
  if (block->kind == PINNED) attributes->hostPointer = (void*)p;
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  return *can = device != peer && peers, cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  LOCK;
  if (peer < 0 || peer >= devices || peer == current_device) return answer(cudaErrorInvalidDevice);
  if (!peers) return answer(cudaErrorPeerAccessUnsupported);
  if (access_[current_device][peer]) return answer(cudaErrorPeerAccessAlreadyEnabled);
  access_[current_device][peer] = true;
  return cudaSuccess;
}
cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  LOCK;
  if (peer < 0 || peer >= devices) return answer(cudaErrorInvalidDevice);
  if (!access_[current_device][peer]) return answer(cudaErrorPeerAccessNotEnabled);
  access_[current_device][peer] = false;
  return cudaSuccess;
}

// Of the libraries of products: whether a matrix lies in memory that the device can use; its use.
int emu_use(const void* p, size_t n, int write, const char* who) { return use(p, n, write, who); }
int emu_usable(const void* p, size_t n, const char* who) {
  LOCK;
  auto* block = near_block((uintptr_t)p);
  if (!block || block->kind != DEVICE) {
    fault("host memory", "%s: no memory of a device at %p", who, p);
    return false;
  }
  if (!has_access(current_device, block->device)) {
    fault("other device", "%s on device %d: memory of device %d", who, current_device, block->device);
    return false;
  }
  if (block->device != current_device)
    fault("other device", "%s on device %d reads memory of device %d", who, current_device,
          block->device);
  return usable(p, n, who);
}
}
