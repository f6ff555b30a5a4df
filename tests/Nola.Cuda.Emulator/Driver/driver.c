/*
 * The driver's functions as ILGPU and Nola's graphs call them, over the machine. Work of a stream runs when somebody waits for
 * it and not before, so that memory which is used again too early shows. Contexts belong to threads; a context in which a
 * kernel failed answers every later call with that error.
 *
 * Set by the environment, or by emulator_set:
 *   NOLA_EMULATOR_CAPABILITY  compute capability, 9.0 unless set      NOLA_EMULATOR_LOG     a file for findings
 *   NOLA_EMULATOR_CARDS       how many cards, 1 unless set            NOLA_EMULATOR_COUNTS  a file for what ran, at the end
 *   NOLA_EMULATOR_LANES       reverse: the last lane and warp first   NOLA_EMULATOR_CACHE   where translated kernels are kept
 *   NOLA_EMULATOR_BLOCKS      a number: blocks in another order       NOLA_EMULATOR_FAIL    cuInit=802,…: functions that fail
 *   NOLA_EMULATOR_CONTRACT    1: products and sums become one step    NOLA_EMULATOR_LENIENT 1: findings are only logged
 *   NOLA_EMULATOR_SAMPLE      a number: of each launch so many blocks, and of equal launches the first alone, to count and not
 *                             to compute; memory that is taken while it is set is zero, and costs nothing until it is written
 *   NOLA_EMULATOR_ENOUGH      a number, in millions: more blocks of a launch are sampled until they made so many instructions
 *   NOLA_EMULATOR_LAUNCHES    a file for what each launch costs, while they are sampled
 */
#define _GNU_SOURCE
#include "machine.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_PTX = 218, NOT_FOUND = 500,
       CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901 };
enum { DEVICES_MEMORY_MIB = 8192, SAMPLED_MEMORY_MIB = 81920, LONGEST_QUEUE = 4096, ERROR_LOG = 5, ERROR_LOG_BYTES = 6 };

typedef struct { int error; char text[512]; } Context;

typedef struct { Kernel kernel; char file[400]; long launches; u64 blocks, threads; } Function;

typedef struct Module { void *library; char file[400]; } Module;

/* A kernel, a copy or a fill; data is a copy of the kernel's parameters, or of pageable memory. */
typedef struct { enum { LAUNCH, COPY, FILL } kind; Function *function; Size3 grid, block; u8 *data; size_t bytes; u64 to, from; int value; } Work;

typedef struct { Work *work; int count, room; } Queue;

typedef struct Stream { Queue queue; Context *context; int capturing, spoilt; struct Stream *next; } Stream;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static __thread Context *current;
static Stream *streams, legacy, *wanted;
static Function **functions;
static int function_count;
static u64 taken;
static long graph_launches;

/* ---- settings ---- */

static struct { char name[48], value[256]; } settings[32];

EXPORT void emulator_set(const char *name, const char *value) {
    for (int i = 0; i < 32; i++)
        if (!settings[i].name[0] || !strcmp(settings[i].name, name)) {
            snprintf(settings[i].name, sizeof settings[i].name, "%s", name);
            snprintf(settings[i].value, sizeof settings[i].value, "%s", value ? value : "");
            return;
        }
}

