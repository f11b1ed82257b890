// Who touches what: with EMU_RACE=1 every number in memory remembers who wrote and who read it last.
//
// Kernels are compiled as for gcc's thread sanitizer, whose functions are these. Two accesses to a
// number, one of which writes, are a race if nothing orders them: between operations the order of
// streams, events and the host's waiting; in a launch the barriers of a block or a warp, and between
// its blocks a fence and an atomic operation.
#include <sys/mman.h>
#include <array>
#include <cstring>
#include <unordered_map>
#include "device.h"

struct Access {
  unsigned operation, block, time;
  unsigned short thread;
  bool split;
};
struct Cell {
  Access written, changed, read, older;  // changed: by an atomic operation
};
static const unsigned WHOLE = ~0u;  // the block of what is no kernel

static Cell* const global_cells =
    race ? (Cell*)reserve(ARENA / 4 * sizeof(Cell), PROT_READ | PROT_WRITE) : nullptr;
static vector<Cell> shared_cells;
static unordered_map<uintptr_t, array<Cell, 4>> bytes;  // of numbers that were taken apart
void forget(uintptr_t start, size_t size) {
  if (!race) return;
  uintptr_t first = (uintptr_t)(global_cells + (start - (uintptr_t)arena) / 4);
  madvise((void*)first, size / 4 * sizeof(Cell), MADV_DONTNEED);
}

// Operations -------------------------------------------------------------------------------------
struct When {
  unsigned lane, number;
};
static vector<When> operations(1);
static unsigned acting, known_before;
static shared_ptr<const Clock> before;
void act(const Stamp& stamp) {
  if (!race) return;
  operations.push_back({stamp.lane, stamp.number});
  acting = operations.size() - 1;
  before = stamp.before;
  known_before = 0;
}
static bool came_before(unsigned operation) {
  if (operation == known_before) return true;
  auto& when = operations[operation];
  if (when.lane >= before->size() || when.number > (*before)[when.lane]) return false;
  known_before = operation;
  return true;
}

// Threads of a block ------------------------------------------------------------------------------
// Time of a block goes on at each barrier and fence. A write is published by an atomic operation if
// a fence lies between that the thread of the atomic operation did, or that it knows of.
struct Thread {
  unsigned fence, older_fence;  // the older one lies before the last barrier of the block
  // For each lane of the warp, the time up to which what it did, or read, is ordered.
  unsigned seen[32], seen_read[32];
};
struct Published {
  unsigned all;  // what any thread wrote before
  vector<unsigned> by_thread;
};
static Thread threads[MOST_THREADS];
static unsigned now, met, fenced, run_number;
static set<uintptr_t> acquired;
static unordered_map<uintptr_t, unordered_map<unsigned, Published>> published;

void begin_launch() { published.clear(); }
void begin_block() {
  ++run_number;
  now = met = 1;
  fenced = 0;
  acquired.clear();
  memset(threads, 0, running.threads * sizeof(Thread));
}
void block_met() {
  if (!race) return;
  bool fences = false;
  for (unsigned n = 0; n < running.threads; ++n) {
    fences |= threads[n].fence > met;
    threads[n].older_fence = threads[n].fence;
  }
  if (fences) fenced = met;
  met = ++now;
}
// What lanes read before a shuffle they have read; what they wrote it does not let others see.
void warp_met(unsigned first, unsigned lanes, bool shuffles) {
  if (!race) return;
  ++now;
  auto share = [&](unsigned (Thread::*seen)[32]) {
    unsigned known[32] = {};
    for (unsigned n = 0; n < 32; ++n)
      for (unsigned other = 0; lanes >> n & 1 && other < 32; ++other)
        known[other] = max(known[other], other == n ? now : (threads[first + n].*seen)[other]);
    for (unsigned n = 0; n < 32; ++n)
      if (lanes >> n & 1) memcpy(threads[first + n].*seen, known, sizeof known);
  };
  share(&Thread::seen_read);
  if (!shuffles) share(&Thread::seen);
}
static Published publish() {
  unsigned me = running.thread;
  Published made{threads[me].fence > met ? met : fenced};
  for (unsigned n = 0; n < running.threads; ++n) {
    auto& t = threads[n];
    bool known = n == me || t.fence < met || (n / 32 == me / 32 && t.fence < threads[me].seen[n % 32]);
    made.by_thread.push_back(known ? t.fence : t.older_fence);
  }
  return made;
}
enum How { WRITTEN, CHANGED, READ };
static bool ordered(const Access& a, How how, uintptr_t p) {
  if (a.block == running.block) {
    auto& me = threads[running.thread];
    auto& seen = how == READ ? me.seen_read : me.seen;
    return a.thread == running.thread || a.time < met ||
           (a.thread / 32 == (int)running.thread / 32 && a.time < seen[a.thread % 32]);
  }
  if (how == CHANGED && acquired.count(p)) return true;
  for (uintptr_t atom : acquired) {
    auto& all = published[atom];
    auto found = all.find(a.block);
    if (found != all.end() &&
        (a.time < found->second.all || a.time < found->second.by_thread[a.thread]))
      return true;
  }
  return false;
}

