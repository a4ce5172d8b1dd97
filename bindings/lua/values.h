/* values.h - values of Lua become those of C and back. */
#ifndef OUTTRAY_BINDINGS_LUA_VALUES_H
#define OUTTRAY_BINDINGS_LUA_VALUES_H

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "outtray.h"

#if LUA_VERSION_NUM < 502
#define length_of(L, index) lua_objlen(L, index)
#else
#define length_of(L, index) lua_rawlen(L, index)
#endif

/* --- integers ------------------------------------------------------------ */

static inline void integer_push(lua_State *L, int64_t value)
{
#if LUA_VERSION_NUM >= 503
    lua_pushinteger(L, (lua_Integer)value);
#else
    lua_pushnumber(L, (lua_Number)value);
#endif
}

/* A number without a fraction; in 5.1 all numbers are floating. */
static inline bool integer_read(lua_State *L, int index, int64_t *out)
{
#if LUA_VERSION_NUM >= 503
    int whole = 0;

    if (lua_type(L, index) != LUA_TNUMBER)
        return false;
    *out = (int64_t)lua_tointegerx(L, index, &whole);
    return whole != 0;
#else
    lua_Number value;

    if (lua_type(L, index) != LUA_TNUMBER)
        return false;
    value = lua_tonumber(L, index);
    if (!(value >= -9223372036854775808.0 && value < 9223372036854775808.0) ||
        floor(value) != value)
        return false;
    *out = (int64_t)value;
    return true;
#endif
}

/* The same in digits, which hold 64 bits in every Lua. */
static inline bool digits_read(lua_State *L, int index, int64_t *out)
{
    size_t n;
    const char *text = lua_tolstring(L, index, &n);
    char *end;
    bool digit =
        n > 0 && ((text[0] >= '0' && text[0] <= '9') || text[0] == '-');

    errno = 0;
    *out = strtoll(text, &end, 10);
    return digit && errno == 0 && end == text + n;
}

/* --- errors -------------------------------------------------------------- */

/* nil, message, name, and of a database also its code. Returns their number. */
static int error_push(lua_State *L, const struct outtray_error *e)
{
    lua_pushnil(L);
    lua_pushstring(L, e->text);
    lua_pushstring(L, outtray_error_name(e->code));
    if (e->sqlstate[0] == '\0')
        return 3;
    lua_pushstring(L, e->sqlstate);
    return 4;
}

/* For what an event may not be; the same words as those of lua/outtray. */
static bool refuse(lua_State *L, size_t index, const char *why, int value)
{
    lua_pushnil(L);
    if (value != 0)
        lua_pushfstring(L, "event %d: %s, not a %s", (int)index, why,
                        luaL_typename(L, value < 0 ? value - 1 : value));
    else
        lua_pushfstring(L, "event %d: %s", (int)index, why);
    lua_pushliteral(L, "MISUSE");
    return false;
}

/* --- events -------------------------------------------------------------- */

/* Events whose members are borrowed from a table of Lua, which stands on the
 * stack for the whole call; so does the array of them. */
struct events {
    struct outtray_event *events;
    size_t n;
    struct outtray_event one;
};

static struct outtray_slice *member_named(struct outtray_event *e,
                                          const char *name)
{
    const struct {
        const char *name;
        struct outtray_slice *slice;
    } members[] = {
        {"topic", &e->topic},     {"payload", &e->payload}, {"key", &e->key},
        {"headers", &e->headers}, {"type", &e->type},       {"id", &e->id},
    };

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (strcmp(name, members[i].name) == 0)
            return members[i].slice;
    return NULL;
}

/* The pair on top of the stack. */
static bool member_read(lua_State *L, struct outtray_event *e, size_t index)
{
    struct outtray_slice *slice;
    char why[64];
    const char *name;

    if (lua_type(L, -2) != LUA_TSTRING)
        return refuse(L, index, "a member has no name", 0);
    name = lua_tostring(L, -2);
    slice = member_named(e, name);
    if (slice != NULL && lua_type(L, -1) == LUA_TSTRING) {
        slice->p = lua_tolstring(L, -1, &slice->n);
        return true;
    }
    if (slice != NULL) {
        snprintf(why, sizeof(why), "%s must be a string", name);
        return refuse(L, index, why, -1);
    }
    if (strcmp(name, "deliver_at_us") != 0) {
        snprintf(why, sizeof(why), "there is no member '%.30s'", name);
        return refuse(L, index, why, 0);
    }
    if (integer_read(L, -1, &e->deliver_at_us) ||
        (lua_type(L, -1) == LUA_TSTRING &&
         digits_read(L, -1, &e->deliver_at_us)))
        return true;
    return refuse(L, index, "deliver_at_us must be an integer", 0);
}

