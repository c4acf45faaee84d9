/* Streams whose work waits for a synchronisation, events with clock times, and graphs captured from streams. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
__thread struct CUstream_st *capturing;
int64_t host_clock, copy_time, work_time;
CUresult broken;

enum { KEPT_ENDS = 1024 }; /* no event that somebody waits for is older than this many ops of its stream */

static struct CUstream_st default_stream, *streams = &default_stream;

struct CUstream_st *stream_or_default(CUstream stream) { return stream == NULL ? &default_stream : stream; }

void append(Queue *queue, Op op) {
    Op *added = malloc(sizeof *added);
    *added = op;
    added->next = NULL;
    if (op.staging != NULL && op.from == op.staging) { /* each copy of an op owns its staging memory */
        added->from = added->staging = memcpy(malloc(op.bytes), op.staging, op.bytes);
    }
    *(queue->tail == NULL ? &queue->head : &queue->tail->next) = added;
    queue->tail = added;
}

static void discard(Op *op) {
    free(op->staging);
    free(op);
}

static Op *take(Queue *queue) {
    Op *first = queue->head;
    queue->head = first->next;
    queue->tail = queue->head == NULL ? NULL : queue->tail;
    return first;
}

void empty(Queue *queue) {
    while (queue->head != NULL) {
        discard(take(queue));
    }
}

CUresult enqueue(struct CUstream_st *stream, Op op) {
    NEED(!stream->destroyed, CUDA_ERROR_INVALID_HANDLE);
    if (stream->capture != NULL) {
        append(&stream->capture->ops, op);
    } else {
        op.number = ++stream->queued;
        op.issued = host_clock;
        append(&stream->ops, op);
    }
    free(op.staging);
    return CUDA_SUCCESS;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void execute(const Op *op) {
    if (op->kind == OP_COPY) {
        memmove(op->to, op->from, op->bytes);
    } else if (op->kind == OP_HOST) {
        op->function(op->argument);
    } else if (op->kind == OP_RECORD) {
        op->event->nanoseconds = now();
    }
}

static int64_t ended_at(const struct CUstream_st *stream, uint64_t number) {
    return number == 0 ? 0 : stream->ended[number % KEPT_ENDS];
}

/* The op starts when the host has queued it, its stream is free, and what it waits for has ended. */
static void keep_time(struct CUstream_st *stream, const Op *op) {
    int64_t start = op->issued > stream->clock ? op->issued : stream->clock;
    if (op->kind == OP_WAIT && ended_at(op->stream, op->until) > start) {
        start = ended_at(op->stream, op->until);
    }
    stream->clock = start + (op->kind == OP_COPY ? copy_time : op->kind == OP_HOST ? work_time : 0);
    if (stream->ended == NULL) {
        stream->ended = calloc(KEPT_ENDS, sizeof *stream->ended);
    }
    stream->ended[op->number % KEPT_ENDS] = stream->clock;
}

static void host_waits_until(int64_t time) { host_clock = time > host_clock ? time : host_clock; }

/* Run a stream's work up to a position. The lock is given up while an op runs: host functions may be Python. */
CUresult drain(struct CUstream_st *stream, uint64_t until) {
    while (stream->done < until) {
        if (stream->busy) {
            pthread_cond_wait(&changed, &lock);
            continue;
        }
        stream->busy = 1;
        Op *op = take(&stream->ops);
        if (op->kind == OP_WAIT) {
            drain(op->stream, op->until);
        }
        pthread_mutex_unlock(&lock);
        execute(op);
        pthread_mutex_lock(&lock);
        keep_time(stream, op);
        stream->done = op->number;
        stream->busy = 0;
        pthread_cond_broadcast(&changed);
        discard(op);
    }
    return CUDA_SUCCESS;
}

CUresult drain_idle(void) {
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next) {
        if (!stream->busy && stream->capture == NULL) {
            drain(stream, stream->queued);
        }
    }
    return CUDA_SUCCESS;
}

static int overlaps(const void *address, size_t bytes, const void *other, size_t other_bytes) {
    return (const char *)address < (const char *)other + other_bytes && (const char *)other < (const char *)address + bytes;
}

int is_pending(const void *address, size_t bytes) {
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next) {
        for (Op *op = stream->ops.head; op != NULL; op = op->next) {
            if (op->kind == OP_COPY
                && (overlaps(address, bytes, op->to, op->bytes) || overlaps(address, bytes, op->from, op->bytes))) {
                return 1;
            }
        }
    }
    return 0;
}

