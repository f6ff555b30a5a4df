/* What a kernel that was translated from PTX sees of the machine that runs it. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

/* What is counted of a kernel, in instructions of single threads; bytes follow as the kernel asked for them. */
enum { COUNT_TENSOR, COUNT_FLOAT, COUNT_INTEGER, COUNT_CONTROL, COUNT_GLOBAL, COUNT_SHARED, COUNT_SHUFFLE, COUNT_SPECIAL, COUNT_MOVE,
       COUNT_LOADED, COUNT_STORED, COUNTS };

/* How memory is accessed. */
enum { READ, WRITE, ATOMIC };

/* Operations that a warp makes together; the driver carries them out once all its lanes have arrived. */
enum { SHUFFLE_BUTTERFLY, SHUFFLE_INDEX, SHUFFLE_DOWN, SHUFFLE_UP, LOAD_MATRICES, LOAD_MATRICES_TRANSPOSED, MULTIPLY_BFLOAT16, MULTIPLY_TF32, WARP_BARRIER };

typedef struct Thread Thread;

/* Bytes asked for, and between which addresses. */
typedef struct { u64 bytes, low, high; } Asked;

/*
 * A range of memory that kernels may use, of a context; a bit of known for each byte that somebody has written. Where launches are
 * sampled nobody can know that: there is no known, and what a launch asks for is noted instead.
 */
typedef struct { u64 begin, end; u8 *known; int kind; const void *owner; Asked loaded, stored; } Region;

/* An instruction that accesses global memory: its line, and the region that it found last. */
typedef struct { int line; u64 begin, end; u8 *known; u32 regions; } Site;

typedef struct {
    void (*meet)(Thread *, int operation, int line);            /* the whole warp */
    void (*barrier)(Thread *, int line);                        /* the whole block */
    u8 *(*shared)(Thread *, u64 address, int bytes, int access, int line);
    u8 *(*find)(Thread *, Site *, u64 address, int bytes, int access);
    void (*unknown)(Thread *, u64 address, int line);
    void (*copy)(Thread *, u64 to, u64 from, u32 bytes, int line);
    void (*commit)(Thread *);
    void (*wait)(Thread *, int groups);
    void (*uniform)(Thread *, int site, int taken, int line);
    void (*doubt)(Thread *, const char *what, int line);        /* a finding: what is computed is likely wrong */
    void (*fail)(Thread *, const char *what, int line);
    u32 regions;                                                /* changes whenever memory is taken or given back */
} Machine;

struct Thread {
    u32 tid[3], ctaid[3], ntid[3], nctaid[3];
    u32 lane, warp, linear;
    const u8 *parameters;
    u8 *memory;                                                 /* the block's shared memory */
    u32 in[12], out[4];                                         /* operands of what the warp does together */
    Machine *machine;
    struct Private *own;                                        /* the machine's side of a thread */
};

/* A kernel as the driver finds it in a compiled module; blocks are those of its flow of control. */
typedef struct {
    void (*run)(Thread *);
    const char *name;
    u32 parameters, shared, threads, uniforms, blocks;
    u64 *executed;
    const u32 (*costs)[COUNTS];
} Kernel;

static inline float as_float(u32 x) { float f; memcpy(&f, &x, 4); return f; }
static inline u32 of_float(float f) { u32 x; memcpy(&x, &f, 4); return x; }
static inline double as_double(u64 x) { double f; memcpy(&f, &x, 8); return f; }
static inline u64 of_double(double f) { u64 x; memcpy(&x, &f, 8); return x; }

/* .ftz: subnormal numbers become zeros of their sign. */
static inline float flush(float x) { return (of_float(x) & 0x7f800000u) == 0 ? as_float(of_float(x) & 0x80000000u) : x; }

/* cvt.rn.bf16: to nearest, ties to even; NaN becomes 0x7fff. */
static inline u32 bfloat16(float f) {
    u32 x = of_float(f);
    return (x & 0x7fffffffu) > 0x7f800000u ? 0x7fff : (x + 0x7fff + ((x >> 16) & 1)) >> 16;
}

/* cvt.rna.tf32: to nearest, ties away from zero. */
static inline u32 tf32(u32 x) { return (x & 0x7f800000u) == 0x7f800000u ? x : (x + 0x1000) & 0xffffe000u; }

/* Conversions to whole numbers end at the largest and smallest; NaN becomes zero. */
static inline s32 to_s32(double x) { return x != x ? 0 : x >= 2147483647.0 ? INT32_MAX : x <= -2147483648.0 ? INT32_MIN : (s32)x; }
static inline u32 to_u32(double x) { return x != x || x <= 0 ? 0 : x >= 4294967295.0 ? UINT32_MAX : (u32)x; }
static inline s64 to_s64(double x) { return x != x ? 0 : x >= 9223372036854775807.0 ? INT64_MAX : x <= -9223372036854775808.0 ? INT64_MIN : (s64)x; }

/* min.f32 and max.f32 give the other operand for a NaN, and take −0 for less than +0. */
static inline float lesser(float a, float b) { return a != a ? b : b != b ? a : a < b ? a : b < a ? b : signbit(a) ? a : b; }
static inline float larger(float a, float b) { return a != a ? b : b != b ? a : a > b ? a : b > a ? b : signbit(a) ? b : a; }

static inline int is_known(const u8 *known, u64 offset, int bytes) {
    if (bytes < 8) return ((known[offset / 8] >> offset % 8) & ((1 << bytes) - 1)) == (1 << bytes) - 1;
    for (int i = 0; i < bytes / 8; i++)
        if (known[offset / 8 + i] != 0xff) return 0;
    return 1;
}

static inline void make_known(u8 *known, u64 offset, int bytes) {
    if (bytes < 8) known[offset / 8] |= ((1 << bytes) - 1) << offset % 8;
    else memset(known + offset / 8, 0xff, bytes / 8);
}

/* The place of an access to global memory. Accesses are aligned, so the bits of one never cross a byte. */
static inline u8 *global(Thread *t, Site *site, u64 address, int bytes, int access) {
    if (site->regions != t->machine->regions || address < site->begin || address + bytes > site->end || address % bytes)
        return t->machine->find(t, site, address, bytes, access);
    if (access != READ) make_known(site->known, address - site->begin, bytes);
    else if (!is_known(site->known, address - site->begin, bytes)) t->machine->unknown(t, address, site->line);
    return (u8 *)address;
}
