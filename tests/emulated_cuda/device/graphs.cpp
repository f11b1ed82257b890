// What is captured from streams, and its replay.
#include <algorithm>
#include "device.h"

struct Graph {
  vector<Node> nodes;
};
struct Executable {
  vector<Node> nodes;
  vector<unsigned> lanes;  // of its branches
  Event launched;          // the last time, before which no other launch begins
};
static set<Capture*> captures;
static thread_local int thread_mode = cudaStreamCaptureModeGlobal;

int record(Stream* s, const char* what, function<void()> work) {
  Capture& capture = *s->capture;
  if (capture.invalid) return cudaErrorStreamCaptureInvalidated;
  capture.nodes.push_back({what, move(work), s->captured, s->branch});
  s->captured = {(int)capture.nodes.size() - 1};
  counters[string("captured ") + what]++;
  return 0;
}
int follow(Stream* s, Event* e) {
  if (e->capture && !captures.count(e->capture.get())) return cudaErrorCapturedEvent;
  if (!e->capture) return s->capture->invalid = true, cudaErrorStreamCaptureIsolation;
  if (e->capture->invalid) return cudaErrorStreamCaptureInvalidated;
  if (!s->capture) {
    if (s->legacy) return e->capture->invalid = true, cudaErrorStreamCaptureUnsupported;
    s->branch = e->capture->members.size();
    s->capture = e->capture;
    e->capture->members.push_back(s);
  }
  if (s->capture != e->capture)
    return s->capture->invalid = e->capture->invalid = true, cudaErrorStreamCaptureMerge;
  s->captured.insert(s->captured.end(), e->captured.begin(), e->captured.end());
  return 0;
}
int refuse(Stream* s) { return s->capture->invalid = true, cudaErrorStreamCaptureUnsupported; }
static void release(Capture& capture) {
  captures.erase(&capture);
  for (auto* member : capture.members) {
    member->capture = nullptr;
    member->captured.clear();
  }
}
void abandon(Stream* s) {
  auto capture = s->capture;
  auto& members = capture->members;
  capture->invalid = true;
  if (capture->origin == s) return release(*capture);
  members.erase(find(members.begin(), members.end(), s));
}
int refuse_legacy(int device) {
  int error = 0;
  for (auto* capture : captures)
    for (auto* s : capture->members)
      if (s->device == device && s->blocking())
        capture->invalid = true, error = cudaErrorStreamCaptureImplicit;
  return error;
}
int refuse_device(int device) {
  int error = 0;
  for (auto* capture : captures)
    for (auto* s : capture->members)
      if (s->device == device) error = refuse(s);
  return error;
}
int unsafe(const char* call) {
  int error = 0;
  for (auto* capture : captures) {
    counters[string("in a capture: ") + call]++;
    bool mine = capture->by == this_thread::get_id();
    bool forbids = mine ? capture->mode != cudaStreamCaptureModeRelaxed
                        : capture->mode == cudaStreamCaptureModeGlobal &&
                              thread_mode == cudaStreamCaptureModeGlobal;
    if (forbids && thread_mode != cudaStreamCaptureModeRelaxed)
      capture->invalid = true, error = cudaErrorStreamCaptureUnsupported;
  }
  return error;
}

// Whether all that was captured comes before where the first stream is.
static bool joined(const Capture& capture) {
  vector<bool> reached(capture.nodes.size());
  vector<int> left = capture.origin->captured;
  while (!left.empty()) {
    int node = left.back();
    left.pop_back();
    if (reached[node]) continue;
    reached[node] = true;
    auto& before = capture.nodes[node].before;
    left.insert(left.end(), before.begin(), before.end());
  }
  return find(reached.begin(), reached.end(), false) == reached.end();
}
// When each node runs, in one launch: those of a branch follow one another.
static vector<Stamp> stamps_of(const Executable& executable, Stream* s, const Stamp& whole) {
  vector<Stamp> stamps;
  for (auto& node : executable.nodes) {
    Clock before = *whole.before;
    for (int other : node.before) {
      join(before, *stamps[other].before);
      reach(before, stamps[other].lane, stamps[other].number);
    }
    unsigned lane = executable.lanes[node.branch];
    stamps.push_back({lane, next_number(lane), make_shared<Clock>(move(before))});
    reach(s->clock, lane, stamps.back().number);
  }
  return stamps;
}

