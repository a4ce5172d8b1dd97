#include "cli/table.h"

#include <assert.h>
#include <stdio.h>

void ot_table_add_slice(struct ot_table *table, struct ot_slice text)
{
    struct ot_buffer b = {0};
    ot_buffer_puts(&b, "");
    ot_add_safe(&b, text);
    if (table->ncells == table->size) {
        size_t size = table->size > 0 ? table->size * 2 : 64;
        char **cells = ot_resize(table->cells, size * sizeof *cells);
        if (cells == NULL) {
            table->failed = true;
            ot_buffer_free(&b);
            return;
        }
        table->cells = cells;
        table->size = size;
    }
    if (b.failed)
        table->failed = true;
    table->cells[table->ncells++] = b.p;
}

void ot_table_add(struct ot_table *table, const char *text)
{
    ot_table_add_slice(table, ot_slice_of(text));
}

void ot_table_add_number(struct ot_table *table, int64_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)n);
    ot_table_add(table, text);
}

/* Characters, not bytes: near enough to columns. */
static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (; text != NULL && *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static size_t bytes_of(const char *text, size_t columns)
{
    size_t i = 0;
    while (text[i] != '\0') {
        if (((unsigned char)text[i] & 0xc0) != 0x80 && columns-- == 0)
            break;
        i++;
    }
    return i;
}

static void print_row(struct ot_cli *cli, const struct ot_table *table,
                      const char *const *cells, const size_t *widths)
{
    size_t at = 0;
    for (size_t i = 0; i < table->ncolumns; i++) {
        const char *text = cells[i] != NULL ? cells[i] : "";
        size_t n = columns_of(text), pad = widths[i] - n;
        bool last = i + 1 == table->ncolumns;
        if (table->columns[i].right)
            ot_out(cli, "%*s", (int)pad, "");
        size_t room =
            cli->term.width > (int)at + 8 ? (size_t)cli->term.width - at : 8;
        if (last && !table->columns[i].right && n > room)
            ot_out(cli, "%.*s…", (int)bytes_of(text, room - 1), text);
        else
            ot_out(cli, "%s", text);
        if (!table->columns[i].right && !last)
            ot_out(cli, "%*s", (int)pad, "");
        if (!last)
            ot_out(cli, "  ");
        at += widths[i] + 2;
    }
    ot_out(cli, "\n");
}

static void print_plain(struct ot_cli *cli, const struct ot_table *table)
{
    assert(table->ncolumns > 0);
    for (size_t i = 0; i < table->ncolumns; i++)
        ot_out(cli, "%s%s", i > 0 ? "\t" : "", table->columns[i].head);
    for (size_t i = 0; i < table->ncells; i++)
        ot_out(cli, "%s%s", i % table->ncolumns == 0 ? "\n" : "\t",
               table->cells[i] != NULL ? table->cells[i] : "");
    ot_out(cli, "\n");
}

void ot_table_print(struct ot_cli *cli, const struct ot_table *table)
{
    enum { MOST = 16 };
    size_t widths[MOST] = {0};
    const char *heads[MOST] = {0};
    size_t n = table->ncolumns < MOST ? table->ncolumns : MOST;
    assert(n > 0);
    if (!cli->term.out) {
        print_plain(cli, table);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        heads[i] = table->columns[i].head;
        widths[i] = columns_of(heads[i]);
    }
    for (size_t i = 0; i < table->ncells; i++) {
        size_t width = columns_of(table->cells[i]);
        if (width > widths[i % n])
            widths[i % n] = width;
    }
    ot_out(cli, "%s", ot_term_color(cli->term.out_color, OT_BOLD));
    print_row(cli, table, heads, widths);
    ot_out(cli, "%s", ot_term_color(cli->term.out_color, OT_PLAIN));
    for (size_t i = 0; i + n <= table->ncells; i += n)
        print_row(cli, table, (const char *const *)table->cells + i, widths);
}

void ot_table_free(struct ot_table *table)
{
    for (size_t i = 0; i < table->ncells; i++)
        ot_free(table->cells[i]);
    ot_free(table->cells);
    table->cells = NULL;
    table->ncells = table->size = 0;
}
