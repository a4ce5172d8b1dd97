-- collect.lua - a helper of busted: collect all the time. LuaJIT takes longer for it.
collectgarbage("setpause", 0)
collectgarbage("setstepmul", rawget(_G, "jit") and 150 or 400)