const char *setting(const char *name, const char *otherwise) {
    for (int i = 0; i < 32 && settings[i].name[0]; i++)
        if (!strcmp(settings[i].name, name)) return settings[i].value[0] ? settings[i].value : otherwise;
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

EXPORT long emulator_findings(void) { return findings; }

/* What NOLA_EMULATOR_FAIL gives for a function. */
static int told_to_fail(const char *function) {
    const char *list = setting("NOLA_EMULATOR_FAIL", ""), *at = strstr(list, function);
    size_t length = strlen(function);
    return at && at[length] == '=' && (at == list || at[-1] == ',') ? atoi(at + length + 1) : SUCCESS;
}

#define MAY_FAIL() do { int code_ = told_to_fail(__func__); if (code_) return code_; } while (0)

/* ---- a thread of its own runs the work: coroutines switch stacks, which .NET's threads had better not ---- */

static void fail_context(Context *context, Outcome what) {
    context->error = what.error;
    snprintf(context->text, sizeof context->text, "%s", what.text);
}

static int sample(void) { return atoi(setting("NOLA_EMULATOR_SAMPLE", "0")); }

static u64 mebibytes(void) { return (u64)(sample() ? SAMPLED_MEMORY_MIB : DEVICES_MEMORY_MIB) << 20; }

/* A launch that was sampled: its parameters without addresses, how many blocks ran, what they cost, and the fewest bytes of all blocks. */
typedef struct Sampled { Function *function; Size3 grid, block; u8 *shape; size_t bytes; u64 ran, costs[COUNTS], loaded, stored; struct Sampled *next; } Sampled;

static Sampled *all_sampled;

static u8 *shape_of(const Work *w) {
    u8 *shape = memcpy(malloc(w->bytes + 1), w->data, w->bytes);
    for (size_t at = 0; at + 8 <= w->bytes; at += 8) {
        u64 word;
        memcpy(&word, shape + at, 8);
        if (region_of(word)) memset(shape + at, 0, 8);
    }
    return shape;
}

static u64 instructions(const u64 *costs) {
    u64 sum = 0;
    for (int c = 0; c < COUNT_LOADED; c++) sum += costs[c];
    return sum;
}

static void sum_costs(const Kernel *kernel, u64 *sums) {
    memset(sums, 0, COUNTS * sizeof *sums);
    for (u32 b = 0; b < kernel->blocks; b++)
        for (int c = 0; c < COUNTS; c++) sums[c] += kernel->executed[b] * kernel->costs[b][c];
}

static void tell(const Sampled *s) {
    const char *path = setting("NOLA_EMULATOR_LAUNCHES", NULL);
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s\t%u\t%u\t%u\t%u\t%llu", s->function->kernel.name, s->grid.x, s->grid.y, s->grid.z, s->block.x * s->block.y * s->block.z, (unsigned long long)s->ran);
    for (int c = 0; c < COUNTS; c++) fprintf(file, "\t%llu", (unsigned long long)s->costs[c]);
    fprintf(file, "\t%llu\t%llu\n", (unsigned long long)s->loaded, (unsigned long long)s->stored);
    fclose(file);
}

static Outcome run_sample(const Work *w) {
    u8 *shape = shape_of(w);
    for (Sampled *s = all_sampled; s; s = s->next)
        if (s->function == w->function && !memcmp(&s->grid, &w->grid, sizeof s->grid) && s->bytes == w->bytes && !memcmp(s->shape, shape, w->bytes)) {
            free(shape);
            tell(s);
            return (Outcome){ 0 };
        }
    Sampled *made = calloc(1, sizeof *made);
    *made = (Sampled){ .function = w->function, .grid = w->grid, .block = w->block, .shape = shape, .bytes = w->bytes, .next = all_sampled };
    u64 blocks = (u64)w->grid.x * w->grid.y * w->grid.z, enough = 1000000ull * atoi(setting("NOLA_EMULATOR_ENOUGH", "0"));
    Outcome outcome;
    for (;; options.sample *= 4) {
        u64 before[COUNTS];
        sum_costs(&w->function->kernel, before);
        forget_asked();
        outcome = run_grid(&w->function->kernel, w->data, w->grid, w->block, &made->ran);
        sum_costs(&w->function->kernel, made->costs);
        for (int c = 0; c < COUNTS; c++) made->costs[c] -= before[c];
        if (outcome.error || made->ran == blocks || instructions(made->costs) >= enough) break;
    }
    sum_asked((double)blocks / made->ran, &made->loaded, &made->stored);
    all_sampled = made;
    tell(made);
    return outcome;
}

static void run(Context *context, Work *w) {
    if (context->error) return;
    if (w->kind == COPY) {
        memcpy((void *)w->to, w->data ? w->data : (void *)w->from, w->bytes);
        if (w->data) write_known(w->to, w->bytes);
        else copy_known(w->to, w->from, w->bytes);
    } else if (w->kind == FILL) {
        memset((void *)w->to, w->value, w->bytes);
        write_known(w->to, w->bytes);
    } else {
        w->function->launches++;
        w->function->blocks += (u64)w->grid.x * w->grid.y * w->grid.z;
        w->function->threads += (u64)w->grid.x * w->grid.y * w->grid.z * w->block.x * w->block.y * w->block.z;
        options = (Options){ !strcmp(setting("NOLA_EMULATOR_LANES", ""), "reverse"), atoi(setting("NOLA_EMULATOR_BLOCKS", "0")), atoi(setting("NOLA_EMULATOR_LENIENT", "0")), sample() };
        u64 ran;
        Outcome outcome = options.sample ? run_sample(w) : run_grid(&w->function->kernel, w->data, w->grid, w->block, &ran);
        if (outcome.error) fail_context(context, outcome);
    }
}

static void *work_forever(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!wanted) pthread_cond_wait(&changed, &lock);
        for (int i = 0; i < wanted->queue.count; i++) {
            run(wanted->context, &wanted->queue.work[i]);
            free(wanted->queue.work[i].data);
        }
        wanted->queue.count = 0;
        wanted = NULL;
        pthread_cond_broadcast(&changed);
    }
    return NULL;
}