// Accesses ---------------------------------------------------------------------------------------
static void visit(Cell& cell, uintptr_t p, const Access& a, How how, bool shared) {
  auto after = [&](const Access& other, How did) {
    if (other.operation == a.operation) return a.block == WHOLE || ordered(other, did, p);
    return shared || !other.operation || came_before(other.operation);
  };
  auto check = [&](const Access& other, How did) {
    if (after(other, did)) return;
    const char* names[] = {"written", "changed", "read"};
    if (other.operation == a.operation)
      fault("races", "%p is %s by block %u thread %u, and %s by block %u thread %u", (void*)p,
            names[did], other.block, other.thread, names[how], a.block, a.thread);
    else
      fault("stream races", "%p is %s, and in no order %s on another stream", (void*)p, names[did],
            names[how]);
  };
  check(cell.written, WRITTEN);
  if (how != CHANGED) check(cell.changed, CHANGED);
  if (how == READ) {
    if (!shared && !cell.written.operation && !cell.changed.operation && a.block != WHOLE)
      fault("uninitialised", "%p is read, which nobody wrote", (void*)p);
    if (!after(cell.read, READ)) cell.older = cell.read;
    cell.read = a;
    return;
  }
  check(cell.read, READ);
  check(cell.older, READ);
  bool split = cell.written.split;
  if (how == CHANGED) {
    cell.changed = a;
  } else {
    cell = {a};
    cell.written.split = split;
  }
}
static void visit_range(Cell* cells, uintptr_t start, uintptr_t p, size_t n, Access a, How how,
                        bool shared) {
  for (uintptr_t word = p / 4 * 4; word < p + n; word += 4) {
    Cell& cell = cells[(word - start) / 4];
    bool part = word < p || word + 4 > p + n;
    if (!part && !cell.written.split) {
      visit(cell, word, a, how, shared);
      continue;
    }
    auto& apart = bytes[word];
    if (!cell.written.split) apart = {cell, cell, cell, cell};
    cell.written.split = true;
    for (unsigned i = 0; i < 4; ++i)
      if (word + i >= p && word + i < p + n) visit(apart[i], word + i, a, how, shared);
  }
}
void touch(const void* p, size_t n, bool write) {
  if (!race || !in_arena((uintptr_t)p)) return;
  Access a{acting, WHOLE};
  visit_range(global_cells, (uintptr_t)arena, (uintptr_t)p, n, a, write ? WRITTEN : READ, false);
}
static bool is_private(uintptr_t p) {
  auto within = [=](const void* start, size_t n) { return p - (uintptr_t)start < n; };
  auto& launch = *running.launch;
  auto& module = *launch.function->module;
  return within(stacks, MOST_THREADS * STACK) || within(&emu_state, sizeof emu_state) ||
         within(launch.bytes.data(), launch.bytes.size()) ||
         within((void*)module.low, module.data - module.low);
}
static void access(uintptr_t p, size_t n, How how) {
  Access a{acting, running.block, now, (unsigned short)running.thread};
  auto& module = *running.launch->function->module;
  uintptr_t dynamic = (uintptr_t)emu_shared;
  if (in_arena(p)) {
    auto* block = near_block(p);
    if (!block || p < block->start || p + n > block->start + block->size) {
      fault("out of bounds", "%zu bytes at %p, %zd bytes behind the start of %zu", n, (void*)p,
            block ? p - block->start : 0, block ? block->size : 0);
    } else if (block->freed) {
      fault("freed memory", "%zu bytes at %p", n, (void*)p);
    } else {
      if (block->kind != DEVICE) fault("host memory", "%p is pinned", (void*)p);
      else if (block->device != running.launch->device)
        fault("other device", "%p is memory of device %d", (void*)p, block->device);
      visit_range(global_cells, (uintptr_t)arena, p, n, a, how, false);
    }
    return;
  }
  uintptr_t start = p - dynamic < MOST_SHARED ? dynamic : module.data;
  size_t size = start == dynamic ? MOST_SHARED : module.high - module.data;
  if (p - start < size) {
    if (start == dynamic && p + n > dynamic + running.launch->shared)
      fault("out of bounds", "of shared memory, at byte %zu of %zu", p - dynamic,
            running.launch->shared);
    size_t words = (MOST_SHARED + module.high - module.data) / 4 + 2;
    if (shared_cells.size() < words) shared_cells.resize(words);
    a.operation = run_number;
    Cell* cells = shared_cells.data() + (start == dynamic ? 0 : MOST_SHARED / 4);
    visit_range(cells, start / 4 * 4, p, n, a, how, true);
  } else if (!is_private(p)) {
    fault("host memory", "%zu bytes at %p", n, (void*)p);
  }
}