extern "C" {
cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  LOCK;
  auto* s = find_stream(handle);
  if (!s) return answer(cudaErrorInvalidResourceHandle);
  if (s->legacy) return answer(cudaErrorStreamCaptureUnsupported);
  if (s->capture) return answer(cudaErrorIllegalState);
  s->capture.reset(new Capture{mode, this_thread::get_id(), s, false, {}, {s}});
  s->captured.clear();
  s->branch = 0;
  captures.insert(s->capture.get());
  counters["captures"]++;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  LOCK;
  *graph = nullptr;
  auto* s = find_stream(handle);
  if (!s) return answer(cudaErrorInvalidResourceHandle);
  auto capture = s->capture;
  if (!capture) return answer(cudaErrorIllegalState);
  if (capture->origin != s)
    return capture->invalid = true, answer(cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->by != this_thread::get_id())
    return answer(cudaErrorStreamCaptureWrongThread);
  bool whole = joined(*capture);
  release(*capture);
  if (capture->invalid) return answer(cudaErrorStreamCaptureInvalidated);
  if (!whole) return answer(cudaErrorStreamCaptureUnjoined);
  auto* made = new Graph{move(capture->nodes)};
  if (verbose) {
    string names;
    for (auto& node : made->nodes) names += " " + node.what;
    complain("graph of %zu nodes:%s", made->nodes.size(), names.c_str());
  }
  counters["graph nodes"] += made->nodes.size();
  born(made);
  *graph = (cudaGraph_t)made;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  LOCK;
  auto* s = find_stream(handle);
  if (!s) return answer(cudaErrorInvalidResourceHandle);
  if (s->legacy)
    for (auto* capture : captures)
      for (auto* member : capture->members)
        if (member->device == s->device && member->blocking())
          return answer(cudaErrorStreamCaptureImplicit);
  *status = !s->capture            ? cudaStreamCaptureStatusNone
            : s->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                  : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  LOCK;
  int old = thread_mode;
  thread_mode = *mode;
  *mode = (cudaStreamCaptureMode)old;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  LOCK;
  if (!lives(graph, "a graph")) return answer(cudaErrorInvalidValue);
  auto* executable = new shared_ptr<Executable>(new Executable{((Graph*)graph)->nodes});
  int branches = 1;
  for (auto& node : (*executable)->nodes) branches = max(branches, node.branch + 1);
  while (branches--) (*executable)->lanes.push_back(new_lane());
  born(executable);
  *made = (cudaGraphExec_t)executable;
  counters["graphInstantiate"]++;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  LOCK;
  if (!lives(graph, "a graph")) return answer(cudaErrorInvalidValue);
  dies(graph);
  ((Graph*)graph)->nodes.clear();
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  LOCK;
  if (!lives(executable, "a graph")) return answer(cudaErrorInvalidValue);
  if (int error = unsafe("cudaGraphExecDestroy")) return answer(error);
  dies(executable);
  ((shared_ptr<Executable>*)executable)->reset();  // launches of it go on
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream) {
  LOCK;
  auto* s = find_stream(stream);
  if (!s) return answer(cudaErrorInvalidResourceHandle);
  if (!lives(handle, "a graph")) return answer(cudaErrorInvalidValue);
  if (s->capture) return answer(refuse(s));
  counters["graphLaunch"]++;
  auto executable = *(shared_ptr<Executable>*)handle;
  int error;
  P operation = prepare(s, &error, &executable->launched);
  if (error) return answer(error);
  vector<Stamp> stamps;
  if (race) stamps = stamps_of(*executable, s, operation->stamp);
  executable->launched.operation = operation;
  executable->launched.clock = s->clock;
  operation->work = [=] {
    for (size_t n = 0; n < executable->nodes.size() && !lost; ++n) {
      if (race) act(stamps[n]);
      if (executable->nodes[n].work) executable->nodes[n].work();
    }
  };
  start(s, operation);
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  LOCK;
  if (!find_stream(stream)) return answer(cudaErrorInvalidResourceHandle);
  return answer(lives(executable, "a graph") ? 0 : cudaErrorInvalidValue);
}
}
