-- luarocks make lua/outtray-scm-1.rockspec, in the root of a clone.
rockspec_format = "3.0"
package = "outtray"
version = "scm-1"
source = {
    -- `luarocks make` fetches nothing, it takes the clone that it stands in. Whoever
    -- publishes the rock puts the address of the repository here.
    url = "git+file:///the/clone/of/outtray",
}
supported_platforms = {"linux"}
description = {
    summary = "A transactional outbox: events in your own transaction, and a relay",
    detailed = [[
Writes events on the connection that a program has open (LuaSQL, LuaDBI, lsqlite3,
pgmoon), in its transaction, and publishes what was committed at least once and in
order per key. Needs cmake, swig, and libuv, inih, jansson, libpq, librdkafka with
headers.]],
    license = "Apache-2.0",
}
dependencies = {
    "lua >= 5.1, < 5.5",
}
build = {
    type = "command",
    build_command = "cmake -S . -B build/luarocks -DCMAKE_BUILD_TYPE=RelWithDebInfo"
        .. " -DOUTTRAY_TESTS=OFF -DOUTTRAY_WERROR=OFF -DOUTTRAY_LUA=ON"
        .. ' "-DOUTTRAY_LUA_INCDIR=$(LUA_INCDIR)" "-DOUTTRAY_LUA_DIR=$(LUADIR)"'
        .. ' "-DOUTTRAY_LUA_CDIR=$(LIBDIR)"'
        .. " && cmake --build build/luarocks --target lua_modules --parallel 2",
    install_command = "cmake --install build/luarocks --component lua",
    install = {
        bin = {["outtray-lua"] = "lua/bin/outtray-lua"},
    },
}
