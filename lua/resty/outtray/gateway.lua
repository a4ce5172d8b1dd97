-- resty.outtray.gateway - events of requests into an outbox in a SQLite file on this
-- machine, for a gateway that has no database. A relay beside nginx ships them.
--
--     local gateway = require("resty.outtray.gateway").new {
--         store = "sqlite:///var/lib/outtray/gateway.db",
--     }
--     local id, message, code = gateway:enqueue {topic = "clicks", payload = body}
--
-- An id comes back when the disk has the event. Requests that wait at the same time
-- share a transaction: each worker of nginx has one group on its way in a thread
-- (ngx.run_worker_thread), while the next one gathers. A timer hands groups over, so
-- that no request that goes away can take others with it.
local builder = require "outtray.builder"
local outboxes = require "outtray.outbox"
local semaphore = require "ngx.semaphore"

local format = string.format
local get_phase, timer_at = ngx.get_phase, ngx.timer.at

local Gateway = {}
Gateway.__index = Gateway

local THREAD = "resty.outtray.gateway_thread"

-- Where a request may wait.
local PHASES = {rewrite = true, server_rewrite = true, access = true, content = true,
    timer = true}

-- An event's own weight in the queue, beside its texts.
local EVENT_BYTES = 256

local OPTIONS = {
    store = "string", outbox = "string", thread_pool = "string",
    timeout = "number", busy_timeout = "number", max_events = "number",
    max_bytes = "number", serializer = "function", max_payload_bytes = "number",
    max_headers_bytes = "number",
}

local function check_options(options)
    if type(options) ~= "table" then
        error("gateway takes a table of options, not a " .. type(options), 3)
    end
    for name, value in pairs(options) do
        if not OPTIONS[name] then
            error(format("gateway has no option '%s'", tostring(name)), 3)
        elseif type(value) ~= OPTIONS[name] then
            error(format("gateway: %s must be a %s, not a %s", name, OPTIONS[name],
                type(value)), 3)
        elseif type(value) == "number" and not (value > 0 and value < 2 ^ 31) then
            error(format("gateway: %s must be more than 0, not %s", name, value), 3)
        end
    end
    if not options.store then
        error("gateway: store is missing, such as sqlite:///var/lib/outtray/"
            .. "gateway.db", 3)
    end
end

local _M = {}

-- A gateway; opens nothing yet. In init_by_lua, one for all requests.
function _M.new(options)
    check_options(options)
    if builder.kind ~= "c" then
        error("a gateway needs the module outtray.build: " .. builder.why, 2)
    elseif not ngx.run_worker_thread then
        error("a gateway needs ngx.run_worker_thread: nginx with threads, and its "
            .. "Lua module 0.10.21 or newer", 2)
    end
    local busy = options.busy_timeout or 2
    local writer, message = builder.module.writer_open(options.store,
        options.outbox or "outtray", busy * 1000, options.max_payload_bytes or 0,
        options.max_headers_bytes or 0)
    if not writer then
        error("gateway: " .. message, 2)
    end
    return setmetatable({
        outbox = outboxes.new {
            name = options.outbox, serializer = options.serializer, builder = "c",
            max_payload_bytes = options.max_payload_bytes,
            max_headers_bytes = options.max_headers_bytes,
        },
        -- What the thread needs to know.
        file = {
            store = options.store, outbox = options.outbox or "outtray",
            busy_ms = busy * 1000,
            max_payload_bytes = options.max_payload_bytes or 0,
            max_headers_bytes = options.max_headers_bytes or 0,
        },
        thread_pool = options.thread_pool or "outtray",
        timeout = options.timeout or 5,
        max_events = options.max_events or 10000,
        max_bytes = options.max_bytes or 16 * 1024 * 1024,
        events = 0, bytes = 0, -- gathered and on their way
        gathering = nil, -- the next group
        flying = false, -- is one on its way?
        told = {written = 0, refused = 0, failed = 0, unknown = 0, groups = 0},
    }, Gateway)
end

-- --- groups -------------------------------------------------------------------

-- A group: parts, one a request, of events; wake, on which they wait; then done or
-- message and code, of all, or refused, of single parts.

local function finish(self, group)
    self.events = self.events - group.events
    self.bytes = self.bytes - group.bytes
    group.over = true
    if group.waiting > 0 then
        group.wake:post(group.waiting)
    end
end

local hand_over

local function call_soon(self)
    local set, why = timer_at(0, hand_over, self)
    if set then
        return true
    end
    return nil, "no timer for it: " .. tostring(why) .. " (lua_max_pending_timers)"
end

local HELP = {
    {"thread pool .* not found", "write `thread_pool %s threads=1;` into nginx.conf, "
        .. "outside of http"},
    {"no available Lua vm", "raise lua_worker_thread_vm_pool_size"},
}

local function with_help(self, message)
    for _, help in ipairs(HELP) do
        if message:find(help[1]) then
            return message .. ": " .. format(help[2], self.thread_pool)
        end
    end
    return message
end

-- What run_worker_thread said, which is about the whole group where it failed: then
-- nothing is written.
local function land(self, group, fine, ran, done, refused, code)
    if not fine or not ran then
        group.message = with_help(self, tostring(not fine and ran or done))
        group.code = "THREAD"
    elseif not done then
        group.message, group.code = refused, code
    else
        group.done, group.refused = true, refused
    end