static void finish(Stream *stream) {
    static pthread_t worker;
    static int started;
    if (!stream->queue.count) return;
    if (!started) started = !pthread_create(&worker, NULL, work_forever, NULL);
    while (wanted) pthread_cond_wait(&changed, &lock);
    wanted = stream;
    pthread_cond_broadcast(&changed);
    while (wanted == stream) pthread_cond_wait(&changed, &lock);
}

static void finish_all(void) {
    finish(&legacy);
    for (Stream *s = streams; s; s = s->next)
        if (!s->capturing) finish(s);
}

static void push(Stream *stream, Work work) {
    Queue *q = &stream->queue;
    if (q->count == q->room) q->work = realloc(q->work, (q->room = 2 * q->room + 16) * sizeof *q->work);
    q->work[q->count++] = work;
    if (q->count > LONGEST_QUEUE && !stream->capturing) finish(stream);
}

static void *copy_of(const void *data, size_t bytes) {
    void *copy = malloc(bytes + 1);
    if (bytes) memcpy(copy, data, bytes);
    return copy;
}

/* ---- every call: under the lock, and with a context where one is needed ---- */

#define BEGIN() MAY_FAIL(); pthread_mutex_lock(&lock); int code = SUCCESS
#define BEGIN_IN_CONTEXT() \
    MAY_FAIL(); \
    if (!current) { write_log("ERROR %s without a context of this thread\n", __func__); return INVALID_CONTEXT; } \
    if (current->error) return current->error; \
    pthread_mutex_lock(&lock); int code = SUCCESS
#define END() pthread_mutex_unlock(&lock); return code
#define STREAM_OF(given) Stream *stream = (given) ? (given) : &legacy; if (!(given)) legacy.context = current

static int refuse(const char *call, const char *what) {
    write_log("ERROR %s: %s\n", call, what);
    return INVALID_VALUE;
}

/* ---- the driver and its cards ---- */

