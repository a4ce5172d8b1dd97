-- outbox.lua - writes events, on the caller's own connection.
local adapters = require "outtray.adapters"
local builder = require "outtray.builder"
local headers = require "outtray.headers"
local transaction = require "outtray.transaction"

local floor, format = math.floor, string.format

local Outbox = {}
Outbox.__index = Outbox

-- Of one statement: below the limits of the databases.
local MOST_EVENTS = 4000
local MOST_BYTES = 64 * 1024 * 1024

local OPTIONS = {
    name = "string", serializer = "function", strict = "boolean",
    require_transaction = "boolean", max_payload_bytes = "number",
    max_headers_bytes = "number", builder = "string",
}

local function check_options(options)
    if options ~= nil and type(options) ~= "table" then
        error("outbox takes a table of options, not a " .. type(options), 4)
    end
    for name, value in pairs(options or {}) do
        if not OPTIONS[name] then
            error(format("outbox has no option '%s'", tostring(name)), 4)
        elseif type(value) ~= OPTIONS[name] then
            error(format("outbox: %s must be a %s, not a %s", name,
                OPTIONS[name], type(value)), 4)
        elseif type(value) == "number"
            and not (value >= 0 and value < 2 ^ 53 and value == floor(value)) then
            error(format("outbox: %s must be a whole number from 0 on, not %s",
                name, value), 4)
        end
    end
    return options or {}
end

-- What turns tables into JSON, if somebody here can.
local function find_serializer()
    for _, name in ipairs {"cjson.safe", "dkjson"} do
        local found, json = pcall(require, name)
        if found then
            return json.encode
        end
    end
end

local function new(options)
    options = check_options(options)
    local which = options.builder or builder.kind
    if which ~= "c" and which ~= "lua" then
        error("outbox: builder is \"c\" or \"lua\"", 3)
    elseif which == "c" and builder.kind ~= "c" then
        error(builder.why, 3)
    end
    if options.name and options.name:find("%z") then
        error("outbox: there is a NUL in its name", 3)
    end
    local self = setmetatable({
        name = options.name or "outtray",
        serializer = options.serializer,
        require_transaction = options.require_transaction ~= false,
        _builder = which == "c" and builder.module or require "outtray.pure",
        _options = {},
    }, Outbox)
    for _, dialect in ipairs {"POSTGRESQL", "SQLITE"} do
        self._options[dialect] = {}
        for _, style in ipairs {"DOLLAR", "PERCENT", "QMARK", "LITERAL"} do
            self._options[dialect][style] = self._builder.enqueue_options(
                self.name, self._builder[style], self._builder[dialect],
                options.strict or false, options.max_payload_bytes or 0,
                options.max_headers_bytes or 0)
        end
    end
    -- A name that cannot be is told here, not at the first event.
    local sql, message = self._builder.enqueue_build(
        self._options.SQLITE.QMARK, {{topic = "topic"}})
    if not sql then
        error(message, 3)
    end
    return self
end

-- --- from an event of the caller to one of the builder -----------------------

local function serialized(self, payload)
    local serializer = self.serializer or find_serializer()
    if not serializer then
        return nil, "payload is a table, and neither cjson nor dkjson is here: "
            .. "give outbox{serializer = function(payload) … end}", "MISUSE"
    end
    local fine, text, why = pcall(serializer, payload)
    if fine and type(text) == "string" then
        return text
    end
    return nil, "payload: the serializer does not take it: "
        .. tostring(not fine and text or why or ("it made a " .. type(text))),
        "NOT_SERIALIZABLE"
end

-- Seconds become microseconds: whole ones without a fraction.
local function microseconds(seconds)
    if type(seconds) ~= "number" or seconds ~= seconds
        or seconds < -1e11 or seconds > 1e12 then
        return nil, "deliver_at must be seconds since 1970, as os.time() has "
            .. "them, not " .. tostring(seconds), "MISUSE"
    end
    if math.type and math.type(seconds) == "integer" then
        return seconds * 1000000
    end
    return floor(seconds * 1e6 + 0.5)
end

-- The event as the builder takes it: itself, unless something must be changed.
local function raw(self, event)
    if type(event) ~= "table" then
        return nil, "an event is a table, not a " .. type(event), "MISUSE"
    end
    local meta = getmetatable(event)
    if type(meta) == "table" and meta.__index then
        return nil, "an event is a plain table: what its metatable adds would "
            .. "not be seen", "MISUSE"
    end
    if type(event.payload) ~= "table" and type(event.headers) ~= "table"
        and event.deliver_at == nil then
        return event
    end
    local copy, message, code = {}, nil, nil
    for name, value in pairs(event) do
        copy[name] = value
    end
    if type(copy.payload) == "table" then
        copy.payload, message, code = serialized(self, copy.payload)
        if not copy.payload then
            return nil, message, code
        end
    end
    if type(copy.headers) == "table" then
        copy.headers, message = headers.encode(copy.headers)
        if copy.headers == false then
            return nil, message, "MISUSE"
        end
    end
    if copy.deliver_at ~= nil then
        copy.deliver_at_us, message, code = microseconds(copy.deliver_at)
        copy.deliver_at = nil
    end
    if message then
        return nil, message, code
    end
    return copy
end

