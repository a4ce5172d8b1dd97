-- builder.lua - which module makes statements: that in C, or where it cannot be
-- loaded that in Lua, which does the same more slowly.
local builder = {}

local function load()
    local loaded, module = pcall(require, "outtray.build")
    if loaded then
        return "c", module
    end
    builder.why = module
    return "lua", require "outtray.pure"
end

-- kind is "c" or "lua"; why tells what kept the one in C from being loaded.
builder.kind, builder.module = load()

return builder