EXPORT int cuInit(unsigned flags) { (void)flags; MAY_FAIL(); return SUCCESS; }
EXPORT int cuDriverGetVersion(int *version) { MAY_FAIL(); *version = 13000; return SUCCESS; }
EXPORT int cuDeviceGetCount(int *count) { MAY_FAIL(); *count = atoi(setting("NOLA_EMULATOR_CARDS", "1")); return SUCCESS; }
EXPORT int cuDeviceGet(int *device, int index) { MAY_FAIL(); *device = index; return SUCCESS; }
EXPORT int cuDeviceGetName(char *name, int length, int device) { (void)device; MAY_FAIL(); snprintf(name, length, "Nola's emulator"); return SUCCESS; }
EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; MAY_FAIL(); *bytes = mebibytes(); return SUCCESS; }

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    MAY_FAIL();
    int major = 9, minor = 0;
    sscanf(setting("NOLA_EMULATOR_CAPABILITY", "9.0"), "%d.%d", &major, &minor);
    switch (attribute) {
    case 1: case 2: case 3: *value = 1024; break;               /* threads of a block, along x and y */
    case 4: *value = 64; break;                                 /* along z */
    case 5: *value = 2147483647; break;                         /* blocks along x */
    case 6: case 7: *value = 65535; break;                      /* along y and z */
    case 8: *value = 49152; break;                              /* shared memory of a block */
    case 9: case 12: case 82: *value = 65536; break;            /* constant memory; registers */
    case 10: *value = 32; break;                                /* lanes of a warp */
    case 11: *value = 2147483647; break;                        /* pitch */
    case 16: *value = 132; break;                               /* multiprocessors */
    case 39: *value = 2048; break;                              /* threads of a multiprocessor */
    case 75: *value = major; break;
    case 76: *value = minor; break;
    case 81: *value = 233472; break;                            /* shared memory of a multiprocessor */
    default: *value = 1; break;
    }
    return SUCCESS;
}

EXPORT int cuGetErrorName(int error, const char **name) { *name = error == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR"; return SUCCESS; }

EXPORT int cuGetErrorString(int error, const char **text) {
    static __thread char said[640];
    const char *what = error == OUT_OF_MEMORY ? "out of memory" : error == INVALID_VALUE ? "invalid argument" : error == INVALID_CONTEXT ? "invalid device context"
        : error == INVALID_PTX ? "a PTX JIT compilation failed" : error == ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
        : error == MISALIGNED_ADDRESS ? "misaligned address" : error == LAUNCH_FAILED ? "unspecified launch failure" : "an error of the emulated driver";
    if (current && current->error == error) snprintf(said, sizeof said, "%s: %s", what, current->text);
    else snprintf(said, sizeof said, "%s", what);
    *text = said;
    return SUCCESS;
}

/* ---- contexts ---- */

EXPORT int cuCtxCreate_v2(Context **context, unsigned flags, int device) {
    (void)flags, (void)device;
    MAY_FAIL();
    *context = current = calloc(1, sizeof(Context));
    return SUCCESS;
}

EXPORT int cuCtxSetCurrent(Context *context) { MAY_FAIL(); current = context; return SUCCESS; }

EXPORT int cuCtxSynchronize(void) {
    BEGIN_IN_CONTEXT();
    finish_all();
    code = current->error;
    END();
}

EXPORT int cuCtxGetCacheConfig(int *value) { BEGIN_IN_CONTEXT(); *value = 0; END(); }
EXPORT int cuCtxGetSharedMemConfig(int *value) { BEGIN_IN_CONTEXT(); *value = 1; END(); }

/* ---- memory: unknown until somebody writes it, and full of NaN ---- */

static int take(void **pointer, size_t bytes, int kind) {
    if (!bytes) return INVALID_VALUE;
    if (kind == DEVICE_MEMORY && taken + bytes > mebibytes()) return OUT_OF_MEMORY;
    int sampled = sample() != 0;
    u8 *memory = sampled ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) : aligned_alloc(512, (bytes + 511) / 512 * 512);
    if (!memory || memory == MAP_FAILED || !add_region((u64)memory, bytes, kind, current, !sampled)) return OUT_OF_MEMORY;
    if (!sampled) memset(memory, 0xff, bytes);
    if (kind == DEVICE_MEMORY) taken += bytes;
    *pointer = memory;
    return SUCCESS;
}

