/* The machine: regions of memory, and blocks of threads that run a kernel under checks. */
#pragma once
#include <stdio.h>
#include "kernel.h"

/* Where a region is from. */
enum { DEVICE_MEMORY, PINNED_MEMORY, REGISTERED_MEMORY };

typedef struct { u32 x, y, z; } Size3;

/* How kernels are run: the order of lanes and blocks, whether a finding that is no crash ends the run, and most blocks of a launch, or none for all. */
typedef struct { int reverse, shuffle, lenient, sample; } Options;

/* What a failed run left: an error of the driver, and what happened. */
typedef struct { int error; char text[512]; } Outcome;

enum { ILLEGAL_ADDRESS = 700, MISALIGNED_ADDRESS = 716, LAUNCH_FAILED = 719 };

extern Machine machine;
extern Options options;
extern long findings;

/* What the environment, or somebody in the process, has set. */
const char *setting(const char *name, const char *otherwise);

Region *region_of(u64 address);
Region *region_owned_by(const void *owner);
int add_region(u64 begin, u64 bytes, int kind, const void *owner, int has_known);
int remove_region(u64 begin, int kind, u64 *bytes, int *had_known);

/* Whether all of a range is in one region. */
int in_region(u64 begin, u64 bytes);

/* Marks a range as written, or as what its source is. */
void write_known(u64 to, u64 bytes);
void copy_known(u64 to, u64 from, u64 bytes);

/* Forgets what regions were asked for. */
void forget_asked(void);

/* The fewest bytes that memory can have given and taken: in each region no more than was asked for, and each byte of it once. */
void sum_asked(double blocks_of_each, u64 *loaded, u64 *stored);

/* Runs the blocks of a launch, and says how many; nothing runs after what went wrong. */
Outcome run_grid(const Kernel *kernel, const u8 *parameters, Size3 grid, Size3 block, u64 *ran);

/* Writes a line to the log, if there is one. */
void write_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
