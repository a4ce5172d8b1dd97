-- check.lua - what may become a row: the rules and the words of
-- libcore/src/enqueue/validate.c and bindings/lua/values.h.
local headers = require "outtray.pure.headers"
local text = require "outtray.pure.text"
local uuid = require "outtray.pure.uuid"

local byte, format = string.byte, string.format

local check = {}

local TOPIC_MOST, KEY_MOST, TYPE_MOST = 249, 1024, 255
local BATCH_MOST = 256 * 1024 * 1024

-- --- types ------------------------------------------------------------------

local MEMBERS = {
    topic = true, payload = true, key = true, headers = true, type = true,
    id = true,
}

-- The digits of an integer of 64 bits, which is a number or digits itself; nil:
-- it is none.
local function digits_of(value)
    if type(value) == "number" then
        if math.type and math.type(value) == "integer" then
            return format("%d", value)
        elseif value ~= math.floor(value) or value < -2 ^ 63
            or value >= 2 ^ 63 then
            return nil
        end
        return (format("%.0f", value):gsub("^%-0$", "0"))
    elseif type(value) ~= "string" then
        return nil
    end
    local sign, digits = value:match("^(%-?)0*(%d+)$")
    if not digits then
        return nil
    end
    local most = sign == "-" and "9223372036854775808" or "9223372036854775807"
    if #digits > 19 or #digits == 19 and digits > most then
        return nil
    end
    return digits == "0" and digits or sign .. digits
end

local function check_member(name, value)
    if type(name) ~= "string" then
        return "a member has no name"
    elseif MEMBERS[name] then
        if type(value) ~= "string" then
            return format("%s must be a string, not a %s", name, type(value))
        end
    elseif name ~= "deliver_at_us" then
        return format("there is no member '%s'", name:sub(1, 30))
    elseif not digits_of(value) then
        return "deliver_at_us must be an integer"
    end
end

-- nil, or what is wrong with the types of a list of events.
function check.types(events)
    for i = 1, #events do
        local event = events[i]
        if type(event) ~= "table" then
            return format("event %d: it must be a table, not a %s", i - 1,
                type(event))
        end
        for name, value in next, event do
            local message = check_member(name, value)
            if message then
                return format("event %d: %s", i - 1, message)
            end
        end
    end
end

-- --- one event --------------------------------------------------------------

local function check_text(s, member, most)
    if s == nil then
        return nil
    elseif #s > most then
        return format("%s: %d bytes, at most %d are allowed", member, #s, most),
            "TOO_LARGE"
    end
    local at = text.bad_at(s)
    if not at then
        return nil
    elseif byte(s, at + 1) == 0 then
        return format("%s: a NUL at byte %d, which a database's text cannot "
            .. "hold", member, at), "INVALID_EVENT"
    end
    return format("%s: not UTF-8 at byte %d", member, at), "INVALID_UTF8"
end

-- Digits are compared, which no Lua rounds: of 2000-01-01 and 9999-12-31.
local function between(digits)
    if digits:sub(1, 1) == "-" then
        return false
    elseif #digits == 15 then
        return digits >= "946684800000000"
    elseif #digits == 18 then
        return digits <= "253402300799999999"
    end
    return #digits > 15 and #digits < 18
end

-- The digits of deliver_at_us; nil: at once.
function check.moment(event)
    if event.deliver_at_us == nil then
        return nil
    end
    local digits = digits_of(event.deliver_at_us)
    return digits ~= "0" and digits or nil
end

local function check_event(event, limits)
    if event.topic == nil or event.topic == "" then
        return "topic: it is empty, and every event needs one", "INVALID_EVENT"
    end
    local message, code = check_text(event.topic, "topic", TOPIC_MOST)
    if not message then
        message, code = check_text(event.key, "key", KEY_MOST)
    end
    if not message then
        message, code = check_text(event.type, "type", TYPE_MOST)
    end
    if message then
        return message, code
    end
    local payload = event.payload
    if payload and #payload > limits.payload_bytes then
        return format("payload: %d bytes, at most %d are allowed: store it "
            .. "elsewhere and send a reference", #payload,
            limits.payload_bytes), "TOO_LARGE"
    end
    if event.headers then
        message, code = headers.check(event.headers, limits.headers_bytes)
        if message then
            return message, code
        end
    end
    if event.id and not uuid.is(event.id) then
        return "id: not a UUID like 01912d68-783e-7a03-8467-5661c1243ad4",
            "INVALID_EVENT"
    end
    local moment = check.moment(event)
    if moment and not between(moment) then
        return format("deliver_at: %s is not between the years 2000 and 9999 "
            .. "in microseconds since 1970", moment), "INVALID_EVENT"
    end
end

-- --- the batch --------------------------------------------------------------

local function check_ids(events)
    local given = {}

    for i, event in ipairs(events) do
        if event.id then
            given[#given + 1] = {id = event.id:lower(), index = i - 1}
        end
    end
    table.sort(given, function(a, b)
        if a.id ~= b.id then
            return a.id < b.id
        end
        return a.index < b.index
    end)
    for i = 2, #given do
        if given[i].id == given[i - 1].id then
            return format("event %d: id: %s is also that of event %d",
                given[i].index, given[i].id, given[i - 1].index),
                "INVALID_EVENT"
        end
    end
end

local function check_batch(events)
    local bytes = 0

    for _, e in ipairs(events) do
        bytes = bytes + #e.topic + #(e.key or "") + #(e.type or "")
            + #(e.headers or "") + #(e.payload or "")
        if bytes > BATCH_MOST then
            return format("%d events have more than %d bytes together: enqueue "
                .. "them in several calls, one transaction can hold all of "
                .. "them", #events, BATCH_MOST), "TOO_LARGE"
        end
    end
    return check_ids(events)
end

-- nil, or what is wrong and the name of the error.
function check.events(events, limits)
    for i, event in ipairs(events) do
        local message, code = check_event(event, limits)
        if message then
            return format("event %d: %s", i - 1, message), code
        end
    end
    return check_batch(events)
end

return check
