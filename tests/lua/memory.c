/* memory.c - a host of Lua 5.4 whose memory ends at every moment: the builder may
 * then raise, but neither crash nor keep anything. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static const char setup[] =
    "local b = require 'outtray.build'\n"
    "function work()\n"
    "    for _, style in ipairs {b.LITERAL, b.DOLLAR} do\n"
    "        for _, dialect in ipairs {b.POSTGRESQL, b.SQLITE} do\n"
    "            local o = b.enqueue_options('o', style, dialect, true, 0, 0)\n"
    "            local e = {topic = 't', key = 'k', payload = ('x'):rep(99)}\n"
    "            assert(b.enqueue_build(o, {e}))\n"
    "            assert(b.enqueue_build(o, {e, {topic = 'u'}, e}))\n"
    "            assert(not b.enqueue_build(o, {e, {topic = ''}}))\n"
    "            assert(not b.enqueue_build(o, {e, {topic = 1}}))\n"
    "        end\n"
    "    end\n"
    "    assert(b.id_new())\n"
    "end\n";

static long left; /* allocations until there are no more; negative: no end */

static void *allocate(void *ctx, void *p, size_t old, size_t n)
{
    (void)ctx;
    if (n == 0) {
        free(p);
        return NULL;
    }
    if (p == NULL || n > old) {
        if (left == 0)
            return NULL;
        if (left > 0)
            left--;
    }
    return realloc(p, n);
}

/* True: there was enough. */
static int work_with(long allocations)
{
    lua_State *L;
    int status;

    left = -1;
    L = lua_newstate(allocate, NULL);
    luaL_openlibs(L);
    if (luaL_dostring(L, setup) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(1);
    }
    lua_gc(L, LUA_GCSTOP);
    lua_getglobal(L, "work");
    left = allocations;
    status = lua_pcall(L, 0, 0, 0);
    left = -1;
    if (status != LUA_OK && status != LUA_ERRMEM) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(1);
    }
    lua_close(L);
    return status == LUA_OK;
}

int main(void)
{
    long n = 0;

    while (!work_with(n))
        n++;
    printf("%ld\n", n);
    return 0;
}
