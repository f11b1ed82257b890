// What the parts of the emulated device know of each other.
#pragma once
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>
using namespace std;

// The host's threads take turns: whoever calls the device has it alone.
extern recursive_mutex turn;
#define LOCK lock_guard<recursive_mutex> guard(turn)

// Settings, counters and messages: driver.cpp ----------------------------------------------------
inline int setting(const char* name, int otherwise) {
  const char* value = getenv(name);
  return value ? atoi(value) : otherwise;
}
inline const bool race = setting("EMU_RACE", 0), verbose = setting("EMU_VERBOSE", 0);
inline const int devices = setting("EMU_NDEV", 1);
extern bool shuffled;
extern mt19937 rng;
extern thread_local int current_device;
extern map<string, long> counters;
extern int lost;  // the error that a kernel left behind, which the device answers with from then on
void complain(const char* format, ...) __attribute__((format(printf, 1, 2)));
// Counts a fault, and tells of it unless there were many.
void fault(const char* counter, const char* format, ...) __attribute__((format(printf, 2, 3)));
cudaError_t answer(int error);  // keeps an error for cudaGetLastError

// Streams, and the order of what is put on them: streams.cpp -------------------------------------
// For each lane, a stream's or another's, the number of its last operation that is known to be over.
typedef vector<unsigned> Clock;
struct Stamp {
  unsigned lane = 0, number = 0;
  shared_ptr<const Clock> before;
};
struct Operation {
  vector<shared_ptr<Operation>> before;
  function<void()> work;
  bool done = false;
  Stamp stamp;
};
typedef shared_ptr<Operation> P;
struct Capture;
struct Stream {
  int device;
  unsigned flags;
  bool legacy;
  unsigned lane;
  Clock clock;
  P last;
  vector<P> pending;
  shared_ptr<Capture> capture;
  vector<int> captured;  // the nodes that the next one will follow
  int branch;            // of the capture
  bool blocking() const { return !(flags & cudaStreamNonBlocking); }
};
struct Event {
  int device;
  unsigned flags;
  bool recorded;
  P operation;
  Clock clock;
  shared_ptr<Capture> capture;
  vector<int> captured;
};
Stream* find_stream(void* handle);  // nullptr, and a fault, if there is no such stream
Stream* legacy_stream(int device);
bool lives(void* handle, const char* what);
void born(void* handle);
void dies(void* handle);
// Puts work on a stream, or into the graph that is captured from it; returns an error or 0.
int put(Stream*, const char* what, function<void()> work, const Event* after = nullptr);
P prepare(Stream*, int* error, const Event* after = nullptr);  // the same in two steps
void start(Stream*, const P&);
int wait_for(Stream*);
void wait_for_device(int device, bool ordering = true);
unsigned new_lane();
unsigned next_number(unsigned lane);
void join(Clock&, const Clock&);
void reach(Clock&, unsigned lane, unsigned number);
void touched_by_host(const void*, size_t, bool write);

// Captures and graphs: graphs.cpp ----------------------------------------------------------------
struct Node {
  string what;
  function<void()> work;
  vector<int> before;
  int branch;
};
struct Capture {
  int mode;
  thread::id by;
  Stream* origin;
  bool invalid;
  vector<Node> nodes;
  vector<Stream*> members;
};
int record(Stream*, const char* what, function<void()> work);
int follow(Stream*, Event*);             // a stream that is captured, or an event of a capture
int refuse(Stream*);                     // what a captured stream is never asked for
void abandon(Stream*);                   // is destroyed while it is captured
int refuse_legacy(int device);           // the legacy stream, while a blocking one is captured
int refuse_device(int device);           // waiting for all, while any is captured
int unsafe(const char* call);            // what a capture forbids unless it is relaxed

// Memory: memory.cpp -----------------------------------------------------------------------------
enum Kind { PAGEABLE, PINNED, DEVICE };
struct Block {
  uintptr_t start;
  size_t size;
  int device;
  Kind kind;
  bool freed;
};
const size_t MARGIN = 1 << 16;  // what lies this near a block is nobody else's
extern char* const arena;
extern const size_t ARENA;
char* reserve(size_t, int rights, void* at = nullptr);  // addresses, without memory as yet
bool in_arena(uintptr_t);
const Block* near_block(uintptr_t);      // the block that an address belongs to, or nearly so
bool usable(const void*, size_t, const char* who);  // else a fault
void hide_from(int device, bool);        // the memory of others that it has no access to
bool has_access(int device, int owner);

// Kernels: kernels.cpp ---------------------------------------------------------------------------
struct Place {
  unsigned x, y, z;
};
struct EmuState {
  Place threadIdx, blockIdx, blockDim, gridDim;
};
extern "C" EmuState emu_state;
const size_t MOST_SHARED = 232448, SHARED = 49152, MOST_THREADS = 1024;
extern "C" char emu_shared[MOST_SHARED];
struct Module {
  void* library;
  int device;
  uintptr_t low, high;  // where it lies
  uintptr_t data;       // its variables, which begin here
};
struct EmuKernel {  // as kernel.h has it
  void (*run)(void**);
  const unsigned* sizes;
  unsigned count, bounds;
};
struct Function {
  string name;
  Module* module;
  const EmuKernel* kernel;
  size_t shared;  // that a launch may ask for
};
struct Launch {
  const Function* function;
  Place grid, block;
  size_t shared;
  int device;
  vector<char> bytes;  // of the arguments
  vector<void*> arguments;
};
struct Running {  // what runs now
  const Launch* launch;
  unsigned threads, block, thread;
};
extern Running running;
extern char* const stacks;
const size_t STACK = 1 << 18;
void run_grid(const Launch&);
[[noreturn]] void fail(int error, const char* counter, const string& text);

// Who touches what: races.cpp --------------------------------------------------------------------
void act(const Stamp&);  // the operation that touches memory from now on
void touch(const void*, size_t, bool write);
void forget(uintptr_t start, size_t);
void begin_launch();
void begin_block();
void block_met();                            // at a barrier
void warp_met(unsigned first, unsigned lanes, bool shuffles);