static int give_back(void *pointer, int kind, const char *call) {
    u64 bytes;
    int had_known;
    if (!pointer) return SUCCESS;
    if (!remove_region((u64)pointer, kind, &bytes, &had_known)) return refuse(call, "memory that was not taken");
    if (kind == DEVICE_MEMORY) taken -= bytes;
    if (kind == REGISTERED_MEMORY) return SUCCESS;
    if (had_known) free(pointer);
    else munmap(pointer, bytes);
    return SUCCESS;
}

/* The context's memory goes with it. */
EXPORT int cuCtxDestroy_v2(Context *context) {
    BEGIN();
    finish_all();
    for (Region *r; (r = region_owned_by(context));) give_back((void *)r->begin, r->kind, __func__);
    if (current == context) current = NULL;
    END();
}

EXPORT int cuMemGetInfo_v2(size_t *available, size_t *total) { BEGIN_IN_CONTEXT(); *total = mebibytes(); *available = *total - taken; END(); }
EXPORT int cuMemAlloc_v2(void **pointer, size_t bytes) { BEGIN_IN_CONTEXT(); code = take(pointer, bytes, DEVICE_MEMORY); END(); }
EXPORT int cuMemFree_v2(void *pointer) { BEGIN_IN_CONTEXT(); finish_all(); code = give_back(pointer, DEVICE_MEMORY, __func__); END(); }
EXPORT int cuMemAllocHost_v2(void **pointer, size_t bytes) { BEGIN_IN_CONTEXT(); code = take(pointer, bytes, PINNED_MEMORY); END(); }
EXPORT int cuMemFreeHost(void *pointer) { BEGIN_IN_CONTEXT(); finish_all(); code = give_back(pointer, PINNED_MEMORY, __func__); END(); }

EXPORT int cuMemHostRegister_v2(void *pointer, size_t bytes, unsigned flags) {
    (void)flags;
    BEGIN_IN_CONTEXT();
    if (!add_region((u64)pointer, bytes, REGISTERED_MEMORY, current, 1)) code = OUT_OF_MEMORY;
    END();
}

EXPORT int cuMemHostUnregister(void *pointer) { BEGIN_IN_CONTEXT(); finish_all(); code = give_back(pointer, REGISTERED_MEMORY, __func__); END(); }
EXPORT int cuMemHostGetDevicePointer_v2(void **device, void *host, unsigned flags) { (void)flags; MAY_FAIL(); *device = host; return SUCCESS; }

EXPORT int cuPointerGetAttribute(void *data, int attribute, void *pointer) {
    (void)attribute;
    BEGIN();
    Region *region = region_of((u64)pointer);
    if (region) *(unsigned *)data = region->kind == DEVICE_MEMORY ? 2 : 1;
    else code = INVALID_VALUE;
    END();
}

/* Pageable memory is read at once, and written before the call returns: neither can be recorded. */
EXPORT int cuMemcpyAsync(void *to, void *from, size_t bytes, Stream *given) {
    BEGIN_IN_CONTEXT();
    STREAM_OF(given);
    Region *target = region_of((u64)to), *source = region_of((u64)from);
    if (!target && !source) code = refuse(__func__, "neither side is memory of the driver");
    else if ((target && !in_region((u64)to, bytes)) || (source && !in_region((u64)from, bytes))) code = refuse(__func__, "beyond an allocation");
    else if (stream->capturing && (!target || !source)) {
        stream->spoilt = 1;
        code = CAPTURE_UNSUPPORTED;
    } else {
        push(stream, (Work){ .kind = COPY, .to = (u64)to, .from = (u64)from, .bytes = bytes, .data = source ? NULL : copy_of(from, bytes) });
        if (!target) finish(stream);
        code = current->error;
    }
    END();
}

EXPORT int cuMemsetD8Async(void *to, u8 value, size_t bytes, Stream *given) {
    BEGIN_IN_CONTEXT();
    STREAM_OF(given);
    if (!in_region((u64)to, bytes)) code = refuse(__func__, "beyond an allocation");
    else push(stream, (Work){ .kind = FILL, .to = (u64)to, .value = value, .bytes = bytes });
    END();
}

/* ---- streams ---- */

