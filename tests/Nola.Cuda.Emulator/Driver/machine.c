/*
 * Runs a kernel's blocks one after another. Each thread is a coroutine; it runs until its warp or its block has to meet. What
 * PTX leaves undefined is looked for on the way: the order in which lanes run is one of many that a card may choose, and no
 * result may depend on it.
 */
#define _GNU_SOURCE
#include "machine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { LANES = 32, THREADS = 1024, STACK = 96 * 1024, SHARED = 64 * 1024, REMEMBERED = 1024 };

enum { READY, AT_WARP, AT_BARRIER, EXITED };

/* A copy from global to shared memory that is under way. */
typedef struct { u32 to; u64 from; u32 bytes; int group; } Copy;

struct Private {
    void *stack_pointer;
    int state, operation, line;
    Copy *copies;
    int pending, room, groups;
    u32 meetings;               /* barriers of its warp that it passed */
    u32 *branches;              /* how often it came to each bra.uni */
};

/* A word of shared memory: who wrote and read it since which barrier. */
typedef struct {
    u32 block, known;           /* of which block what is said here is, and a bit for each byte that was written */
    u32 written, write_meeting; /* the barrier after which it was written, of the block and of the warp */
    u32 read, read_meeting, readers;
    u16 writer, reader, other;
    u8 pending, atomic;
} Word;

Machine machine;
Options options;
long findings;

static Thread threads[THREADS];
static struct Private privates[THREADS];
static u8 *stacks;
static Word words[SHARED / 4];
static u8 memory[SHARED] __attribute__((aligned(256)));
static const Kernel *kernel;
static Thread *running;
static void *scheduler;
static jmp_buf failed;
static int in_thread;
static Outcome outcome;
static u32 epoch = 1, block_number = 1;

/* ---- the log ---- */

void write_log(const char *format, ...) {
    const char *path = setting("NOLA_EMULATOR_LOG", NULL);
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    va_list values;
    va_start(values, format);
    vfprintf(file, format, values);
    va_end(values);
    fclose(file);
}

/* ---- regions, in ascending order ---- */

static Region *regions;
static int count, room;

static int first_beyond(u64 address) {
    int low = 0, high = count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (regions[middle].begin <= address) low = middle + 1;
        else high = middle;
    }
    return low;
}

Region *region_of(u64 address) {
    int i = first_beyond(address);
    return i > 0 && address < regions[i - 1].end ? &regions[i - 1] : NULL;
}

int in_region(u64 begin, u64 bytes) {
    Region *found = region_of(begin);
    return found && begin + bytes <= found->end;
}

Region *region_owned_by(const void *owner) {
    for (int i = 0; i < count; i++)
        if (regions[i].owner == owner) return &regions[i];
    return NULL;
}

