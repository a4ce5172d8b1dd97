-- collect.lua - a helper of busted: collect all the time. LuaJIT takes longer for it;
-- Lua 5.4 takes it easy, so there all is collected every now and then as well,
-- wherever the program is.
collectgarbage("setpause", 0)
collectgarbage("setstepmul", rawget(_G, "jit") and 150 or 400)
if not rawget(_G, "jit") then
    debug.sethook(function() collectgarbage() end, "", 50000)
end