extern "C" {
void emu_fence() { threads[running.thread].fence = ++now; }
void emu_atomic(void* p, unsigned size) {
  if (!race) return;
  access((uintptr_t)p, size, CHANGED);
  for (unsigned i = 0; i < size; i += 4) acquired.insert((uintptr_t)p + i);
  published[(uintptr_t)p][running.block] = publish();
}
// Of gcc's -fsanitize=alignment: a type is read or written where none of it may lie.
void __ubsan_handle_type_mismatch_v1(void*, uintptr_t p) {
  fault("misaligned", "an access at %p", (void*)p);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
#define OF_SIZE(n)                                                                             \
  void __tsan_read##n(void* p) { access((uintptr_t)p, n, READ); }                             \
  void __tsan_write##n(void* p) { access((uintptr_t)p, n, WRITTEN); }                             \
  void __tsan_unaligned_read##n(void* p) { access((uintptr_t)p, n, READ); }                   \
  void __tsan_unaligned_write##n(void* p) { access((uintptr_t)p, n, WRITTEN); }                   \
  void __tsan_volatile_read##n(void* p) { access((uintptr_t)p, n, READ); }                    \
  void __tsan_volatile_write##n(void* p) { access((uintptr_t)p, n, WRITTEN); }
OF_SIZE(1)
OF_SIZE(2)
OF_SIZE(4)
OF_SIZE(8)
OF_SIZE(16)
void __tsan_read_range(void* p, size_t n) { access((uintptr_t)p, n, READ); }
void __tsan_write_range(void* p, size_t n) { access((uintptr_t)p, n, WRITTEN); }
void* __tsan_memcpy(void* to, const void* from, size_t n) {
  access((uintptr_t)from, n, READ);
  access((uintptr_t)to, n, WRITTEN);
  return memcpy(to, from, n);
}
void* __tsan_memset(void* p, int value, size_t n) {
  access((uintptr_t)p, n, WRITTEN);
  return memset(p, value, n);
}
}
