/* Graphs: a capture keeps the ops of a stream, a launch queues copies of them. */
#include "driver.h"

#include <stdlib.h>

static void append_all(Queue *queue, const Queue *source) {
    for (Op *op = source->head; op != NULL; op = op->next) {
        append(queue, *op);
    }
}

EXPORT CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
    (void)mode;
    NEED(stream != NULL && stream->capture == NULL, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    pthread_mutex_lock(&lock);
    CUresult status = count_allocation();
    if (status == CUDA_SUCCESS) {
        stream->capture = calloc(1, sizeof *stream->capture);
        stream->invalidated = 0;
        capturing = stream;
        live_resources += 1;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    NEED(stream != NULL && stream->capture != NULL, CUDA_ERROR_ILLEGAL_STATE);
    pthread_mutex_lock(&lock);
    CUresult status = stream->invalidated ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
    *graph = stream->invalidated ? NULL : stream->capture;
    if (stream->invalidated) {
        empty(&stream->capture->ops);
        free(stream->capture);
        live_resources -= 1;
    }
    stream->capture = NULL;
    capturing = NULL;
    pthread_mutex_unlock(&lock);
    return status;
}

EXPORT CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *answer) {
    int active = stream != NULL && stream->capture != NULL;
    *answer = !active ? CU_STREAM_CAPTURE_STATUS_NONE
        : stream->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    CUresult status = count_allocation();
    if (status == CUDA_SUCCESS) {
        *executable = calloc(1, sizeof **executable);
        append_all(&(*executable)->ops, &graph->ops);
        live_resources += 1;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream handle) {
    struct CUstream_st *stream = stream_or_default(handle);
    pthread_mutex_lock(&lock);
    CUresult status = CUDA_SUCCESS;
    for (Op *op = executable->ops.head; op != NULL && status == CUDA_SUCCESS; op = op->next) {
        Op copy = *op;
        copy.staging = NULL; /* the executable keeps its own, which outlives the launch */
        status = enqueue(stream, copy);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

EXPORT CUresult cuGraphDestroy(CUgraph graph) {
    pthread_mutex_lock(&lock);
    empty(&graph->ops);
    free(graph);
    live_resources -= 1;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec executable) {
    pthread_mutex_lock(&lock);
    empty(&executable->ops);
    free(executable);
    live_resources -= 1;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}