EXPORT int cuStreamCreate(Stream **stream, unsigned flags) {
    (void)flags;
    BEGIN_IN_CONTEXT();
    *stream = calloc(1, sizeof(Stream));
    (*stream)->context = current;
    (*stream)->next = streams;
    streams = *stream;
    END();
}

EXPORT int cuStreamCreateWithPriority(Stream **stream, unsigned flags, int priority) { (void)priority; return cuStreamCreate(stream, flags); }

EXPORT int cuStreamDestroy_v2(Stream *stream) {
    BEGIN_IN_CONTEXT();
    finish(stream);
    Stream **at = &streams;
    while (*at && *at != stream) at = &(*at)->next;
    if (*at) *at = stream->next;
    else code = refuse(__func__, "a stream that is not there");
    END();
}

EXPORT int cuStreamSynchronize(Stream *given) {
    BEGIN_IN_CONTEXT();
    STREAM_OF(given);
    if (stream->capturing) {
        stream->spoilt = 1;
        code = CAPTURE_UNSUPPORTED;
    } else {
        finish(stream);
        code = current->error;
    }
    END();
}

/* ---- modules: translated and compiled once for each text and each set of options ---- */

static u64 hash_of(const char *text, u64 hash) {
    for (; *text; text++) hash = (hash ^ (u8)*text) * 1099511628211ull;
    return hash;
}

/* Everything but the line that says which version of PTX the driver was found to speak. */
static u64 hash_of_module(const char *ptx, const char *how) {
    const char *version = strstr(ptx, ".version"), *rest = version ? strchr(version, '\n') : NULL;
    char *head = version ? strndup(ptx, version - ptx) : strdup("");
    u64 hash = hash_of(rest ? rest : ptx, hash_of(head, hash_of(how, hash_of(EMULATOR_BUILD, 1469598103934665603ull))));
    free(head);
    return hash;
}

static void explain(const char *file, unsigned count_of_options, const int *keys, void **values) {
    char *to = NULL;
    size_t bytes = 0;
    for (unsigned i = 0; i < count_of_options; i++) {
        if (keys[i] == ERROR_LOG) to = values[i];
        if (keys[i] == ERROR_LOG_BYTES) bytes = (size_t)values[i];
    }
    FILE *said = fopen(file, "r");
    if (to && bytes > 1) to[said ? fread(to, 1, bytes - 1, said) : 0] = 0;
    if (said) fclose(said);
}

/* Processes share a cache: one of them compiles a kernel, and the others wait for it. */
static int compile_alone(const char *ptx, const char *file, const char *how);

static int compile(const char *ptx, const char *file, const char *library, const char *how) {
    char name[420];
    struct stat there;
    snprintf(name, sizeof name, "%s.lock", file);
    int handle = open(name, O_CREAT | O_RDWR, 0666);
    if (handle >= 0) flock(handle, LOCK_EX);
    int done = !stat(library, &there) || compile_alone(ptx, file, how);
    if (handle >= 0) close(handle);
    return done;
}

/* Beside the file that it is to become, and renamed: a file that is there is whole. */
static int compile_alone(const char *ptx, const char *file, const char *how) {
    char own[420], command[4096];
    snprintf(own, sizeof own, "%s.%d", file, getpid());
    snprintf(command, sizeof command, "%s.ptx", own);
    FILE *out = fopen(command, "w");
    if (!out) return 0;
    fputs(ptx, out);
    fclose(out);
    snprintf(command, sizeof command,
             "(" EMULATOR_TRANSLATE " '%s.ptx' '%s.c' && cc -std=gnu11 -w %s -shared -fPIC -I'" EMULATOR_SOURCE "' '%s.c' -o '%s.so' -lm) >'%s.log' 2>&1 && mv '%s.so' '%s.so'",
             own, own, how, own, own, own, own, file);
    int failed = system(command);
    snprintf(command, sizeof command, "mv '%s.ptx' '%s.ptx'; mv '%s.log' '%s.log'; rm -f '%s'.*", own, file, own, file, own);
    return !system(command) && !failed;
}

