// Runs the blocks of a launch one after another, and the threads of a block by turns.
//
// Each thread begins on a fiber, a stack of its own. If it ends without having waited for others,
// the next thread takes over its fiber; so a kernel without barriers runs at the speed of a loop.
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <algorithm>
#include <cstring>
#include <deque>
#include "device.h"

EmuState emu_state;
alignas(16) char emu_shared[MOST_SHARED];
Running running;

struct Fiber {
  jmp_buf at;
  ucontext_t start;
  bool begun;
  unsigned thread;
};
struct Barrier {
  unsigned lanes;  // of a warp
  vector<Fiber*> waiting;
};
struct Warp {
  unsigned alive;  // lanes
  vector<Barrier> barriers;
};
static Fiber fibers[MOST_THREADS], *self;
static vector<Fiber*> idle;
static deque<Fiber*> ready;
static Barrier block_barrier;
static Warp warps[MOST_THREADS / 32];
static char cells[MOST_THREADS][16];  // of shuffles
static unsigned started, alive;
static vector<unsigned> order(MOST_THREADS);
static jmp_buf ground;
static bool in_kernel;

// The lowest page of each stack is nobody's.
static char* new_stacks() {
  char* made = reserve(MOST_THREADS * STACK, PROT_READ | PROT_WRITE);
  for (size_t n = 0; n < MOST_THREADS; ++n) mprotect(made + n * STACK, 4096, PROT_NONE);
  return made;
}
char* const stacks = new_stacks();

// Turns ------------------------------------------------------------------------------------------
static void set_place(unsigned thread) {
  running.thread = thread;
  auto& size = emu_state.blockDim;
  emu_state.threadIdx = {thread % size.x, thread / size.x % size.y, thread / (size.x * size.y)};
}
static void resume(Fiber* next) {
  self = next;
  if (next->begun) _longjmp(next->at, 1);
  next->begun = true;
  setcontext(&next->start);
}
__attribute__((noinline)) static Fiber* next_fiber() {
  Fiber* next = nullptr;
  if (started < running.threads && !(shuffled && !ready.empty() && rng() % 2)) {
    next = idle.back();
    idle.pop_back();
  } else if (!ready.empty()) {
    next = ready.front();
    ready.pop_front();
  }
  return next;
}
// Lets others go on, until somebody resumes this fiber.
static void give_way() {
  Fiber *mine = self, *next = next_fiber();
  if (!next && alive) {
    string where = block_barrier.waiting.empty() ? "a warp" : "the block";
    fail(cudaErrorLaunchTimeout, "deadlocks", "threads wait for others of " + where + " for ever");
  }
  if (_setjmp(mine->at)) return set_place(mine->thread);
  if (!next) _longjmp(ground, 1);
  resume(next);
}
static void let_go(Barrier& barrier) {
  for (auto* fiber : barrier.waiting)
    if (fiber != self) ready.push_back(fiber);
  barrier.waiting.clear();
}
static void end_thread() {
  unsigned lane = self->thread % 32;
  Warp& warp = warps[self->thread / 32];
  warp.alive &= ~(1u << lane);
  --alive;
  // Who waited for this one only goes on.
  if (!block_barrier.waiting.empty() && block_barrier.waiting.size() == alive) {
    block_met();
    let_go(block_barrier);
  }
  for (auto& barrier : warp.barriers)
    if (!barrier.waiting.empty() &&
        (int)barrier.waiting.size() == __builtin_popcount(barrier.lanes & warp.alive))
      let_go(barrier);
}
static void work() {
  for (;;) {
    while (started < running.threads) {
      self->thread = order[started++];
      set_place(self->thread);
      running.launch->function->kernel->run((void**)running.launch->arguments.data());
      end_thread();
    }
    idle.push_back(self);
    give_way();
  }
}
static void reset_fibers() {
  idle.clear();
  ready.clear();
  for (auto& fiber : fibers) {
    fiber.begun = false;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = stacks + (&fiber - fibers) * STACK + 4096;
    fiber.start.uc_stack.ss_size = STACK - 4096;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, work, 0);
    idle.push_back(&fiber);
  }
}

