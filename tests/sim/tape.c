/* tape.c - see tape.h. */
#include "tape.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void tape_seed(struct tape *tape, uint64_t seed)
{
    uint64_t z = seed + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    tape->state = (z ^ (z >> 31)) | 1;
    tape->nbits = 0;
    tape->n = tape->at = 0;
    tape->replay = false;
}

void tape_rewind(struct tape *tape, size_t n)
{
    tape->n = n;
    tape->at = 0;
    tape->replay = true;
}

bool tape_ended(const struct tape *tape)
{
    return tape->at >= (tape->replay ? tape->n : TAPE_MAX - 64);
}

uint8_t tape_draw(struct tape *tape)
{
    if (tape->replay || tape->at >= TAPE_MAX)
        return tape->at < tape->n && tape->at < TAPE_MAX ? tape->v[tape->at++]
                                                         : 0;
    if (tape->nbits == 0) {
        tape->state ^= tape->state << 13;
        tape->state ^= tape->state >> 7;
        tape->state ^= tape->state << 17;
        tape->bits = tape->state * UINT64_C(0x2545f4914f6cdd1d);
        tape->nbits = 8;
    }
    tape->nbits--;
    tape->v[tape->at] = (uint8_t)(tape->bits >> 56);
    tape->bits <<= 8;
    return tape->v[tape->at++];
}

static int digit(int c)
{
    return isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
}

int tape_load(struct tape *tape, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return -1;
    size_t n = 0;
    int c, high = -1;
    while ((c = fgetc(file)) != EOF) {
        if (c == '#') {
            while (c != '\n' && c != EOF)
                c = fgetc(file);
        } else if (isxdigit(c) && n < TAPE_MAX) {
            if (high >= 0)
                tape->v[n++] = (uint8_t)(high << 4 | digit(c));
            high = high >= 0 ? -1 : digit(c);
        }
    }
    fclose(file);
    tape_rewind(tape, n);
    return 0;
}

int tape_save(const struct tape *tape, const char *path, const char *comment)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return -1;
    fprintf(file, "# %s\n", comment);
    size_t n = tape->replay ? tape->n : tape->at;
    for (size_t i = 0; i < n; i++)
        fprintf(file, "%02x%s", tape->v[i], i % 32 == 31 ? "\n" : "");
    if (n % 32 != 0)
        fputc('\n', file);
    return fclose(file);
}
