/* wire.h - PostgreSQL's binary formats. */
#ifndef OT_PG_WIRE_H
#define OT_PG_WIRE_H

#include <libpq-fe.h>

#include "base/base.h"

/* Types by the oids of the server's catalog, which never change. */
enum ot_pg_type {
    OT_PG_BOOL = 16,
    OT_PG_INT8 = 20,
    OT_PG_INT4 = 23,
    OT_PG_BYTEA = 17,
    OT_PG_TEXT = 25,
    OT_PG_JSON = 114,
    OT_PG_TID = 27,
    OT_PG_UUID = 2950,
    OT_PG_TIMESTAMPTZ = 1184,
    OT_PG_BOOL_ARRAY = 1000,
    OT_PG_INT4_ARRAY = 1007,
    OT_PG_TEXT_ARRAY = 1009,
    OT_PG_INT8_ARRAY = 1016,
    OT_PG_TIMESTAMPTZ_ARRAY = 1185,
};

/* Its time begins in 2000. */
#define OT_PG_EPOCH_US INT64_C(946684800000000)

static inline uint32_t ot_pg_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;

    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 |
           b[3];
}

static inline int64_t ot_pg_i64(const char *p)
{
    return (int64_t)((uint64_t)ot_pg_u32(p) << 32 | ot_pg_u32(p + 4));
}

/* Infinity stays beyond every time; -infinity becomes 1. */
static inline int64_t ot_pg_time(const char *p)
{
    int64_t us = ot_pg_i64(p);

    if (us > INT64_MAX - OT_PG_EPOCH_US)
        return INT64_MAX;
    if (us < 1 - OT_PG_EPOCH_US)
        return 1;
    return us + OT_PG_EPOCH_US;
}

/* Columns of a result. NULL is 0, false or no slice. */
static inline bool ot_pg_null(const PGresult *r, int row, int column)
{
    return PQgetisnull(r, row, column) != 0;
}

static inline int64_t ot_pg_get_i64(const PGresult *r, int row, int column)
{
    return ot_pg_null(r, row, column) ? 0
                                      : ot_pg_i64(PQgetvalue(r, row, column));
}

static inline int32_t ot_pg_get_i32(const PGresult *r, int row, int column)
{
    return ot_pg_null(r, row, column)
               ? 0
               : (int32_t)ot_pg_u32(PQgetvalue(r, row, column));
}

static inline bool ot_pg_get_bool(const PGresult *r, int row, int column)
{
    return !ot_pg_null(r, row, column) && PQgetvalue(r, row, column)[0] != 0;
}

static inline int64_t ot_pg_get_time(const PGresult *r, int row, int column)
{
    return ot_pg_null(r, row, column) ? 0
                                      : ot_pg_time(PQgetvalue(r, row, column));
}

static inline struct ot_slice ot_pg_get_slice(const PGresult *r, int row,
                                              int column)
{
    if (ot_pg_null(r, row, column))
        return ot_slice(NULL, 0);
    return ot_slice(PQgetvalue(r, row, column),
                    (size_t)PQgetlength(r, row, column));
}

#endif
