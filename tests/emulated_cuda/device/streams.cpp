// Streams and events: what is put on them, when it is done, and what is known to come before what.
#include <algorithm>
#include <cstring>
#include <unordered_set>
#include "device.h"

enum Mode { EAGER, LAZY, RANDOM };
static int mode_named(const char* name) {
  return !strcmp(name, "lazy") ? LAZY : !strcmp(name, "random") ? RANDOM : EAGER;
}
static int mode = mode_named(getenv("EMU_MODE") ? getenv("EMU_MODE") : "eager");

// What is destroyed keeps its memory, so that nothing new looks like it.
static unordered_set<void*> living;
void born(void* handle) { living.insert(handle); }
void dies(void* handle) { living.erase(handle); }
bool lives(void* handle, const char* what) {
  if (living.count(handle)) return true;
  fault("wrong handle", "%s that does not exist: %p", what, handle);
  return false;
}

static vector<Stream*> streams;  // legacy ones, too
static Stream* new_stream(int device, unsigned flags, bool legacy) {
  streams.push_back(new Stream{device, flags, legacy, new_lane()});
  return streams.back();
}
Stream* legacy_stream(int device) {
  static vector<Stream*> all(devices);
  return all[device] ? all[device] : all[device] = new_stream(device, 0, true);
}
static Stream* thread_s_stream() {
  static thread_local vector<Stream*> all(devices);
  auto*& s = all[current_device];
  return s ? s : s = new_stream(current_device, 0, false);
}
Stream* find_stream(void* handle) {
  if (!handle || handle == cudaStreamLegacy) return legacy_stream(current_device);
  if (handle == cudaStreamPerThread) return thread_s_stream();
  return lives(handle, "a stream") ? (Stream*)handle : nullptr;
}

// Order ------------------------------------------------------------------------------------------
static vector<unsigned> issued(1);  // by lane; lane 0 is the host's
static Clock host;                  // what it has waited for; its threads are taken for one
unsigned new_lane() {
  issued.push_back(0);
  return issued.size() - 1;
}
unsigned next_number(unsigned lane) { return ++issued[lane]; }
void reach(Clock& clock, unsigned lane, unsigned number) {
  if (clock.size() <= lane) clock.resize(lane + 1);
  clock[lane] = number;
}
void join(Clock& clock, const Clock& other) {
  if (clock.size() < other.size()) clock.resize(other.size());
  for (size_t i = 0; i < other.size(); ++i) clock[i] = max(clock[i], other[i]);
}
static Stamp stamp(Clock& clock, unsigned lane) {
  Stamp made{lane, next_number(lane), make_shared<Clock>(clock)};
  reach(clock, lane, made.number);
  return made;
}
void touched_by_host(const void* p, size_t n, bool write) {
  if (!race) return;
  act(stamp(host, 0));
  touch(p, n, write);
}

// Operations -------------------------------------------------------------------------------------
static void run(const P& wanted) {
  vector<P> stack{wanted};
  while (!stack.empty()) {
    P operation = stack.back();
    size_t height = stack.size();
    for (auto& other : operation->before)
      if (!operation->done && !other->done) stack.push_back(other);
    if (stack.size() > height) continue;
    stack.pop_back();
    if (operation->done) continue;
    operation->done = true;
    operation->before.clear();
    auto work = move(operation->work);
    operation->work = nullptr;
    if (work && !lost) {
      act(operation->stamp);
      work();
    }
  }
}
static void progress() {
  if (mode != RANDOM) return;
  for (auto* s : streams)
    while (!s->pending.empty() && rng() % 2) {
      run(s->pending.front());
      s->pending.erase(s->pending.begin());
    }
}
// Whether work on one stream waits for what is on the other already.
static bool follows(const Stream* s, const Stream* other) {
  return s != other && s->device == other->device && (s->legacy || other->legacy) &&
         s->blocking() && other->blocking();
}
P prepare(Stream* s, int* error, const Event* after) {
  *error = lost;
  if (!lost && s->legacy) *error = refuse_legacy(s->device);
  if (*error) return nullptr;
  P made = make_shared<Operation>();
  auto behind = [&](const P& other, const Clock& clock) {
    if (other && !other->done) made->before.push_back(other);
    if (race) join(s->clock, clock);
  };
  behind(s->last, host);
  for (auto* other : streams)
    if (follows(s, other)) behind(other->last, other->clock);
  if (after) behind(after->operation, after->clock);
  if (race) made->stamp = stamp(s->clock, s->lane);
  return made;
}
void start(Stream* s, const P& operation) {
  s->last = operation;
  if (mode == EAGER) return run(operation);
  auto& pending = s->pending;
  pending.push_back(operation);
  if (pending.size() > 2000) {
    run(operation);
    pending.clear();
  }
  progress();
}
int put(Stream* s, const char* what, function<void()> work, const Event* after) {
  if (!s) return cudaErrorInvalidResourceHandle;
  if (s->capture) return record(s, what, move(work));
  int error;
  P operation = prepare(s, &error, after);
  if (error) return error;
  operation->work = move(work);
  start(s, operation);
  return 0;
}

// Waiting ----------------------------------------------------------------------------------------
static void finish(Stream* s, bool ordering = true) {
  if (s->last) run(s->last);
  s->pending.clear();
  if (race && ordering) join(host, s->clock);
}
static int may_ask(Stream* s, const char* call) {
  if (!s) return cudaErrorInvalidResourceHandle;
  if (s->capture) return refuse(s);
  if (s->legacy)
    if (int error = refuse_legacy(s->device)) return error;
  return unsafe(call);
}
int wait_for(Stream* s) {
  for (auto* other : streams)
    if (other == s || (s->legacy && follows(s, other))) finish(other);
  return lost;
}
void wait_for_device(int device, bool ordering) {
  for (auto* s : streams)
    if (s->device == device) finish(s, ordering);
}
// Whether an operation is over; who asks again and again is not left waiting.
static int query(const P& operation, const Clock& clock) {
  progress();
  if (operation && !operation->done) {
    if (mode == LAZY) run(operation);
    return cudaErrorNotReady;
  }
  if (race) join(host, clock);
  return lost;
}

