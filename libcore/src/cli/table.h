/* table.h - rows for people: aligned on a terminal, else separated by tabs. */
#ifndef OT_CLI_TABLE_H
#define OT_CLI_TABLE_H

#include "cli/cli.h"

struct ot_column {
    const char *head;
    bool right; /* numbers */
};

/* Start with columns and ncolumns, the rest zero. */
struct ot_table {
    const struct ot_column *columns;
    size_t ncolumns;
    char **cells; /* row by row */
    size_t ncells;
    size_t size;
    bool failed; /* out of memory */
};

/* Cells are added row by row; control characters are made visible. */
void ot_table_add(struct ot_table *, const char *text);
void ot_table_add_slice(struct ot_table *, struct ot_slice text);
void ot_table_add_number(struct ot_table *, int64_t n);
/* A last column that does not fit on the terminal is cut. */
void ot_table_print(struct ot_cli *, const struct ot_table *);
void ot_table_free(struct ot_table *);

#endif
