/* lua.i - how values cross between Lua and C, for 5.4 and for 5.1 with LuaJIT.
 *
 * What goes wrong comes back as nil, a message and a name. Where memory of the
 * library is held, Lua is called under its own protection only: an error of its
 * own (it may have no memory left) jumps over what would free it. */
%{
#include "lua/values.h"
%}
%include "stdint.i"

/* SWIG's own make floats of integers. */
%define INTEGER(type)
%typemap(in, checkfn="lua_isnumber") type %{
    {
        int64_t integer_$argnum;
        if (!integer_read(L, $input, &integer_$argnum)) {
            SWIG_Lua_pushferrstring(L, "argument %d is no integer", $input);
            SWIG_fail;
        }
        $1 = ($1_ltype)integer_$argnum;
    }
%}
%typemap(out) type %{
    integer_push(L, (int64_t)$1);
    SWIG_arg++;
%}
%typemap(typecheck) type %{
    $1 = lua_isnumber(L, $input);
%}
%enddef
INTEGER(int)
INTEGER(long)
INTEGER(size_t)
INTEGER(int64_t)
INTEGER(uint64_t)
INTEGER(int32_t)
INTEGER(uint32_t)
INTEGER(enum SWIGTYPE)

/* SWIG takes every userdata for one of its own, a file of io too, and reads in it.
 * The metatables of ours bear a mark (%init). */
%{
#define OBJECT_MARK "outtray"

static bool object_is_ours(lua_State *L, int index)
{
    bool ours;

    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return false;
    lua_pushliteral(L, OBJECT_MARK);
    lua_rawget(L, -2);
    ours = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return ours;
}

static int object_read(lua_State *L, int index, void **out,
                       swig_type_info *type, int flags)
{
    return lua_isnil(L, index) || object_is_ours(L, index)
               ? SWIG_Lua_ConvertPtr(L, index, out, type, flags)
               : SWIG_ERROR;
}

#undef SWIG_ConvertPtr
#define SWIG_ConvertPtr object_read

/* Its own reads in the argument for the name of its type. */
#undef SWIG_fail_arg
#define SWIG_fail_arg(name, argument, type)                              \
    {                                                                    \
        SWIG_Lua_pushferrstring(L, "Error in %s (arg %d), expected '%s' " \
                                   "got '%s'",                           \
                                name, argument, type,                    \
                                luaL_typename(L, argument));             \
        goto fail;                                                       \
    }
%}

/* nil is no object. */
%typemap(check) SWIGTYPE * %{
    if ($1 == NULL) {
        SWIG_Lua_pushferrstring(L, "argument $argnum is nil");
        SWIG_fail;
    }
%}

%typemap(check) struct outtray_error *err ""
%typemap(in, numinputs=0) struct outtray_error *err
    (struct outtray_error error) %{
    memset(&error, 0, sizeof(error));
    $1 = &error;
%}
%typemap(argout) struct outtray_error *err %{
    if ($1->code != 0) {
        lua_pop(L, SWIG_arg);
        SWIG_arg = error_push(L, $1);
    }
%}

/* What a function makes is freed where Lua has no memory to hold it. */
%define OWNED(type, release)
%typemap(out) struct type * %{
    if ($1 == NULL) {
        lua_pushnil(L);
    } else {
        struct owned owned_made = {$1, $descriptor(struct type *), $owner};
        lua_pushcfunction(L, owned_push);
        lua_pushlightuserdata(L, &owned_made);
        if (lua_pcall(L, 1, 1, 0) != 0) {
            release;
            SWIG_fail;
        }
    }
    SWIG_arg++;
%}
%enddef
OWNED(outtray_enqueue_options, free($1))
OWNED(outtray_writer, outtray_writer_close($1))
#if !defined(OUTTRAY_BUILD_ONLY)
OWNED(outtray_conf, outtray_conf_free($1))
OWNED(outtray_handle, handle_drop($1))
OWNED(outtray_relay_stats, free($1))
OWNED(outtray_taken, taken_close($1); free($1))
#endif
%{
struct owned {
    void *p;
    swig_type_info *type;
    int owner;
};

static int owned_push(lua_State *L)
{
    const struct owned *owned = lua_touserdata(L, 1);

    SWIG_NewPointerObj(L, owned->p, owned->type, owned->owner);
    return 1;
}
%}