extern "C" {
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* s, unsigned flags, int) {
  LOCK;
  auto* made = new_stream(current_device, flags, false);
  born(made);
  *s = (cudaStream_t)made;
  counters["streamCreate"]++;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned flags) {
  return cudaStreamCreateWithPriority(s, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t* s) { return cudaStreamCreateWithPriority(s, 0, 0); }
cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  LOCK;
  auto* s = find_stream(handle);
  if (!s) return answer(cudaErrorInvalidResourceHandle);
  *flags = s->flags;
  return cudaSuccess;
}
cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { return *priority = 0, cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  LOCK;
  auto* s = find_stream(handle);
  if (!s || s->legacy) return answer(cudaErrorInvalidResourceHandle);
  if (s->capture) abandon(s);
  if (s->last) run(s->last);  // its work goes on
  streams.erase(find(streams.begin(), streams.end(), s));
  dies(s);
  *s = Stream{s->device, s->flags, false, s->lane};
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  LOCK;
  counters["wait stream"]++;
  auto* s = find_stream(handle);
  if (int error = may_ask(s, "cudaStreamSynchronize")) return answer(error);
  return answer(wait_for(s));
}
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  LOCK;
  auto* s = find_stream(handle);
  if (int error = may_ask(s, "cudaStreamQuery")) return answer(error);
  int status = query(s->last, s->clock);
  for (auto* other : streams)
    if (!status && s->legacy && follows(s, other)) status = query(other->last, other->clock);
  return (cudaError_t)status;
}
cudaError_t cudaDeviceSynchronize() {
  LOCK;
  counters["wait device"]++;
  if (int error = refuse_device(current_device)) return answer(error);
  wait_for_device(current_device);
  return answer(lost);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  LOCK;
  auto* s = find_stream(handle);
  if (!s || !lives(event, "an event")) return answer(cudaErrorInvalidResourceHandle);
  auto* e = (Event*)event;
  if (!e->recorded) return cudaSuccess;
  counters["waitEvent"]++;
  if (s->capture || e->capture) return answer(follow(s, e));
  return answer(put(s, "wait", nullptr, e));
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned flags) {
  LOCK;
  *e = (cudaEvent_t) new Event{current_device, flags};
  born(*e);
  counters["eventCreate"]++;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* e) { return cudaEventCreateWithFlags(e, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  LOCK;
  if (!lives(event, "an event")) return answer(cudaErrorInvalidResourceHandle);
  dies(event);
  *(Event*)event = Event{};
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  LOCK;
  auto* s = find_stream(handle);
  auto* e = (Event*)event;
  if (!s || !lives(event, "an event")) return answer(cudaErrorInvalidResourceHandle);
  if (s->device != e->device) {
    fault("wrong handle", "an event of device %d on a stream of device %d", e->device, s->device);
    return answer(cudaErrorInvalidResourceHandle);
  }
  counters["eventRecord"]++;
  if (s->capture && s->capture->invalid) return answer(cudaErrorStreamCaptureInvalidated);
  if (!s->capture)
    if (int error = put(s, "event", nullptr)) return answer(error);
  *e = {e->device, e->flags, true, s->last, s->clock, s->capture, s->captured};
  return cudaSuccess;
}
static int event_asked(cudaEvent_t event, const char* call) {
  if (!lives(event, "an event")) return cudaErrorInvalidResourceHandle;
  auto& capture = ((Event*)event)->capture;
  if (!capture) return unsafe(call);
  capture->invalid = true;
  return cudaErrorCapturedEvent;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  LOCK;
  if (int error = event_asked(event, "cudaEventQuery")) return answer(error);
  auto* e = (Event*)event;
  counters["eventQuery"]++;
  return (cudaError_t)query(e->operation, e->clock);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  LOCK;
  counters["wait event"]++;
  if (int error = event_asked(event, "cudaEventSynchronize")) return answer(error);
  auto* e = (Event*)event;
  if (e->operation) run(e->operation);
  if (race) join(host, e->clock);
  return answer(lost);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t second) {
  LOCK;
  *milliseconds = 1;
  for (auto* event : {first, second}) {
    if (int error = event_asked(event, "cudaEventElapsedTime")) return answer(error);
    auto* e = (Event*)event;
    if (!e->recorded || e->flags & cudaEventDisableTiming)
      return answer(cudaErrorInvalidResourceHandle);
    if (int status = query(e->operation, e->clock)) return answer(status);
  }
  return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t function, void* data) {
  LOCK;
  return answer(put(find_stream(s), "host", [=] { function(data); }));
}
cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t function, void* data,
                                  unsigned) {
  LOCK;
  auto* s = find_stream(handle);
  if (s && s->capture) return answer(refuse(s));
  return answer(put(s, "callback", [=] { function(handle, (cudaError_t)lost, data); }));
}

// Of emulated.py: what waits is done, and from then on the mode is another; returns the old one.
int emu_mode(const char* name, int* seed, int* shuffle) {
  LOCK;
  for (auto* s : streams)
    if (!s->capture && s->last) run(s->last);
  static int seeded = setting("EMU_SEED", 1);
  int old = mode, given = *seed, wanted = *shuffle;
  *seed = seeded, *shuffle = shuffled;
  if (*name) mode = mode_named(name);
  if (given >= 0) rng.seed(seeded = given);
  if (wanted >= 0) shuffled = wanted;
  return old;
}
}
