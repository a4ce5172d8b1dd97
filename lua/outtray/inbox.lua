-- inbox.lua - consumers that handle an event once, however often it arrives.
local adapters = require "outtray.adapters"
local outboxes = require "outtray.outbox"
local render = require "outtray.pure.render"
local text = require "outtray.pure.text"
local uuid = require "outtray.pure.uuid"

local format = string.format

local Inbox = {}
Inbox.__index = Inbox

local OPTIONS = {name = "string", require_transaction = "boolean"}

-- An inbox: the table of that name of an outbox in the consumer's own database, made
-- by `outtray init`.
local function new(options)
    if options ~= nil and type(options) ~= "table" then
        error("inbox takes a table of options, not a " .. type(options), 3)
    end
    for name, value in pairs(options or {}) do
        if not OPTIONS[name] then
            error(format("inbox has no option '%s'", tostring(name)), 3)
        elseif type(value) ~= OPTIONS[name] then
            error(format("inbox: %s must be a %s, not a %s", name, OPTIONS[name],
                type(value)), 3)
        end
    end
    options = options or {}
    outboxes.new {name = options.name} -- refuses what is no name
    return setmetatable({
        name = options.name or "outtray",
        require_transaction = options.require_transaction ~= false,
    }, Inbox)
end

local INSERT = "INSERT INTO %s (consumer, event_id) VALUES (%s, %s) "
    .. "ON CONFLICT (consumer, event_id) DO NOTHING"

local function insert(self, dialect, consumer, event_id)
    local sqlite = dialect == "SQLITE"
    return format(INSERT, format(sqlite and '"%s_inbox"' or '"%s".inbox', self.name),
        render.literal(dialect:lower(), consumer),
        "'" .. event_id .. (sqlite and "'" or "'::uuid"))
end

-- true the first time that this consumer handles this event, false afterwards; or
-- nil, message, code, SQLSTATE. The row is written in the transaction that is open on
-- the connection: what the consumer does and the memory of it are committed
-- together, or not at all. While another transaction handles the event, PostgreSQL
-- waits for its end.
function Inbox:once(conn, consumer, event_id)
    local adapter, problem = adapters.find(conn)
    if not adapter then
        error(problem, 2)
    elseif type(consumer) ~= "string" or consumer == "" then
        error("once takes the name of a consumer, a string", 2)
    elseif type(event_id) ~= "string" then
        error("once takes the id of an event, not a " .. type(event_id), 2)
    elseif text.bad_at(consumer) then
        return nil, "the name of the consumer is not UTF-8, or has a NUL",
            "INVALID_UTF8"
    elseif not uuid.is(event_id) then
        return nil, format("the id of an event is a UUID, not '%s'",
            text.repaired(event_id:sub(1, 60))), "INVALID_EVENT"
    end
    local done, rows, code, state = adapter.execute(
        conn, insert(self, adapter.dialect, consumer, event_id),
        self.require_transaction)
    if not done then
        if code == "MISUSE" then
            error(rows, 2)
        end
        return nil, rows, code, state
    end
    return rows == 1
end

function Inbox:__tostring()
    return format("<outtray.inbox %s>", self.name)
end

return {new = new, Inbox = Inbox}