EXPORT CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    pthread_mutex_lock(&lock);
    CUresult status = count_allocation();
    if (status == CUDA_SUCCESS) {
        *stream = calloc(1, sizeof **stream);
        (*stream)->waits_for_default = (flags & CU_STREAM_NON_BLOCKING) == 0;
        (*stream)->next = streams;
        streams = *stream;
        live_resources += 1;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* The structure stays: an event may still point to it. */
EXPORT CUresult cuStreamDestroy(CUstream stream) {
    NEED(stream != NULL && !stream->destroyed, CUDA_ERROR_INVALID_HANDLE);
    pthread_mutex_lock(&lock);
    drain(stream, stream->queued);
    stream->destroyed = 1;
    live_resources -= 1;
    for (struct CUstream_st **link = &streams; *link != NULL; link = &(*link)->next) {
        if (*link == stream) {
            *link = stream->next;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

static CUresult unless_capturing(struct CUstream_st *stream) {
    if (stream->capture != NULL) {
        stream->invalidated = 1;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(CUstream handle) {
    struct CUstream_st *stream = stream_or_default(handle);
    pthread_mutex_lock(&lock);
    CUresult status = unless_capturing(stream);
    if (status == CUDA_SUCCESS) {
        drain(stream, stream->queued);
        host_waits_until(stream->clock);
        status = broken;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

EXPORT CUresult cuCtxSynchronize(void) {
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    pthread_mutex_lock(&lock);
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next) {
        drain(stream, stream->queued);
        host_waits_until(stream->clock);
    }
    pthread_mutex_unlock(&lock);
    return broken;
}

EXPORT CUresult cuStreamQuery(CUstream handle) {
    struct CUstream_st *stream = stream_or_default(handle);
    return stream->done == stream->queued ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

EXPORT CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *argument) {
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    pthread_mutex_lock(&lock);
    CUresult status = enqueue(stream_or_default(stream), (Op){.kind = OP_HOST, .function = function, .argument = argument});
    pthread_mutex_unlock(&lock);
    return status;
}

/* Events */

EXPORT CUresult cuEventCreate(CUevent *event, unsigned int flags) {
    (void)flags;
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    pthread_mutex_lock(&lock);
    CUresult status = count_allocation();
    if (status == CUDA_SUCCESS) {
        *event = calloc(1, sizeof **event);
        live_resources += 1;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

static int is_complete(CUevent event) { return event->stream == NULL || event->stream->done >= event->number; }

/* The structure stays: a record of it may still be queued, which the real driver allows. */
EXPORT CUresult cuEventDestroy(CUevent event) {
    (void)event;
    pthread_mutex_lock(&lock);
    live_resources -= 1;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream handle) {
    struct CUstream_st *stream = stream_or_default(handle);
    pthread_mutex_lock(&lock);
    CUresult status = unless_capturing(stream);
    if (status == CUDA_SUCCESS) {
        status = enqueue(stream, (Op){.kind = OP_RECORD, .event = event});
        event->stream = stream;
        event->number = stream->queued;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

EXPORT CUresult cuEventSynchronize(CUevent event) {
    pthread_mutex_lock(&lock);
    if (!is_complete(event)) {
        drain(event->stream, event->number);
    }
    if (event->stream != NULL) {
        host_waits_until(ended_at(event->stream, event->number));
    }
    pthread_mutex_unlock(&lock);
    return broken;
}

EXPORT CUresult cuEventQuery(CUevent event) { return is_complete(event) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY; }

EXPORT CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned int flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    struct CUstream_st *stream = stream_or_default(handle);
    CUresult status = CUDA_SUCCESS;
    if (event->stream != NULL && event->stream != stream) {
        status = enqueue(stream, (Op){.kind = OP_WAIT, .stream = event->stream, .until = event->number});
    }
    pthread_mutex_unlock(&lock);
    return status;
}

EXPORT CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    NEED(start->stream != NULL && end->stream != NULL, CUDA_ERROR_INVALID_HANDLE);
    NEED(is_complete(start) && is_complete(end), CUDA_ERROR_NOT_READY);
    *milliseconds = (float)(end->nanoseconds - start->nanoseconds) / 1e6F;
    return CUDA_SUCCESS;
}

/* What tests ask and set. */

EXPORT long standin_blocking_streams(void) {
    long count = 0;
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next) {
        count += stream->waits_for_default;
    }
    return count;
}
EXPORT long standin_clock(void) { return (long)host_clock; }
EXPORT void standin_break(int status) { broken = (CUresult)status; }
EXPORT void standin_set_times(long copy, long work) {
    host_clock = 0;
    for (struct CUstream_st *stream = streams; stream != NULL; stream = stream->next) {
        stream->clock = 0;
    }
    copy_time = copy;
    work_time = work;
}
