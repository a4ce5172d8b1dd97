-- The annotations for the language server name what there is.
local support = require "support"

-- {Class.method = true} of the functions in a file.
local function functions_of(path)
    local found = {}
    for line in io.lines(support.source .. path) do
        local class, name = line:match("^function (%w+)[.:]([%w_]+)%(")
        if class then
            found[class .. "." .. name] = true
        end
    end
    return found
end

it("declare what there is, and nothing else", function()
    local classes = {
        outtray = require "outtray",
        Outbox = require("outtray.outbox").Outbox,
        Inbox = require("outtray.inbox").Inbox,
        Relay = require("outtray.relay").Relay,
        Batch = require("outtray.batch").Batch,
        Event = require("outtray.batch").Event,
    }
    local there = {}
    for class, methods in pairs(classes) do
        for name, value in pairs(methods) do
            if type(value) == "function" and not name:find("^_") then
                there[class .. "." .. name] = true
            end
        end
    end
    assert.same(there, functions_of("/lua/meta/outtray.lua"))
end)

-- It can be loaded in nginx only.
it("declare the gateway", function()
    local there = functions_of("/lua/resty/outtray/gateway.lua")
    there["_M.new"], there["gateway.new"] = nil, true
    assert.is_true(there["Gateway.enqueue"])
    assert.same(there, functions_of("/lua/meta/gateway.lua"))
end)

it("can be read by Lua", function()
    for _, name in ipairs {"outtray", "gateway"} do
        local path = support.source .. "/lua/meta/" .. name .. ".lua"
        assert.is_function(assert(loadfile(path)))
    end
end)