static bool event_read(lua_State *L, struct outtray_event *e, size_t index)
{
    if (!lua_istable(L, -1))
        return refuse(L, index, "it must be a table", -1);
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        if (!member_read(L, e, index))
            return false;
        lua_pop(L, 1);
    }
    return true;
}

/* A list of tables. False: nil, a message and a name are on the stack. */
static bool events_read(lua_State *L, int list, struct events *in)
{
    memset(in, 0, sizeof(*in));
    in->n = length_of(L, list);
    in->events = &in->one;
    luaL_checkstack(L, 10, "events");
    if (in->n > 1) {
        in->events = lua_newuserdata(L, in->n * sizeof(in->one));
        memset(in->events, 0, in->n * sizeof(in->one));
    }
    for (size_t i = 0; i < in->n; i++) {
        lua_rawgeti(L, list, (int)(i + 1));
        if (!event_read(L, &in->events[i], i))
            return false;
        lua_pop(L, 1);
    }
    return true;
}

/* --- statements ---------------------------------------------------------- */

static void params_push(lua_State *L, const struct outtray_statement *s)
{
    luaL_Buffer kinds;

    lua_createtable(L, (int)s->nparams, 2);
    luaL_buffinit(L, &kinds);
    for (size_t i = 0; i < s->nparams; i++)
        luaL_addchar(&kinds, "ntb"[s->params[i].kind]);
    luaL_pushresult(&kinds);
    lua_setfield(L, -2, "kinds");
    for (size_t i = 0; i < s->nparams; i++) {
        const struct outtray_param *param = &s->params[i];
        if (param->kind == OUTTRAY_PARAM_NULL)
            continue;
        lua_pushlstring(L, param->value.p, param->value.n);
        lua_rawseti(L, -2, (int)(i + 1));
    }
    integer_push(L, (int64_t)s->nparams);
    lua_setfield(L, -2, "n");
}

/* sql, ids, parameters: a table with n and with kinds, a letter each: n(il),
 * t(ext), b(ytes); nil for a statement that has none. */
static int statement_push(lua_State *L)
{
    const struct outtray_statement *s = lua_touserdata(L, 1);

    lua_pushlstring(L, s->sql, s->sql_n);
    lua_createtable(L, (int)s->nids, 0);
    for (size_t i = 0; i < s->nids; i++) {
        lua_pushlstring(L, s->ids[i], 36);
        lua_rawseti(L, -2, (int)(i + 1));
    }
    if (s->nparams > 0)
        params_push(L, s);
    else
        lua_pushnil(L);
    return 3;
}

#if !defined(OUTTRAY_BUILD_ONLY)

#include "../handle.h"

/* --- batches ------------------------------------------------------------- */

static void field_push(lua_State *L, const struct outtray_slice *value,
                       const char *name)
{
    if (value->p == NULL)
        return;
    lua_pushlstring(L, value->p, value->n);
    lua_setfield(L, -2, name);
}

static void batch_event_push(lua_State *L, const struct outtray_batch_event *e)
{
    lua_createtable(L, 0, 12);
    field_push(L, &e->event.id, "id");
    field_push(L, &e->event.topic, "topic");
    field_push(L, &e->event.key, "key");
    field_push(L, &e->event.type, "type");
    field_push(L, &e->event.headers, "headers");
    field_push(L, &e->event.payload, "payload");
    field_push(L, &e->order, "order");
    integer_push(L, e->created_us);
    lua_setfield(L, -2, "created_us");
    integer_push(L, e->attempts);
    lua_setfield(L, -2, "attempts");
    lua_pushboolean(L, e->maybe_duplicate);
    lua_setfield(L, -2, "maybe_duplicate");
}

static void batch_push(lua_State *L, const struct outtray_batch *batch)
{
    const size_t n = outtray_batch_size(batch);

    luaL_checkstack(L, 10, "a batch");
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        batch_event_push(L, outtray_batch_event(batch, i));
        lua_rawseti(L, -2, (int)(i + 1));
    }
}

/* --- arguments of a command line ----------------------------------------- */

/* NULL: it is no list of strings. The array is left on the stack. */
static char **arguments_read(lua_State *L, int list, int *argc)
{
    const size_t n = length_of(L, list);
    char **argv;

    if (n == 0 || n > 10000)
        return NULL;
    argv = lua_newuserdata(L, (n + 1) * sizeof(*argv));
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (int)(i + 1));
        if (lua_type(L, -1) != LUA_TSTRING)
            return NULL;
        argv[i] = (char *)lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    argv[n] = NULL;
    *argc = (int)n;
    return argv;
}

#endif
#endif