end

function hand_over(_, self)
    local group = self.gathering
    if self.flying or not group then
        return
    end
    self.gathering, self.flying, group.left = nil, true, true
    local parts = {}
    for _, part in ipairs(group.parts) do
        if not part.withdrawn then
            parts[#parts + 1] = part.events
            part.place = #parts
        end
    end
    if #parts > 0 then
        land(self, group, pcall(ngx.run_worker_thread, self.thread_pool, THREAD, "write",
            self.file, parts))
        self.told.groups = self.told.groups + 1
    end
    self.flying = false
    finish(self, group)
    local next_one = self.gathering
    if next_one then
        local set, why = call_soon(self)
        if not set then
            self.gathering = nil
            next_one.message, next_one.code = why, "QUEUE_FULL"
            finish(self, next_one)
        end
    end
end

-- --- requests -----------------------------------------------------------------

local function size_of(event)
    return EVENT_BYTES + #(event.payload or "") + #(event.headers or "")
        + #(event.key or "")
end

local function join(self, events, bytes)
    if self.events > 0 and (self.events + #events > self.max_events
        or self.bytes + bytes > self.max_bytes) then
        return nil, format("%d events of %d bytes wait for the disk already: try "
            .. "again later", self.events, self.bytes), "QUEUE_FULL"
    end
    local group = self.gathering
    if not group then
        local wake, why = semaphore.new(0)
        if not wake then
            return nil, why, "QUEUE_FULL"
        end
        group = {parts = {}, wake = wake, waiting = 0, events = 0, bytes = 0}
        if not self.flying then
            self.gathering = group
            local set, problem = call_soon(self)
            if not set then
                self.gathering = nil
                return nil, problem, "QUEUE_FULL"
            end
        end
        self.gathering = group
    end
    local part = {events = events}
    group.parts[#group.parts + 1] = part
    group.events, group.bytes = group.events + #events, group.bytes + bytes
    self.events, self.bytes = self.events + #events, self.bytes + bytes
    return group, part
end

-- Nothing came within the time-out.
local function not_answered(self, group, part, bytes)
    if group.left then
        return nil, format("the disk did not answer within %g s: whether the event "
            .. "is written is not known", self.timeout), "COMMIT_UNKNOWN"
    end
    -- Nobody has it yet, so nobody will.
    part.withdrawn = true
    group.events = group.events - #part.events
    group.bytes = group.bytes - bytes
    self.events = self.events - #part.events
    self.bytes = self.bytes - bytes
    if group == self.gathering and not self.flying then
        call_soon(self) -- the timer was lost (lua_max_running_timers)
    end
    return nil, format("the disk was busy with others for %g s: the event is not "
        .. "written", self.timeout), "STORE_BUSY"
end

local function answer(group, part)
    local refused = group.refused and group.refused[part.place]
    if refused then
        return nil, refused[1], refused[2]
    elseif group.done then
        return true
    end
    return nil, group.message, group.code
end

local function count(self, n, code)
    local which = not code and "written" or code == "COMMIT_UNKNOWN" and "unknown"
        or code == "QUEUE_FULL" and "refused" or "failed"
    self.told[which] = self.told[which] + n
end

local function write(self, events)
    local bytes = 0
    for _, event in ipairs(events) do
        bytes = bytes + size_of(event)
    end
    local group, part, code = join(self, events, bytes)
    if not group then
        return nil, part, code
    end
    group.waiting = group.waiting + 1
    group.wake:wait(self.timeout)
    if group.over then
        return answer(group, part)
    end
    group.waiting = group.waiting - 1
    return not_answered(self, group, part, bytes)
end

local function enqueue(self, events)
    local phase = get_phase()
    if not PHASES[phase] then
        return nil, "a request cannot wait for the disk in " .. phase .. "_by_lua: "
            .. "enqueue in rewrite, access or content, or in a timer", "WRONG_PHASE"
    end
    local copies, ids = {}, {}
    for i, event in ipairs(events) do
        local copy, message, code = outboxes.checked(self.outbox, event)
        if not copy and code == "MISUSE" then
            error(message, 3)
        elseif not copy then
            return nil, message, code
        end
        copies[i], ids[i] = copy, copy.id
    end
    local done, message, code = write(self, copies)
    count(self, #events, code)
    if not done then
        return nil, message, code, ids
    end
    return ids
end

-- The id, once the event is durable; or nil, a message, a code, and the id where it is
-- not known whether it is written (COMMIT_UNKNOWN).
function Gateway:enqueue(event)
    local ids, message, code, unknown = enqueue(self, {event})
    if ids then
        return ids[1]
    end
    return nil, message, code, unknown and unknown[1]
end

-- The same for a list of events: all of them or none.
function Gateway:enqueue_many(events)
    if type(events) ~= "table" then
        error("enqueue_many takes a list of events, not a " .. type(events), 2)
    elseif #events == 0 then
        return {}
    end
    local ids, message, code, unknown = enqueue(self, events)
    return ids, message, code, unknown
end

-- Of this worker of nginx: events written, refused (QUEUE_FULL), failed, unknown since
-- it began; groups, the transactions for them; events and bytes that wait now.
function Gateway:stats()
    local told = {events = self.events, bytes = self.bytes}
    for name, value in pairs(self.told) do
        told[name] = value
    end
    return told
end

return _M