local function build(self, dialect, style, events)
    return self._builder.enqueue_build(self._options[dialect][style], events)
end

-- For who writes it into a SQLite file later: a copy of the event as the builder
-- takes it, with its id. It can be refused then no more.
local function checked(self, event)
    local one, message, code = raw(self, event)
    if not one then
        return nil, message, code
    end
    local sql, ids, other = build(self, "SQLITE", "QMARK", {one})
    if not sql then
        return nil, ids, other
    end
    local copy = {}
    for name, value in pairs(one) do
        copy[name] = value
    end
    copy.id = ids[1]
    return copy
end

-- A mistake of the program is raised where it called.
local function raise_misuse(message, code)
    if code == "MISUSE" then
        error(message, 3)
    end
end

-- --- what callers call --------------------------------------------------------

-- id, or nil, message, code, SQLSTATE.
function Outbox:enqueue(conn, event)
    local adapter, problem = adapters.find(conn)
    if not adapter then
        error(problem, 2)
    end
    local one, message, code = raw(self, event)
    if not one then
        raise_misuse(message, code)
        return nil, message, code
    end
    local sql, ids, other = build(self, adapter.dialect, "LITERAL", {one})
    if not sql then
        raise_misuse(ids, other)
        return nil, ids, other
    end
    local done, why, name, state = adapter.execute(
        conn, sql, self.require_transaction)
    if not done then
        raise_misuse(why, name)
        return nil, why, name, state
    end
    return ids[1]
end

-- All statements are built before the first is executed: what is wrong with one
-- event is told while nothing is written yet.
local function build_many(self, dialect, events)
    local statements, ids, some, size = {}, {}, {}, 0

    local function finish()
        local sql, these, code = build(self, dialect, "LITERAL", some)
        if not sql then
            return nil, these, code
        end
        statements[#statements + 1] = sql
        for _, id in ipairs(these) do
            ids[#ids + 1] = id
        end
        some, size = {}, 0
        return true
    end

    for i = 1, #events do
        local one, message, code = raw(self, events[i])
        if not one then
            return nil, format("event %d: %s", i - 1, message), code
        end
        local n = type(one.payload) == "string" and #one.payload or 0
        if #some > 0 and (#some >= MOST_EVENTS or size + n > MOST_BYTES) then
            local fine, why, name = finish()
            if not fine then
                return nil, why, name
            end
        end
        some[#some + 1] = one
        size = size + n
    end
    if #some > 0 then
        local fine, why, name = finish()
        if not fine then
            return nil, why, name
        end
    end
    return statements, ids
end

-- A list of ids, or nil, message, code, SQLSTATE: all events or, where the cause
-- is in one of them, none.
function Outbox:enqueue_many(conn, events)
    local adapter, problem = adapters.find(conn)
    if not adapter then
        error(problem, 2)
    elseif type(events) ~= "table" then
        error("enqueue_many takes a list of events, not a " .. type(events), 2)
    end
    local statements, ids, code = build_many(self, adapter.dialect, events)
    if not statements then
        raise_misuse(ids, code)
        return nil, ids, code
    end
    for _, sql in ipairs(statements) do
        local done, why, name, state = adapter.execute(
            conn, sql, self.require_transaction)
        if not done then
            raise_misuse(why, name)
            return nil, why, name, state
        end
    end
    return ids
end

-- On a connection of pgmoon: BEGIN, work(tx), COMMIT; returns what work does. tx
-- has query, enqueue and enqueue_many. If the first value of work is nil or false,
-- or it raises, everything is rolled back and that is passed on. keepalive(pg), if
-- there is one, takes the connection when it is done; one whose state is not known
-- is closed.
function Outbox:transaction(pg, work, keepalive)
    local adapter, problem = adapters.find(pg)
    if not adapter or not adapter.query then
        error(problem or "transaction takes a connection of pgmoon", 2)
    elseif type(work) ~= "function" then
        error("transaction takes a function, not a " .. type(work), 2)
    end
    return transaction.run(self, pg, work, keepalive)
end

local STYLES = {
    ["$"] = "DOLLAR", ["%s"] = "PERCENT", ["?"] = "QMARK", literal = "LITERAL",
}

-- For a driver that outtray does not know: the statement of one event, to be
-- executed in the caller's transaction. dialect is "postgresql" or "sqlite",
-- style "$", "%s", "?" or "literal". Returns sql, id, parameters (a table with n
-- and kinds, a letter each: n(il), t(ext), b(ytes); nil for literals).
function Outbox:build(event, dialect, style)
    local of_style = STYLES[style or "literal"]
    if dialect ~= "postgresql" and dialect ~= "sqlite" then
        error('build: the dialect is "postgresql" or "sqlite"', 2)
    elseif not of_style then
        error('build: the style is "$", "%s", "?" or "literal"', 2)
    end
    local one, message, code = raw(self, event)
    if not one then
        raise_misuse(message, code)
        return nil, message, code
    end
    local sql, ids, params = build(self, dialect:upper(), of_style, {one})
    if not sql then
        raise_misuse(ids, params)
        return nil, ids, params
    end
    return sql, ids[1], params
end

function Outbox:__tostring()
    return format("<outtray.outbox %s>", self.name)
end

return {new = new, Outbox = Outbox, checked = checked}
