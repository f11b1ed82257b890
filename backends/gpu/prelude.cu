// What the kernels of a plan call.
#define INFINITE __longlong_as_double(0x7ff0000000000000ll)
#define NO_NUMBER __longlong_as_double(0x7ff8000000000000ll)
template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack { T v[N]; };

template <typename T> __device__ __forceinline__ T larger(T a, T b) {
    return a > b || a != a ? a : b;
}
template <typename T> __device__ __forceinline__ T smaller(T a, T b) {
    return a < b || a != a ? a : b;
}
template <int LANES, typename T> __device__ __forceinline__ T team_sum(T v) {
    for (int step = LANES / 2; step > 0; step /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, step, LANES);
    return v;
}
template <int LANES, typename T> __device__ __forceinline__ T team_max(T v) {
    for (int step = LANES / 2; step > 0; step /= 2)
        v = larger(v, __shfl_xor_sync(0xffffffffu, v, step, LANES));
    return v;
}
template <int LANES, typename T> __device__ __forceinline__ T team_min(T v) {
    for (int step = LANES / 2; step > 0; step /= 2)
        v = smaller(v, __shfl_xor_sync(0xffffffffu, v, step, LANES));
    return v;
}
// The place of the largest value: of equal ones the first; NaN is the largest of all.
template <typename T, typename I> __device__ __forceinline__ bool beats(T a, I i, T b, I j) {
    if (a != a || b != b) return a != a && (b == b || i < j);
    return a > b || (a == b && i < j);
}
template <int LANES, typename T, typename I>
__device__ __forceinline__ I team_argmax(T v, I place) {
    for (int step = LANES / 2; step > 0; step /= 2) {
        T other = __shfl_xor_sync(0xffffffffu, v, step, LANES);
        I its = __shfl_xor_sync(0xffffffffu, place, step, LANES);
        if (beats(other, its, v, place)) { v = other; place = its; }
    }
    return place;
}
// The sum over the teams of a block, lane by lane: over those of a warp, then over the warps.
// Team 0 has it.
template <int LANES, int TEAMS, typename T> __device__ __forceinline__ T block_sum(T v) {
    constexpr int EACH = 32 / LANES, WARPS = TEAMS / EACH;
    __shared__ T cells[WARPS][LANES];
    for (int step = LANES; step < 32; step *= 2)
        v += __shfl_xor_sync(0xffffffffu, v, step, 32);
    __syncthreads();
    if (threadIdx.y % EACH == 0) cells[threadIdx.y / EACH][threadIdx.x] = v;
    __syncthreads();
    if (threadIdx.y == 0)
        for (int warp = 1; warp < WARPS; ++warp) v += cells[warp][threadIdx.x];
    return v;
}
// The sum over all threads of a block; team 0 has it.
template <int LANES, int TEAMS, typename T> __device__ __forceinline__ T block_total(T v) {
    return team_sum<LANES>(block_sum<LANES, TEAMS>(v));
}
// The sums, column by column, of what the blocks left. Where there are few columns, WIDTH threads
// have a share of the blocks, and others another.
template <int THREADS, int WIDTH, int BLOCKS, int COLUMNS, typename T>
__device__ __forceinline__ void sum_of_blocks(const T* partial, T* target) {
    constexpr int SHARES = THREADS / WIDTH;
    __shared__ T cells[THREADS];
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, mine = thread % WIDTH;
    for (int first = 0; first < COLUMNS; first += WIDTH) {
        const int j = first + mine;
        T sum = 0;
        if (j < COLUMNS)
            for (int b = SHARES > 1 ? thread / WIDTH : 0; b < BLOCKS; b += SHARES)
                sum += partial[(long long)b * COLUMNS + j];
        if (SHARES > 1) {
            __syncthreads();
            cells[thread] = sum;
            __syncthreads();
            if (thread < WIDTH)
                for (int share = 1; share < SHARES; ++share) sum += cells[share * WIDTH + mine];
        }
        if (thread < WIDTH && j < COLUMNS) target[j] = sum;
    }
}
// Whether this block is the last of the grid to come here; then it sees what the others wrote.
__device__ __forceinline__ bool comes_last(unsigned* counter, unsigned blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.y == 0 && threadIdx.x == 0) {
        last = atomicAdd(counter, 1u) == blocks - 1;
        if (last) *counter = 0;
    }
    __syncthreads();
    __threadfence();
    return last;
}
