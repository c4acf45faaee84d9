/* A CUDA driver in host memory: what the parts of the stand-in share.
 *
 * Work queued on a stream is deferred until something synchronises with it, so that code which forgets to
 * synchronise reads stale memory here every time, and not only on some GPU on some day. Every resource is counted.
 * Entry points that no file here defines answer CUDA_ERROR_NOT_SUPPORTED (see standin.py). */
#ifndef DEFIAN_STANDIN_DRIVER_H
#define DEFIAN_STANDIN_DRIVER_H

#include <cuda.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define NEED(condition, status) \
    do { \
        if (!(condition)) { return (status); } \
    } while (0)

typedef enum { OP_COPY, OP_HOST, OP_RECORD, OP_WAIT } OpKind;

typedef struct Op {
    OpKind kind;
    void *to;          /* OP_COPY */
    const void *from;  /* OP_COPY */
    size_t bytes;      /* OP_COPY */
    void *staging;     /* OP_COPY: a copy of pageable memory, freed after use */
    CUhostFn function; /* OP_HOST */
    void *argument;    /* OP_HOST */
    struct CUevent_st *event;   /* OP_RECORD */
    struct CUstream_st *stream; /* OP_WAIT: until this stream has done `until` */
    uint64_t until;
    uint64_t number; /* position in its stream, from 1 */
    int64_t issued;  /* the host's virtual time when it was queued */
    struct Op *next;
} Op;

typedef struct {
    Op *head, *tail;
} Queue;

struct CUgraph_st {
    Queue ops;
};

struct CUgraphExec_st {
    Queue ops;
};

struct CUstream_st {
    Queue ops;
    uint64_t queued, done;
    int64_t *ended, clock; /* virtual time at which each op ended, by number; of the last one */
    int busy, destroyed, waits_for_default;
    struct CUgraph_st *capture; /* not null between begin and end of a capture */
    int invalidated;
    struct CUstream_st *next;
};

struct CUevent_st {
    struct CUstream_st *stream;
    uint64_t number;
    int64_t nanoseconds; /* when the record was executed */
};

/* Virtual time: what a GPU with streams that run side by side would take, if a copy or a host function took a fixed
 * time and the host none. It does not depend on when an op is really executed here. */
extern int64_t host_clock, copy_time, work_time;

typedef enum { MEMORY_DEVICE, MEMORY_PINNED } MemoryKind;

extern pthread_mutex_t lock;
extern pthread_cond_t changed;

/* Counters that tests read, all under the lock. */
extern long live_resources, misuses, pageable_copies;
extern CUresult broken; /* what every wait answers, as after an illegal access in a kernel */

/* device.c */
int context_is_current(void);

/* memory.c; the lock is held */
CUresult count_allocation(void);
int is_inside(MemoryKind kind, const void *address, size_t bytes);
long live_memory(void);

/* streams.c; the lock is held except where noted */
extern __thread struct CUstream_st *capturing;
CUresult enqueue(struct CUstream_st *stream, Op op);
void append(Queue *queue, Op op);
void empty(Queue *queue);
CUresult drain(struct CUstream_st *stream, uint64_t until);
CUresult drain_idle(void);
int is_pending(const void *address, size_t bytes);
struct CUstream_st *stream_or_default(CUstream stream);

#endif
