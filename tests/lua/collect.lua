-- collect.lua - a helper of busted: collect all the time.
collectgarbage("setpause", 0)
collectgarbage("setstepmul", 400)
