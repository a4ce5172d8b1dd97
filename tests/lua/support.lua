-- support.lua - what specs share.
local cjson = require "cjson"

local support = {}

support.source = os.getenv("OUTTRAY_SOURCE_DIR")

-- A number that a Lua with floating numbers alone would round comes as text.
function support.json(name)
    local file = assert(io.open(support.source .. "/tests/vectors/" .. name))
    local text = file:read("*a")
    file:close()
    text = text:gsub('("deliver_at_us": )(%-?%d+)', '%1"%2"')
    return cjson.decode(text)
end

function support.bytes(hex)
    return (hex:gsub("..", function(two)
        return string.char(tonumber(two, 16))
    end))
end

-- A member of an event of the vectors; nil where it is absent.
local function member(value)
    if value == nil or value == cjson.null then
        return nil
    elseif type(value) ~= "table" then
        return value
    elseif value.hex then
        return support.bytes(value.hex)
    end
    return value["repeat"][1]:rep(value["repeat"][2])
end

local MEMBERS = {
    "topic", "key", "type", "headers", "payload", "id", "deliver_at_us",
}

function support.events(row)
    local events = {}
    for _, event in ipairs(row.events) do
        local one = {}
        for _, name in ipairs(MEMBERS) do
            one[name] = member(event[name])
        end
        for _ = 1, event.times or 1 do
            events[#events + 1] = one
        end
    end
    return events
end

local STYLES = {"dollar", "percent", "qmark", "literal"}
local DIALECTS = {"postgresql", "sqlite"}

function support.build(builder, row, dialect, style)
    local options = row.options or {}
    local made = builder.enqueue_options(
        options.outbox or "outtray", builder[style:upper()],
        builder[dialect:upper()], options.strict or false,
        options.max_payload_bytes or 0, options.max_headers_bytes or 0)
    return builder.enqueue_build(made, support.events(row))
end

-- What the row expects of a builder. The one in Lua has no COPY, which no driver
-- of Lua sends.
function support.renderings(builder, row)
    local expected = {}
    for where, expect in pairs(row.expect) do
        if builder.COPY or where ~= "postgresql/copy" then
            expected[where] = expect
        end
    end
    return pairs(expected)
end

-- Calls f with every dialect and style, or with those that the row names.
function support.each_style(row, f)
    for _, dialect in ipairs(row.dialect and {row.dialect} or DIALECTS) do
        for _, style in ipairs(row.style and {row.style} or STYLES) do
            f(dialect, style)
        end
    end
end

-- A parameter of the vectors: its letter and its value.
function support.param(value)
    if value == cjson.null then
        return "n", nil
    elseif value.text then
        return "t", value.text
    end
    return "b", support.bytes(value.hex)
end

return support