%typemap(out) outtray_rc %{
    lua_pushboolean(L, $1 == 0);
    SWIG_arg++;
%}

%typemap(in, checkfn="lua_istable")
    (const struct outtray_event *events, size_t n) (struct events in) %{
    if (!events_read(L, $input, &in))
        return 3; /* nil, message, name */
    $1 = in.events;
    $2 = in.n;
%}

/* The function stands ready before there is a statement: pushing it may fail.
 * (Not in the first map: it runs before the arguments are counted.) */
%typemap(in, numinputs=0) struct outtray_statement *out
    (struct outtray_statement statement, int pusher) %{
    memset(&statement, 0, sizeof(statement));
    pusher = 0;
    $1 = &statement;
%}
%typemap(check) struct outtray_statement *out %{
    lua_pushcfunction(L, statement_push);
    pusher$argnum = lua_gettop(L);
%}
%typemap(argout) struct outtray_statement *out %{
    if ($1->sql != NULL) {
        lua_pop(L, SWIG_arg);
        SWIG_arg = 0;
        lua_pushvalue(L, pusher$argnum);
        lua_pushlightuserdata(L, $1);
        if (lua_pcall(L, 1, 3, 0) != 0)
            SWIG_fail;
        SWIG_arg = 3;
    }
%}
%typemap(freearg) struct outtray_statement *out %{
    outtray_statement_free($1);
%}

%typemap(in, numinputs=0) char out[37] (char text[37]) %{
    text[0] = '\0';
    $1 = text;
%}
%typemap(argout) char out[37] %{
    lua_pop(L, SWIG_arg);
    SWIG_arg = 1;
    if ($1[0] != '\0')
        lua_pushlstring(L, $1, 36);
    else
        lua_pushnil(L);
%}

%typemap(in, numinputs=0) struct outtray_log_line *line
    (struct outtray_log_line log_line) %{
    $1 = &log_line;
%}
%typemap(argout) struct outtray_log_line *line %{
    if (result) {
        lua_pop(L, SWIG_arg);
        integer_push(L, $1->level);
        lua_pushstring(L, $1->facility);
        lua_pushstring(L, $1->text);
        SWIG_arg = 3;
    } else {
        lua_pop(L, SWIG_arg);
        SWIG_arg = 0;
    }
%}

%typemap(out) const struct outtray_batch_event * %{
    if ($1 != NULL)
        batch_event_push(L, $1);
    else
        lua_pushnil(L);
    SWIG_arg++;
%}

/* All of its events. */
%typemap(out) const struct outtray_batch * %{
    batch_push(L, $1);
    SWIG_arg++;
%}

/* A list of strings; the array is Lua's, and goes with the call. */
%typemap(in, checkfn="lua_istable") (int argc, char **argv) %{
    $2 = arguments_read(L, $input, &$1);
    if ($2 == NULL) {
        SWIG_Lua_pushferrstring(L, "arguments are a list of strings");
        SWIG_fail;
    }
%}

%init %{
    /* What SWIG calls of a metatable trusts its arguments as well: nobody gets
     * hold of it, nor of what is meant for people who know its insides. */
    for (size_t i = 0; swig_types[i] != NULL; i++) {
        const swig_lua_class *class = swig_types[i]->clientdata;

        if (class == NULL)
            continue;
        SWIG_Lua_get_class_metatable(L, class->fqname);
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, OBJECT_MARK);
        lua_pushliteral(L, OBJECT_MARK);
        lua_setfield(L, -2, "__metatable");
        lua_getfield(L, -1, ".fn");
        lua_pushnil(L);
        lua_setfield(L, -2, "__disown");
        lua_pop(L, 2);
    }
    /* SWIG's helpers for people at a prompt. */
    lua_pushnil(L);
    lua_setglobal(L, "swig_type");
    lua_pushnil(L);
    lua_setglobal(L, "swig_equals");
%}

#if !defined(OUTTRAY_BUILD_ONLY)
%inline %{
const struct outtray_batch *batch_events(struct outtray_taken *t)
{
    return t->batch;
}
%}
#endif