EXPORT int cuModuleLoadDataEx(Module **module, const char *ptx, unsigned count_of_options, int *keys, void **values) {
    if (told_to_fail(__func__)) explain(setting("NOLA_EMULATOR_SAYS", "/dev/null"), count_of_options, keys, values);
    BEGIN_IN_CONTEXT();
    const char *cache = setting("NOLA_EMULATOR_CACHE", EMULATOR_CACHE);
    const char *how = atoi(setting("NOLA_EMULATOR_CONTRACT", "0")) ? "-O1 -fexpensive-optimizations -mfma -ffp-contract=fast" : "-O1 -ffp-contract=off";
    char file[400], library[420];
    mkdir(cache, 0777);
    snprintf(file, sizeof file, "%s/%016llx", cache, (unsigned long long)hash_of_module(ptx, how));
    snprintf(library, sizeof library, "%s.so", file);
    void *loaded = NULL;
    if (compile(ptx, file, library, how)) loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (loaded) {
        *module = calloc(1, sizeof(Module));
        (*module)->library = loaded;
        snprintf((*module)->file, sizeof (*module)->file, "%s", file);
    } else {
        snprintf(library, sizeof library, "%s.log", file);
        explain(library, count_of_options, keys, values);
        code = INVALID_PTX;
    }
    END();
}

EXPORT int cuModuleLoadData(Module **module, const char *ptx) { return cuModuleLoadDataEx(module, ptx, 0, NULL, NULL); }
EXPORT int cuModuleUnload(Module *module) { (void)module; MAY_FAIL(); return SUCCESS; }

EXPORT int cuModuleGetFunction(Function **function, Module *module, const char *name) {
    BEGIN_IN_CONTEXT();
    char symbol[300];
    snprintf(symbol, sizeof symbol, "kernel_%s", name);
    const Kernel *kernel = dlsym(module->library, symbol);
    if (!kernel) code = NOT_FOUND;
    else if (kernel->shared > 49152) code = INVALID_PTX;
    else {
        Function *made = calloc(1, sizeof(Function));
        made->kernel = *kernel;
        snprintf(made->file, sizeof made->file, "%s", module->file);
        functions = realloc(functions, (function_count + 1) * sizeof *functions);
        functions[function_count++] = made;
        *function = made;
    }
    END();
}

/* ---- launches ---- */

enum { PARAMETER_BUFFER = 1, PARAMETER_BYTES = 2 };

EXPORT int cuLaunchKernel(Function *f, u32 gx, u32 gy, u32 gz, u32 bx, u32 by, u32 bz, u32 shared, Stream *given, void **parameters, void **extra) {
    (void)parameters;
    BEGIN_IN_CONTEXT();
    STREAM_OF(given);
    u8 *buffer = NULL;
    size_t bytes = 0;
    for (int i = 0; extra && extra[i]; i += 2) {
        if ((u64)extra[i] == PARAMETER_BUFFER) buffer = extra[i + 1];
        else if ((u64)extra[i] == PARAMETER_BYTES) bytes = *(size_t *)extra[i + 1];
    }
    u64 of_block = (u64)bx * by * bz;
    if (!gx || !gy || !gz || gx > 2147483647 || gy > 65535 || gz > 65535) code = refuse(__func__, "a grid that is empty or too large");
    else if (!of_block || of_block > 1024 || bz > 64 || of_block > f->kernel.threads) code = refuse(__func__, "a block of more threads than the kernel was compiled for");
    else if (f->kernel.shared + shared > 49152) code = refuse(__func__, "more shared memory than a block may have");
    else if (bytes < f->kernel.parameters) code = refuse(__func__, "fewer bytes of parameters than the kernel takes");
    else push(stream, (Work){ .kind = LAUNCH, .function = f, .grid = { gx, gy, gz }, .block = { bx, by, bz }, .data = copy_of(buffer, bytes), .bytes = bytes });
    END();
}