// What threads do together -----------------------------------------------------------------------
static void meet(unsigned lanes, bool shuffles) {
  Warp& warp = warps[self->thread / 32];
  unsigned expected = lanes & warp.alive;
  if (!(expected >> self->thread % 32 & 1)) fault("wrong masks", "a lane that is not in its mask");
  auto barrier = find_if(warp.barriers.begin(), warp.barriers.end(),
                         [=](const Barrier& known) { return known.lanes == lanes; });
  size_t number = barrier - warp.barriers.begin();
  if (barrier == warp.barriers.end()) warp.barriers.push_back({lanes});
  auto& waiting = warp.barriers[number].waiting;
  waiting.push_back(self);
  if ((int)waiting.size() < __builtin_popcount(expected)) return give_way();
  warp_met(self->thread / 32 * 32, expected, shuffles);
  let_go(warp.barriers[number]);
}
extern "C" {
void emu_barrier_block() {
  block_barrier.waiting.push_back(self);
  if (block_barrier.waiting.size() < alive) return give_way();
  block_met();
  let_go(block_barrier);
}
void emu_barrier_warp(unsigned lanes) { meet(lanes, false); }
unsigned emu_lane() { return running.thread % 32; }
// Shuffles wait for each other, but what they exchange is all that the others get to see.
void emu_shuffle(unsigned lanes, const void* in, void* out, unsigned size, unsigned lane) {
  memcpy(cells[running.thread], in, size);
  meet(lanes, true);
  unsigned source = running.thread / 32 * 32 + lane;
  bool there = lanes >> lane & 1 && warps[running.thread / 32].alive >> lane & 1;
  if (!there) fault("wrong masks", "a shuffle with lane %u, which takes no part", lane);
  memcpy(out, there ? cells[source] : in, size);
  meet(lanes, true);
}
}

// Faults -----------------------------------------------------------------------------------------
void fail(int error, const char* counter, const string& text) {
  in_kernel = false;
  fault(counter, "%s", text.c_str());
  lost = error;
  reset_fibers();
  _longjmp(ground, 1);
}
static void on_signal(int signal, siginfo_t* info, void*) {
  if (!in_kernel) {  // not a kernel's
    sigaction(signal, nullptr, nullptr);
    ::signal(signal, SIG_DFL);
    raise(signal);
    return;
  }
  if (signal == SIGFPE) fail(cudaErrorLaunchFailure, "divisions by zero", "an integer is divided by 0");
  uintptr_t p = (uintptr_t)info->si_addr;
  auto* block = near_block(p);
  const char* counter = "out of bounds";
  string what = "an address where nothing is";
  if (p - (uintptr_t)stacks < MOST_THREADS * STACK) counter = "stack overflows", what = "the stack ends";
  if (block && block->freed) counter = "freed memory", what = "freed memory";
  if (block && !has_access(running.launch->device, block->device))
    counter = "other device", what = "memory of device " + to_string(block->device);
  char text[32];
  snprintf(text, sizeof text, " at %p", (void*)p);
  fail(cudaErrorIllegalAddress, counter, what + text);
}

// Launches ---------------------------------------------------------------------------------------
static void run_block() {
  started = 0;
  alive = running.threads;
  block_barrier.waiting.clear();
  for (unsigned n = 0; n * 32 < running.threads; ++n) {
    unsigned lanes = min(32u, running.threads - n * 32);
    warps[n].alive = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warps[n].barriers.clear();
  }
  if (shuffled) shuffle(order.begin(), order.begin() + running.threads, rng);
  if (race) begin_block();
  if (_setjmp(ground)) return;
  Fiber* first = idle.back();
  idle.pop_back();
  resume(first);
}
void run_grid(const Launch& launch) {
  static bool once = (reset_fibers(), true);
  (void)once;
  static thread_local char own_stack[1 << 15];
  stack_t at_faults{own_stack, 0, sizeof own_stack}, old_stack;
  struct sigaction acts {}, old[3];
  const int signals[] = {SIGSEGV, SIGBUS, SIGFPE};
  acts.sa_sigaction = on_signal;
  acts.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaltstack(&at_faults, &old_stack);
  for (int n = 0; n < 3; ++n) sigaction(signals[n], &acts, &old[n]);

  auto& g = launch.grid;
  auto& b = launch.block;
  running = {&launch, b.x * b.y * b.z};
  emu_state.gridDim = g;
  emu_state.blockDim = b;
  for (unsigned n = 0; n < running.threads; ++n) order[n] = n;
  size_t blocks = (size_t)g.x * g.y * g.z;
  vector<unsigned> block_order(shuffled ? blocks : 0);
  for (size_t n = 0; n < block_order.size(); ++n) block_order[n] = n;
  shuffle(block_order.begin(), block_order.end(), rng);
  if (devices > 1) hide_from(launch.device, true);
  if (race) begin_launch();
  in_kernel = true;
  for (size_t n = 0; n < blocks && !lost; ++n) {
    unsigned block = running.block = shuffled ? block_order[n] : n;
    emu_state.blockIdx = {block % g.x, block / g.x % g.y, block / g.x / g.y};
    run_block();
  }
  in_kernel = false;
  running.launch = nullptr;
  if (devices > 1) hide_from(launch.device, false);
  for (int n = 0; n < 3; ++n) sigaction(signals[n], &old[n], nullptr);
  sigaltstack(&old_stack, nullptr);
}
