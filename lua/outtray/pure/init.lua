-- outtray.pure - the builder of statements in Lua alone, for where outtray.build
-- cannot be loaded. Byte for byte the same: tests/vectors are for both.
local check = require "outtray.pure.check"
local render = require "outtray.pure.render"
local text = require "outtray.pure.text"
local uuid = require "outtray.pure.uuid"

local format = string.format

local pure = {
    DOLLAR = 0, PERCENT = 1, QMARK = 2, LITERAL = 3,
    POSTGRESQL = 0, SQLITE = 1,
}

local STYLES = {[0] = "dollar", "percent", "qmark", "literal"}
local DIALECTS = {[0] = "postgresql", "sqlite"}

local PAYLOAD_DEFAULT, HEADERS_DEFAULT = 921600, 32768
local NAME_MOST = 63
local SQLITE_PARAMS = 32766

function pure.enqueue_options(outbox, style, dialect, strict, payload_bytes,
                              headers_bytes)
    return {
        outbox = outbox,
        style = STYLES[style],
        dialect = DIALECTS[dialect],
        strict = strict,
        payload_bytes = payload_bytes > 0 and payload_bytes or PAYLOAD_DEFAULT,
        headers_bytes = headers_bytes > 0 and headers_bytes or HEADERS_DEFAULT,
    }
end

local function check_options(options, events)
    local name = options.outbox

    if #events == 0 then
        return "there is no event to enqueue"
    elseif not name:find("^[A-Za-z_][A-Za-z0-9_]*$") or #name > NAME_MOST then
        return format('outbox "%s": this is no name of an outbox: it has 1 to '
            .. "%d letters, digits and _, and no digit first",
            text.repaired(name:sub(1, 80)), NAME_MOST)
    end
end

local function check_params(options, events)
    if options.dialect == "sqlite" and options.style ~= "literal"
        and #events * 7 > SQLITE_PARAMS then
        return format("%d events need %d parameters, SQLite takes %d: enqueue "
            .. "at most %d in one call, one transaction can hold several",
            #events, #events * 7, SQLITE_PARAMS, math.floor(SQLITE_PARAMS / 7))
    end
end

local function make_ids(events)
    local ids, source = {}, {}

    for i, event in ipairs(events) do
        ids[i] = event.id and event.id:lower() or uuid.next(source)
        if not ids[i] then
            return nil
        end
    end
    return ids
end

-- SQL, ids, parameters; or nil, a message and the name of an error.
function pure.enqueue_build(options, events)
    if type(options) ~= "table" or type(events) ~= "table" then
        error("enqueue_build takes options and a list of events", 2)
    end
    local message = check.types(events) or check_options(options, events)
    if message then
        return nil, message, "MISUSE"
    end
    local code
    message, code = check.events(events, options)
    if message then
        return nil, message, code
    end
    message = check_params(options, events)
    if message then
        return nil, message, "TOO_LARGE"
    end
    local ids = make_ids(events)
    if not ids then
        return nil, "the system gave no random bytes for an id", "IO"
    end
    local sql, params = render.insert(options, events, ids)
    return sql, ids, params
end

-- A new id, or nil.
function pure.id_new()
    return uuid.next({})
end

return pure