/* ---- graphs ---- */

static Queue copy_queue(const Queue *from) {
    Queue copy = { malloc((from->count + 1) * sizeof(Work)), from->count, from->count + 1 };
    for (int i = 0; i < from->count; i++) {
        copy.work[i] = from->work[i];
        if (from->work[i].data) copy.work[i].data = copy_of(from->work[i].data, from->work[i].bytes);
    }
    return copy;
}

static void free_queue(Queue *queue) {
    for (int i = 0; i < queue->count; i++) free(queue->work[i].data);
    free(queue->work);
    free(queue);
}

EXPORT int cuStreamBeginCapture_v2(Stream *stream, int mode) {
    (void)mode;
    BEGIN_IN_CONTEXT();
    if (!stream || stream->capturing) code = CAPTURE_UNSUPPORTED;
    else {
        finish(stream);
        stream->capturing = 1;
        stream->spoilt = 0;
    }
    END();
}

EXPORT int cuStreamEndCapture(Stream *stream, Queue **graph) {
    BEGIN_IN_CONTEXT();
    Queue *recorded = malloc(sizeof *recorded);
    *recorded = stream->queue;
    stream->queue = (Queue){ 0 };
    stream->capturing = 0;
    *graph = NULL;
    if (stream->spoilt) {
        free_queue(recorded);
        code = CAPTURE_INVALIDATED;
    } else *graph = recorded;
    END();
}

EXPORT int cuGraphInstantiateWithFlags(Queue **instance, Queue *graph, unsigned long long flags) {
    (void)flags;
    BEGIN_IN_CONTEXT();
    *instance = malloc(sizeof **instance);
    **instance = copy_queue(graph);
    END();
}

EXPORT int cuGraphLaunch(Queue *instance, Stream *given) {
    BEGIN_IN_CONTEXT();
    STREAM_OF(given);
    Queue copy = copy_queue(instance);
    for (int i = 0; i < copy.count; i++) push(stream, copy.work[i]);
    free(copy.work);
    graph_launches++;
    END();
}

EXPORT int cuGraphDestroy(Queue *graph) { BEGIN(); free_queue(graph); END(); }
EXPORT int cuGraphExecDestroy(Queue *instance) { BEGIN(); finish_all(); free_queue(instance); END(); }

/* ---- events, which say nothing of time here ---- */

EXPORT int cuEventCreate(void **event, unsigned flags) { (void)flags; *event = malloc(1); return SUCCESS; }
EXPORT int cuEventDestroy_v2(void *event) { free(event); return SUCCESS; }
EXPORT int cuEventRecord(void *event, Stream *stream) { (void)event, (void)stream; return SUCCESS; }
EXPORT int cuEventSynchronize(void *event) { (void)event; return SUCCESS; }
EXPORT int cuEventQuery(void *event) { (void)event; return SUCCESS; }
EXPORT int cuEventElapsedTime(float *milliseconds, void *from, void *to) { (void)from, (void)to; *milliseconds = 1; return SUCCESS; }

/* ---- what ran, a line for each kernel ---- */

__attribute__((destructor)) static void report(void) {
    const char *path = setting("NOLA_EMULATOR_COUNTS", NULL);
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    for (int i = 0; i < function_count; i++) {
        const Function *f = functions[i];
        if (!f->launches) continue;
        u64 sums[COUNTS];
        sum_costs(&f->kernel, sums);
        memset(f->kernel.executed, 0, f->kernel.blocks * sizeof(u64));
        fprintf(file, "%s\t%ld\t%llu\t%llu", f->kernel.name, f->launches, (unsigned long long)f->blocks, (unsigned long long)f->threads);
        for (int c = 0; c < COUNTS; c++) fprintf(file, "\t%llu", (unsigned long long)sums[c]);
        fprintf(file, "\n");
    }
    fprintf(file, "#\t%ld\tgraph launches\n#\t%ld\tfindings\n", graph_launches, findings);
    fclose(file);
}
