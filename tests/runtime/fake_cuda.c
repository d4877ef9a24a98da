/* A CUDA driver whose GPU is the machine's memory: what tests load in place of libcuda. */
#include <stdlib.h>
#include <string.h>

typedef unsigned long long address;

static int context, live;

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

int live_allocations(void) { return live; }

int cuInit(unsigned flags) { return flags ? 1 : number("FAKE_CUDA_INIT", 0); }
int cuDeviceGetCount(int *count) { *count = number("FAKE_CUDA_GPUS", 1); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 70 + ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Fake 4000", length); return device != 70; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = number(attribute == 75 ? "FAKE_CUDA_MAJOR" : "FAKE_CUDA_MINOR", attribute == 75 ? 8 : 9);
    return device != 70;
}
int cuDevicePrimaryCtxRetain(void **given, int device) { *given = &context; return device != 70; }
int cuDevicePrimaryCtxRelease_v2(int device) { return device != 70; }
int cuCtxSetCurrent(void *given) { return given != &context; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = malloc(1); live++; return flags != 1; }
int cuStreamSynchronize(void *stream) { return !stream; }
int cuStreamDestroy_v2(void *stream) { free(stream); live--; return 0; }
int cuMemAlloc_v2(address *given, size_t size) {
    if (size > (size_t)number("FAKE_CUDA_MEMORY", 1 << 30)) return 2;
    *given = (address)malloc(size);
    live++;
    return 0;
}
int cuMemFree_v2(address given) { free((void *)given); live--; return 0; }
int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t size, void *stream) {
    memcpy((void *)to, from, size);
    return !stream;
}
int cuMemcpyDtoHAsync_v2(void *to, address from, size_t size, void *stream) {
    memcpy(to, (void *)from, size);
    return !stream;
}
int cuGetErrorName(int code, const char **name) {
    *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 100 ? "CUDA_ERROR_NO_DEVICE" : NULL;
    return 0;
}
