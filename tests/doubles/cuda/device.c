/* One device, its primary context, a stack of current contexts for every thread, error texts, symbol lookup. */
#define _GNU_SOURCE
#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct CUctx_st {
    int references;
};

static struct CUctx_st primary;
static int capability[2] = {8, 9}, integrated, uuid_byte = 1;
static long lost; /* resources that were alive when the primary context went */
static __thread CUcontext stack[32];
static __thread int depth;

int context_is_current(void) { return depth > 0 && stack[depth - 1]->references > 0; }

EXPORT CUresult cuInit(unsigned int flags) {
    (void)flags;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDriverGetVersion(int *version) {
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetCount(int *count) {
    *count = 1;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    NEED(ordinal == 0, CUDA_ERROR_INVALID_DEVICE);
    *device = 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
    (void)device;
    snprintf(name, (size_t)length, "stand-in GPU");
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    (void)device;
    memset(uuid->bytes, uuid_byte, sizeof uuid->bytes);
    return CUDA_SUCCESS;
}

EXPORT void standin_set_uuid(int byte) { uuid_byte = byte; }

EXPORT CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
    (void)device;
    *major = capability[0];
    *minor = capability[1];
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    (void)device;
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? capability[0]
        : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? capability[1]
        : attribute == CU_DEVICE_ATTRIBUTE_INTEGRATED ? integrated
        : attribute == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN ? 101376 : 1;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    NEED(device == 0, CUDA_ERROR_INVALID_DEVICE);
    pthread_mutex_lock(&lock);
    CUresult status = count_allocation();
    if (status == CUDA_SUCCESS) {
        primary.references += 1;
        *context = &primary;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* As on a GPU, releasing does not pop the context from any thread's stack. */
EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    (void)device;
    NEED(primary.references > 0, CUDA_ERROR_INVALID_CONTEXT);
    pthread_mutex_lock(&lock);
    primary.references -= 1;
    lost += primary.references == 0 ? live_resources : 0;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxPushCurrent(CUcontext context) {
    NEED(context != NULL && context->references > 0, CUDA_ERROR_INVALID_CONTEXT);
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxPopCurrent(CUcontext *context) {
    NEED(depth > 0, CUDA_ERROR_INVALID_CONTEXT);
    depth -= 1;
    if (context != NULL) {
        *context = stack[depth];
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
    depth -= depth > 0;
    if (context != NULL) {
        stack[depth++] = context;
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = depth > 0 ? stack[depth - 1] : NULL;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetDevice(CUdevice *device) {
    NEED(context_is_current(), CUDA_ERROR_INVALID_CONTEXT);
    *device = 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == CUDA_SUCCESS ? "no error"
        : error == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory"
        : error == CUDA_ERROR_INVALID_VALUE ? "invalid argument"
        : error == CUDA_ERROR_INVALID_DEVICE ? "invalid device ordinal"
        : error == CUDA_ERROR_ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
        : error == CUDA_ERROR_INVALID_CONTEXT ? "invalid device context"
        : error == CUDA_ERROR_NOT_READY ? "device not ready"
        : error == CUDA_ERROR_INVALID_HANDLE ? "invalid resource handle"
        : error == CUDA_ERROR_NOT_SUPPORTED ? "operation not supported" : "unknown error";
    return CUDA_SUCCESS;
}

/* Code: a library, its kernels and their functions are accepted and never run. */

EXPORT CUresult cuLibraryLoadData(
    CUlibrary *library, const void *code, CUjit_option *jit, void **jit_values, unsigned int jit_count,
    CUlibraryOption *options, void **values, unsigned int count
) {
    (void)jit, (void)jit_values, (void)jit_count, (void)options, (void)values, (void)count;
    NEED(code != NULL, CUDA_ERROR_INVALID_VALUE);
    *library = (CUlibrary)&primary;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    NEED(library == (CUlibrary)&primary && name != NULL, CUDA_ERROR_INVALID_HANDLE);
    *kernel = (CUkernel)&primary;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) {
    NEED(context_is_current() && kernel == (CUkernel)&primary, CUDA_ERROR_INVALID_CONTEXT);
    *function = (CUfunction)&primary;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    (void)attribute, (void)value;
    NEED(function == (CUfunction)&primary, CUDA_ERROR_INVALID_HANDLE);
    return CUDA_SUCCESS;
}

/* cuda-bindings finds every function here; the newest suffix is the one that today's headers mean, but for
 * cuCtxGetDevice, whose _v2 is another function. */
EXPORT CUresult cuGetProcAddress(
    const char *symbol, void **function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *status
) {
    (void)version;
    (void)flags;
    static const char *const suffixes[] = {"_v4", "_v3", "_v2", ""};
    static void *self;
    char name[160];
    if (self == NULL) {
        Dl_info info;
        dladdr((void *)cuInit, &info);
        self = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    }
    *function = NULL;
    size_t first = strcmp(symbol, "cuCtxGetDevice") == 0 ? 3 : 0;
    for (size_t each = first; each < sizeof suffixes / sizeof *suffixes && *function == NULL; each++) {
        snprintf(name, sizeof name, "%s%s", symbol, suffixes[each]);
        *function = dlsym(self, name);
    }
    if (status != NULL) {
        *status = *function == NULL ? CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND : CU_GET_PROC_ADDRESS_SUCCESS;
    }
    return *function == NULL ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

/* What tests ask and set. */

EXPORT long standin_contexts(void) { return primary.references; }
EXPORT long standin_depth(void) { return depth; }
EXPORT long standin_lost(void) { return lost; }
EXPORT void standin_set_capability(int major, int minor) {
    capability[0] = major;
    capability[1] = minor;
}
EXPORT void standin_set_integrated(int value) { integrated = value; }