int add_region(u64 begin, u64 bytes, int kind, const void *owner, int has_known) {
    u64 bits = bytes / 8 + 2;
    u8 *map = has_known ? mmap(NULL, bits, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : NULL;
    if (map == MAP_FAILED) return 0;
    if (map && kind != DEVICE_MEMORY) memset(map, 0xff, bits);
    if (count == room) regions = realloc(regions, (room = 2 * room + 64) * sizeof *regions);
    int at = first_beyond(begin);
    memmove(regions + at + 1, regions + at, (count++ - at) * sizeof *regions);
    regions[at] = (Region){ .begin = begin, .end = begin + bytes, .known = map, .kind = kind, .owner = owner };
    machine.regions++;
    return 1;
}

int remove_region(u64 begin, int kind, u64 *bytes, int *had_known) {
    int at = first_beyond(begin) - 1;
    if (at < 0 || regions[at].begin != begin || regions[at].kind != kind) return 0;
    *bytes = regions[at].end - begin;
    *had_known = regions[at].known != NULL;
    if (*had_known) munmap(regions[at].known, *bytes / 8 + 2);
    memmove(regions + at, regions + at + 1, (--count - at) * sizeof *regions);
    machine.regions++;
    return 1;
}

void write_known(u64 to, u64 bytes) {
    Region *region = region_of(to);
    if (!region || !region->known) return;
    for (u64 at = to - region->begin, end = at + bytes; at < end; at++) {
        if (at % 8 == 0 && end - at >= 8) {
            u64 whole = (end - at) / 8;
            memset(region->known + at / 8, 0xff, whole);
            at += whole * 8 - 1;
        } else region->known[at / 8] |= 1 << at % 8;
    }
}

void copy_known(u64 to, u64 from, u64 bytes) {
    Region *target = region_of(to), *source = region_of(from);
    if (!target || !target->known) return;
    if (!source || !source->known || source->kind != DEVICE_MEMORY) {
        write_known(to, bytes);
        return;
    }
    for (u64 i = 0; i < bytes; i++) {
        u64 s = from - source->begin + i, t = to - target->begin + i;
        u8 bit = (source->known[s / 8] >> s % 8) & 1;
        target->known[t / 8] = (target->known[t / 8] & ~(1 << t % 8)) | bit << t % 8;
    }
}

/* ---- what launches ask for, where they are sampled ---- */

static void note_asked(Asked *asked, u64 address, u32 bytes) {
    if (!asked->bytes || address < asked->low) asked->low = address;
    if (!asked->bytes || address + bytes > asked->high) asked->high = address + bytes;
    asked->bytes += bytes;
}

void forget_asked(void) {
    for (int i = 0; i < count; i++) regions[i].loaded = regions[i].stored = (Asked){ 0 };
}

static u64 least(const Asked *asked, double blocks_of_each) {
    double all = asked->bytes * blocks_of_each, once = asked->high - asked->low;
    return (u64)(all < once ? all : once);
}

void sum_asked(double blocks_of_each, u64 *loaded, u64 *stored) {
    *loaded = *stored = 0;
    for (int i = 0; i < count; i++) {
        *loaded += least(&regions[i].loaded, blocks_of_each);
        *stored += least(&regions[i].stored, blocks_of_each);
    }
}

/* ---- what goes wrong ---- */

extern void emulator_switch(void **save, void *to);
__asm__(
    ".text\n.globl emulator_switch\n.hidden emulator_switch\n.type emulator_switch,@function\nemulator_switch:\n"
    " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");

static void leave(Thread *t) {
    emulator_switch(&t->own->stack_pointer, scheduler);
    running = t;
}

static void describe(const Thread *t, int error, const char *what, int line) {
    outcome.error = error;
    snprintf(outcome.text, sizeof outcome.text, "%s in %s, line %d of its PTX, thread %u of block (%u, %u, %u)",
             what, kernel->name, line, t->linear, t->ctaid[0], t->ctaid[1], t->ctaid[2]);
    write_log("FAULT %s\n", outcome.text);
}

/* Ends the launch. */
static void stop(Thread *t) {
    if (!in_thread) longjmp(failed, 1);
    for (;;) {
        t->own->state = EXITED;
        leave(t);
    }
}

static void fail_with(Thread *t, int error, const char *what, int line) {
    findings++;
    describe(t, error, what, line);
    stop(t);
}

static void fail(Thread *t, const char *what, int line) { fail_with(t, LAUNCH_FAILED, what, line); }

/* What a card would not notice, and may compute wrongly from. */
static void find(Thread *t, const char *what, int line) {
    if (!options.lenient) fail(t, what, line);
    static char said[4096][96];
    static int saying;
    char key[96];
    snprintf(key, sizeof key, "%.48s|%d|%.32s", kernel->name, line, what);
    for (int i = 0; i < saying; i++)
        if (!strcmp(said[i], key)) return;
    if (saying < 4096) strcpy(said[saying++], key);
    findings++;
    write_log("FINDING %s in %s, line %d\n", what, kernel->name, line);
}

/* ---- shared memory ---- */

static void note_read(Word *w, Thread *t) {
    if (w->read != epoch) {
        w->read = epoch;
        w->readers = 0;
        w->reader = w->other = t->linear;
    }
    if (w->read_meeting != t->own->meetings) w->reader = w->other = t->linear;
    if (w->reader != t->linear) w->other = t->linear;
    w->readers |= 1u << t->warp;
    w->read_meeting = t->own->meetings;
}

static void check_order(Word *w, Thread *t, int access, int line) {
    int both = access == ATOMIC && w->atomic;
    if (w->written == epoch && w->writer != t->linear && !both) {
        if (w->writer / LANES != t->warp) find(t, access ? "race: two warps write a word between barriers" : "race: a word is read that another warp writes between the same barriers", line);
        else if (w->write_meeting == t->own->meetings) find(t, access ? "race: two lanes write a word" : "race: a lane reads what another lane of its warp writes", line);
    }
    if (access == READ || w->read != epoch) return;
    if (w->readers & ~(1u << t->warp)) find(t, "race: a word is written that another warp reads between the same barriers", line);
    else if (w->read_meeting == t->own->meetings && (w->reader != t->linear || w->other != t->linear)) find(t, "race: a lane writes what another lane of its warp reads", line);
}

static void touch(Thread *t, u32 address, int bytes, int access, int line) {
    u32 mask = bytes >= 4 ? 15 : ((1u << bytes) - 1) << address % 4;
    for (u32 i = address / 4; i <= (address + bytes - 1) / 4; i++) {
        Word *w = &words[i];
        if (w->block != block_number) *w = (Word){ .block = block_number };
        if (w->pending) find(t, access ? "write to the target of an asynchronous copy under way" : "read of an asynchronous copy that was not waited for", line);
        check_order(w, t, access, line);
        if (access != WRITE && (w->known & mask) != mask) find(t, "read of shared memory that nobody wrote", line);
        if (access == READ) note_read(w, t);
        else {
            /* An atomic operation does not hide what its own lane wrote before without a barrier. */
            int plain = w->written == epoch && !w->atomic && w->writer == t->linear && w->write_meeting == t->own->meetings;
            w->known |= mask;
            w->written = epoch;
            w->writer = t->linear;
            w->write_meeting = t->own->meetings;
            w->atomic = access == ATOMIC && !plain;
        }
    }
}

static u8 *shared(Thread *t, u64 address, int bytes, int access, int line) {
    if (address + bytes > kernel->shared || address + bytes < address) fail_with(t, ILLEGAL_ADDRESS, "address outside shared memory", line);
    if (address % bytes) fail_with(t, MISALIGNED_ADDRESS, "misaligned address in shared memory", line);
    touch(t, (u32)address, bytes, access, line);
    return t->memory + address;
}

/* ---- global memory ---- */

static void unknown(Thread *t, u64 address, int line) {
    char what[80];
    snprintf(what, sizeof what, "read of global memory that nobody wrote (%#llx)", (unsigned long long)address);
    find(t, options.lenient ? "read of global memory that nobody wrote" : what, line);
}

/* A generic address may be one of shared memory. */
static u8 *find_global(Thread *t, Site *site, u64 address, int bytes, int access) {
    if (address % bytes) fail_with(t, MISALIGNED_ADDRESS, "misaligned address", site->line);
    u64 own = (u64)t->memory;
    if (address >= own && address + bytes <= own + kernel->shared) return shared(t, address - own, bytes, access, site->line);
    Region *region = region_of(address);
    if (!region || address + bytes > region->end) {
        char what[80];
        snprintf(what, sizeof what, "illegal address %#llx of %d bytes", (unsigned long long)address, bytes);
        fail_with(t, ILLEGAL_ADDRESS, what, site->line);
    }
    if (!region->known) {
        if (access != WRITE) note_asked(&region->loaded, address, bytes);
        if (access != READ) note_asked(&region->stored, address, bytes);
        return (u8 *)address;
    }
    *site = (Site){ site->line, region->begin, region->end, region->known, machine.regions };
    return global(t, site, address, bytes, access);
}

/* ---- asynchronous copies: made as late as PTX allows ---- */

static void copy(Thread *t, u64 to, u64 from, u32 bytes, int line) {
    struct Private *own = t->own;
    if (to % 16 || from % 16) fail_with(t, MISALIGNED_ADDRESS, "misaligned asynchronous copy", line);
    if (to + 16 > kernel->shared) fail_with(t, ILLEGAL_ADDRESS, "asynchronous copy beyond shared memory", line);
    if (bytes > 16) fail(t, "asynchronous copy of more than 16 bytes", line);
    if (bytes && !in_region(from, bytes)) fail_with(t, ILLEGAL_ADDRESS, "asynchronous copy from an illegal address", line);
    touch(t, (u32)to, 16, WRITE, line);
    for (int i = 0; i < 4; i++) words[to / 4 + i].pending++;
    memset(t->memory + to, 0xff, 16);
    if (own->pending == own->room) own->copies = realloc(own->copies, (own->room = 2 * own->room + 16) * sizeof(Copy));
    own->copies[own->pending++] = (Copy){ (u32)to, from, bytes, own->groups };
}

static void commit(Thread *t) { t->own->groups++; }

static void arrive(Thread *t, const Copy *c) {
    u8 data[16] = { 0 };
    if (c->bytes) memcpy(data, (void *)c->from, c->bytes);
    memcpy(t->memory + c->to, data, 16);
    Region *source = c->bytes ? region_of(c->from) : NULL;
    if (source && !source->known) note_asked(&source->loaded, c->from, c->bytes);
    for (u32 i = 0; i < 4; i++) {
        Word *w = &words[c->to / 4 + i];
        w->pending--;
        w->written = epoch;
        w->writer = t->linear;
        w->write_meeting = t->own->meetings;
        w->atomic = 0;
        w->known = 15;
        for (u32 b = 4 * i; b < 4 * i + 4 && b < c->bytes; b++)
            if (source && source->known && !is_known(source->known, c->from + b - source->begin, 1)) w->known &= ~(1u << (b - 4 * i));
    }
}

static void wait_for(Thread *t, int groups) {
    struct Private *own = t->own;
    int kept = 0;
    for (int i = 0; i < own->pending; i++) {
        if (own->copies[i].group < own->groups - groups) arrive(t, &own->copies[i]);
        else own->copies[kept++] = own->copies[i];
    }
    own->pending = kept;
}

/* ---- branches that claim to be uniform: lanes that come to one for the k-th time must agree ---- */

typedef struct { u32 block, time, taken; } Branch;

static Branch *branches;

static void uniform(Thread *t, int site, int taken, int line) {
    u32 time = t->own->branches[site]++;
    Branch *b = &branches[((size_t)t->warp * kernel->uniforms + site) * REMEMBERED + time % REMEMBERED];
    if (b->block == block_number && b->time == time && b->taken != (u32)taken) find(t, "bra.uni taken by some lanes only", line);
    /* A lane that is far ahead of the others writes over what they would be compared with. */
    *b = (Branch){ block_number, time, taken };
}

static void prepare_branches(u32 count_of_threads) {
    static size_t room_of_branches, room_of_counts;
    static u32 *counts;
    size_t needed = (size_t)LANES * kernel->uniforms * REMEMBERED, of_counts = (size_t)THREADS * kernel->uniforms;
    if (needed > room_of_branches) branches = realloc(branches, (room_of_branches = needed) * sizeof *branches);
    if (of_counts > room_of_counts) counts = realloc(counts, (room_of_counts = of_counts) * sizeof *counts);
    if (needed) memset(branches, 0, needed * sizeof *branches);
    for (u32 i = 0; i < count_of_threads; i++) privates[i].branches = counts + (size_t)i * kernel->uniforms;
}

/* ---- what a warp does together; fragments as in the PTX ISA, "Matrix fragments" ---- */

static u32 source_lane(u32 operation, u32 lane, u32 by, u32 clamp) {
    u32 segment = (clamp >> 8) & 31, last = (lane & segment) | ((clamp & 31) & ~segment);
    switch (operation) {
    case SHUFFLE_BUTTERFLY: return (lane ^ by) <= last ? lane ^ by : lane;
    case SHUFFLE_INDEX: { u32 from = (lane & segment) | (by & 31 & ~segment); return from <= last ? from : lane; }
    case SHUFFLE_DOWN: return lane + by <= last ? lane + by : lane;
    default: return (s32)(lane - by) >= (s32)(lane & segment) ? lane - by : lane;
    }
}

static void shuffle(Thread *warp, int operation) {
    for (u32 i = 0; i < LANES; i++) warp[i].out[0] = warp[source_lane(operation, i, warp[i].in[1] & 31, warp[i].in[2])].in[0];
}

static void load_matrices(Thread *warp, int transposed) {
    u16 rows[LANES][8];
    for (int i = 0; i < LANES; i++) memcpy(rows[i], shared(&warp[i], warp[i].in[0], 16, READ, warp[i].own->line), 16);
    for (int i = 0; i < LANES; i++)
        for (int m = 0; m < 4; m++) {
            int major = i / 4, minor = 2 * (i % 4);
            u32 low = transposed ? rows[8 * m + minor][major] : rows[8 * m + major][minor];
            u32 high = transposed ? rows[8 * m + minor + 1][major] : rows[8 * m + major][minor + 1];
            warp[i].out[m] = low | high << 16;
        }
}

/* d = a (16, depth) · b (depth, 8) + c, a lane's four of d in rows g and g + 8, columns 2 q and 2 q + 1. */
static void multiply(Thread *warp, int depth, float a[16][16], float b[16][8]) {
    for (int i = 0; i < LANES; i++)
        for (int r = 0; r < 4; r++) {
            int row = i / 4 + 8 * (r / 2), column = 2 * (i % 4) + r % 2;
            float sum = as_float(warp[i].in[6 + r]);
            for (int k = 0; k < depth; k++) sum += a[row][k] * b[k][column];
            warp[i].out[r] = of_float(sum);
        }
}

static float half_of(u32 word, int high) { return as_float(high ? word & 0xffff0000u : word << 16); }

static void multiply_bfloat16(Thread *warp) {
    float a[16][16], b[16][8];
    for (int i = 0; i < LANES; i++) {
        int g = i / 4, q = i % 4;
        for (int h = 0; h < 2; h++) {
            for (int r = 0; r < 4; r++) a[g + 8 * (r % 2)][2 * q + h + 8 * (r / 2)] = half_of(warp[i].in[r], h);
            for (int r = 0; r < 2; r++) b[2 * q + h + 8 * r][g] = half_of(warp[i].in[4 + r], h);
        }
    }
    multiply(warp, 16, a, b);
}

static void multiply_tf32(Thread *warp) {
    float a[16][16], b[16][8];
    for (int i = 0; i < LANES; i++) {
        int g = i / 4, q = i % 4;
        for (int r = 0; r < 4; r++) a[g + 8 * (r % 2)][q + 4 * (r / 2)] = as_float(warp[i].in[r] & 0xffffe000u);
        for (int r = 0; r < 2; r++) b[q + 4 * r][g] = as_float(warp[i].in[4 + r] & 0xffffe000u);
    }
    multiply(warp, 8, a, b);
}

static void together(Thread *warp, int lanes) {
    int operation = warp[0].own->operation;
    if (operation == WARP_BARRIER) return;
    if (lanes != LANES) fail(&warp[0], "operation of a warp that has not 32 lanes", warp[0].own->line);
    if (operation <= SHUFFLE_UP) shuffle(warp, operation);
    else if (operation == LOAD_MATRICES || operation == LOAD_MATRICES_TRANSPOSED) load_matrices(warp, operation == LOAD_MATRICES_TRANSPOSED);
    else if (operation == MULTIPLY_BFLOAT16) multiply_bfloat16(warp);
    else multiply_tf32(warp);
}

/* ---- threads ---- */

static void meet(Thread *t, int operation, int line) {
    t->own->operation = operation;
    t->own->line = line;
    t->own->state = AT_WARP;
    leave(t);
    if (operation == WARP_BARRIER) t->own->meetings++;
}

static void barrier(Thread *t, int line) {
    t->own->line = line;
    t->own->state = AT_BARRIER;
    leave(t);
}

static void begin(void) {
    Thread *t = running;
    kernel->run(t);
    for (;;) {
        t->own->state = EXITED;
        leave(t);
    }
}

static void prepare(Thread *t, u32 i, const u8 *parameters, Size3 grid, Size3 block, Size3 place) {
    struct Private *own = &privates[i];
    u32 *branch_counts = own->branches;
    *own = (struct Private){ .state = READY, .copies = own->copies, .room = own->room, .meetings = 1, .branches = branch_counts };
    if (kernel->uniforms) memset(branch_counts, 0, kernel->uniforms * sizeof(u32));
    *t = (Thread){
        .tid = { i % block.x, i / block.x % block.y, i / block.x / block.y }, .ctaid = { place.x, place.y, place.z },
        .ntid = { block.x, block.y, block.z }, .nctaid = { grid.x, grid.y, grid.z },
        .lane = i % LANES, .warp = i / LANES, .linear = i, .parameters = parameters, .memory = memory, .machine = &machine, .own = own,
    };
    /* A frame for emulator_switch to return from: six registers and where to begin, on a stack that is aligned as after a call. */
    void **top = (void **)(stacks + (size_t)(i + 1) * STACK - 64);
    *--top = NULL;
    *--top = (void *)begin;
    for (int r = 0; r < 6; r++) *--top = NULL;
    own->stack_pointer = top;
}

static void resume(Thread *t) {
    running = t;
    in_thread = 1;
    emulator_switch(&scheduler, t->own->stack_pointer);
    in_thread = 0;
    if (outcome.error) longjmp(failed, 1);
}

static int in_order(int i, int n) { return options.reverse ? n - 1 - i : i; }

/* Runs a warp until all its lanes are at the block's barrier or have exited; how many are at the barrier. */
static int run_warp(Thread *warp, int lanes) {
    for (;;) {
        for (int i = 0; i < lanes; i++)
            if (warp[in_order(i, lanes)].own->state == READY) resume(&warp[in_order(i, lanes)]);
        int meeting = 0, waiting = 0;
        Thread *first = NULL;
        for (int i = 0; i < lanes; i++) {
            int state = warp[i].own->state;
            waiting += state == AT_BARRIER;
            if (state != AT_WARP) continue;
            meeting++;
            if (!first) first = &warp[i];
            else if (warp[i].own->line != first->own->line) fail(&warp[i], "lanes of a warp meet at different operations", warp[i].own->line);
        }
        if (!meeting) {
            if (waiting && waiting < lanes) fail(&warp[0], "barrier that some lanes of a warp do not reach", warp[0].own->line);
            return waiting;
        }
        if (meeting < lanes) fail(first, "operation of a warp with missing lanes", first->own->line);
        together(warp, lanes);
        for (int i = 0; i < lanes; i++) warp[i].own->state = READY;
    }
}

static void run_block(u32 count_of_threads) {
    int warps = (count_of_threads + LANES - 1) / LANES;
    for (;;) {
        u32 waiting = 0, exited = 0;
        for (int i = 0; i < warps; i++) {
            int w = in_order(i, warps), lanes = (int)count_of_threads - LANES * w < LANES ? (int)count_of_threads - LANES * w : LANES;
            waiting += run_warp(&threads[LANES * w], lanes);
        }
        for (u32 i = 0; i < count_of_threads; i++) exited += privates[i].state == EXITED;
        if (exited == count_of_threads) break;
        if (waiting + exited != count_of_threads || exited) fail(&threads[0], "barrier that some warps do not reach", privates[0].line);
        for (u32 i = 0; i < count_of_threads; i++) {
            if (privates[i].line != privates[0].line) find(&threads[i], "threads meet at different barriers", privates[i].line);
            privates[i].state = READY;
        }
        epoch++;
    }
    for (u32 i = 0; i < count_of_threads; i++)
        if (privates[i].pending) find(&threads[i], "asynchronous copies are under way at the end", 0);
}

static u64 greatest_common_divisor(u64 a, u64 b) { return b ? greatest_common_divisor(b, a % b) : a; }

/* A step that visits every block once; a sample takes the first of these, which lie evenly. */
static u64 stride_of(u64 blocks, int sampled) {
    u64 stride = sampled ? (u64)(0.6180339887498949 * blocks) : options.shuffle ? blocks / 2 + 1 + (u64)options.shuffle : 1;
    while (greatest_common_divisor(stride, blocks) != 1) stride++;
    return stride;
}

Outcome run_grid(const Kernel *k, const u8 *parameters, Size3 grid, Size3 block, u64 *ran) {
    static Outcome done;
    kernel = k;
    outcome = (Outcome){ 0 };
    if (!stacks) {
        stacks = mmap(NULL, (size_t)THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        u32 counted = machine.regions;
        machine = (Machine){ meet, barrier, shared, find_global, unknown, copy, commit, wait_for, uniform, find, fail, counted };
    }
    static u32 count_of_threads;
    static u64 blocks, stride, n, chosen;
    count_of_threads = block.x * block.y * block.z;
    blocks = (u64)grid.x * grid.y * grid.z;
    chosen = options.sample && (u64)options.sample < blocks ? (u64)options.sample : blocks;
    stride = stride_of(blocks, chosen < blocks);
    *ran = chosen;
    prepare_branches(count_of_threads);
    if (setjmp(failed)) {
        done = outcome;
        outcome = (Outcome){ 0 };
        for (u32 i = 0; i < THREADS; i++) privates[i].pending = 0;
        return done;
    }
    for (n = 0; n < chosen; n++) {
        /* The last block is in every sample. */
        u64 at = chosen < blocks && n == chosen - 1 ? blocks - 1 : (n * stride + options.shuffle) % blocks;
        Size3 place = { at % grid.x, at / grid.x % grid.y, at / grid.x / grid.y };
        epoch++;
        block_number++;
        memset(memory, 0xff, kernel->shared);
        for (u32 i = 0; i < count_of_threads; i++) prepare(&threads[i], i, parameters, grid, block, place);
        run_block(count_of_threads);
    }
    return (Outcome){ 0 };
}
