/* Device and pinned memory (both are malloc), the counter of live allocations, injected failures, copies. */
#include "driver.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct Block {
    MemoryKind kind;
    char *address;
    size_t bytes;
    struct Block *next;
} Block;

static Block *blocks;
static size_t total_memory = (size_t)8 << 30, used_memory;
static long allocations, fail_from, fail_until; /* fail_from 0: never */

long live_resources, misuses, pageable_copies;

CUresult count_allocation(void) {
    if (capturing != NULL) { /* an unsafe call during a capture */
        capturing->invalidated = 1;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    allocations += 1;
    NEED(fail_from == 0 || allocations < fail_from || allocations > fail_until, CUDA_ERROR_OUT_OF_MEMORY);
    return CUDA_SUCCESS;
}

int is_inside(MemoryKind kind, const void *address, size_t bytes) {
    const char *start = address;
    for (Block *block = blocks; block != NULL; block = block->next) {
        if (block->kind == kind && start >= block->address && start + bytes <= block->address + block->bytes) {
            return 1;
        }
    }
    return 0;
}

long live_memory(void) {
    long count = 0;
    for (Block *block = blocks; block != NULL; block = block->next) {
        count += 1;
    }
    return count;
}

static CUresult allocate(MemoryKind kind, void **address, size_t bytes) {
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    NEED(bytes > 0, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&lock);
    CUresult status = count_allocation();
    if (status == CUDA_SUCCESS && kind == MEMORY_DEVICE && used_memory + bytes > total_memory) {
        status = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (status == CUDA_SUCCESS) {
        Block *block = malloc(sizeof *block);
        *block = (Block){kind, aligned_alloc(256, (bytes + 255) / 256 * 256), bytes, blocks};
        memset(block->address, 0xA5, bytes); /* nobody may count on zeros */
        blocks = block;
        live_resources += 1;
        used_memory += kind == MEMORY_DEVICE ? bytes : 0;
        *address = block->address;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

static CUresult release(MemoryKind kind, void *address) {
    CUresult status = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (Block **link = &blocks; *link != NULL; link = &(*link)->next) {
        Block *block = *link;
        if (block->kind != kind || block->address != (char *)address) {
            continue;
        }
        if (is_pending(block->address, block->bytes)) { /* freed while work that needs it is queued */
            misuses += 1;
            drain_idle();
        }
        *link = block->next;
        memset(block->address, 0x5A, block->bytes);
        used_memory -= kind == MEMORY_DEVICE ? block->bytes : 0;
        live_resources -= 1;
        free(block->address);
        free(block);
        status = CUDA_SUCCESS;
        break;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

EXPORT CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes) {
    return allocate(MEMORY_DEVICE, (void **)address, bytes);
}

EXPORT CUresult cuMemFree(CUdeviceptr address) { return release(MEMORY_DEVICE, (void *)address); }

EXPORT CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned int flags) {
    (void)flags;
    return allocate(MEMORY_PINNED, address, bytes);
}

EXPORT CUresult cuMemAllocHost(void **address, size_t bytes) { return allocate(MEMORY_PINNED, address, bytes); }

EXPORT CUresult cuMemFreeHost(void *address) { return release(MEMORY_PINNED, address); }

EXPORT CUresult cuMemGetInfo(size_t *unused, size_t *total) {
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    pthread_mutex_lock(&lock);
    *unused = total_memory - used_memory;
    *total = total_memory;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) {
    NEED(device == 0, CUDA_ERROR_INVALID_DEVICE);
    *bytes = total_memory;
    return CUDA_SUCCESS;
}

/* Copies. Pageable memory is staged at once, as the real driver does. */

static CUresult copy(void *to, const void *from, size_t bytes, CUstream stream) {
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    Op op = {.kind = OP_COPY, .to = to, .from = from, .bytes = bytes};
    pthread_mutex_lock(&lock);
    int reads_pageable = !is_inside(MEMORY_DEVICE, from, bytes) && !is_inside(MEMORY_PINNED, from, bytes);
    int writes_pageable = !is_inside(MEMORY_DEVICE, to, bytes) && !is_inside(MEMORY_PINNED, to, bytes);
    if (reads_pageable) {
        op.staging = memcpy(malloc(bytes), from, bytes);
        op.from = op.staging;
    }
    pageable_copies += reads_pageable || writes_pageable;
    struct CUstream_st *target = stream_or_default(stream);
    CUresult status = enqueue(target, op);
    if (status == CUDA_SUCCESS && writes_pageable && target->capture == NULL) {
        status = drain(target, target->queued);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

static CUresult copy_at_once(void *to, const void *from, size_t bytes) {
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    pthread_mutex_lock(&lock);
    CUresult status = drain_idle();
    memcpy(to, from, bytes);
    pthread_mutex_unlock(&lock);
    return status;
}

static int on_device(CUdeviceptr address, size_t bytes) {
    pthread_mutex_lock(&lock);
    int answer = is_inside(MEMORY_DEVICE, (const void *)address, bytes);
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    NEED(on_device(to, bytes), CUDA_ERROR_INVALID_VALUE);
    return copy((void *)to, from, bytes, stream);
}

EXPORT CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    NEED(on_device(from, bytes), CUDA_ERROR_INVALID_VALUE);
    return copy(to, (const void *)from, bytes, stream);
}

EXPORT CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes) {
    NEED(on_device(to, bytes), CUDA_ERROR_INVALID_VALUE);
    return copy_at_once((void *)to, from, bytes);
}

EXPORT CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes) {
    NEED(on_device(from, bytes), CUDA_ERROR_INVALID_VALUE);
    return copy_at_once(to, (const void *)from, bytes);
}

/* What tests ask and set. */

EXPORT long standin_live(void) { return live_resources; }
EXPORT long standin_live_bytes(void) { return (long)used_memory; }
EXPORT long standin_live_memory(void) { return live_memory(); }
EXPORT long standin_allocations(void) { return allocations; }
EXPORT long standin_misuses(void) { return misuses; }
EXPORT long standin_pageable_copies(void) { return pageable_copies; }
EXPORT int standin_is_device(CUdeviceptr address, size_t bytes) { return on_device(address, bytes); }
EXPORT void standin_set_memory(size_t bytes) { total_memory = bytes; }

/* Fail the nth allocation from now (1: the next) and so many from it on; 0: none. */
EXPORT void standin_fail(long nth, long count) {
    fail_from = nth > 0 ? allocations + nth : 0;
    fail_until = count < LONG_MAX - fail_from ? fail_from + count - 1 : LONG_MAX;
}

EXPORT void standin_reset_counters(void) { allocations = fail_from = misuses = pageable_copies = 0; }
