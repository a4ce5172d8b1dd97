/* memory.c - what engines allocate in a schedule.
 *
 * Blocks are cut from one piece and never used twice, so that a schedule costs
 * no malloc; a freed block is overwritten, so that whoever still reads it is
 * found out. With sanitizers each block is one of malloc's. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#define ARENA ((size_t)8 << 20)

struct block {
    size_t size;
    struct block *prev, *next;
};

static struct {
    char *piece;
    size_t at, live;
    struct block all; /* sanitizers: those that live */
} memory;

#ifdef __SANITIZE_ADDRESS__

static void *take(size_t n)
{
    struct block *block = malloc(sizeof(*block) + n);
    if (block == NULL)
        abort();
    block->size = n;
    block->next = &memory.all;
    block->prev = memory.all.prev;
    block->prev->next = block->next->prev = block;
    memory.live++;
    return block + 1;
}

static void give(void *p)
{
    struct block *block = (struct block *)p - 1;
    block->prev->next = block->next;
    block->next->prev = block->prev;
    memory.live--;
    free(block);
}

void memory_reset(void)
{
    while (memory.all.next != &memory.all)
        give(memory.all.next + 1);
}

#else

static void *take(size_t n)
{
    size_t size = (sizeof(struct block) + n + 15) & ~(size_t)15;
    if (memory.at + size > ARENA) {
        fprintf(stderr, "sim: a schedule used more than %zu bytes\n", ARENA);
        abort();
    }
    struct block *block = (struct block *)(memory.piece + memory.at);
    memory.at += size;
    memory.live++;
    block->size = n;
    return block + 1;
}

static void give(void *p)
{
    struct block *block = (struct block *)p - 1;
    memory.live--;
    memset(p, 0xdb, block->size < 512 ? block->size : 512);
}

void memory_reset(void)
{
    memory.at = 0;
    memory.live = 0;
}

#endif

static void *take_more(void *p, size_t n)
{
    if (p == NULL)
        return take(n);
    size_t old = ((struct block *)p - 1)->size;
    void *q = take(n);
    memcpy(q, p, old < n ? old : n);
    give(p);
    return q;
}

void memory_install(void)
{
    memory.all.prev = memory.all.next = &memory.all;
#ifndef __SANITIZE_ADDRESS__
    memory.piece = malloc(ARENA);
    if (memory.piece == NULL)
        abort();
#endif
    outtray_set_allocator(take, take_more, give);
}

size_t memory_live(void)
{
    return memory.live;
}
