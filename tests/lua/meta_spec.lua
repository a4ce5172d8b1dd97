-- The annotations for the language server name what there is.
local support = require "support"

local function declared()
    local found = {}
    for line in io.lines(support.source .. "/lua/meta/outtray.lua") do
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
    assert.same(there, declared())
end)

it("can be read by Lua", function()
    assert.is_function(assert(loadfile(support.source .. "/lua/meta/outtray.lua")))
end)
