-- relay.lua - moves events from an outbox to a sink, in this process.
local core = require "outtray.core"
local batches = require "outtray.batch"
local sqlite = require "outtray.sqlite"

local format = string.format

local Relay = {}
Relay.__index = Relay

-- While C waits, Lua hears no signal: it waits for so long at most.
local SLICE_MS = 100

local LEVELS = {
    [core.LOG_DEBUG] = "debug", [core.LOG_INFO] = "info",
    [core.LOG_WARN] = "warn", [core.LOG_ERROR] = "error",
}

local OPTIONS = {
    store = "string", sink = "string", outbox = "string",
    subscription = "string", until_empty = "boolean", config = "string",
    environment = "boolean", settings = "table", log = "function",
    signals = "boolean",
}

-- Where the log goes unless it is told: what went wrong, to standard error.
local function log_to_stderr(level, facility, text)
    if level == "warn" or level == "error" then
        io.stderr:write(format("outtray: %s: %s: %s\n", level, facility, text))
    end
end

local function check_options(options)
    if type(options) ~= "table" then
        error("relay takes a table of options, not a " .. type(options), 4)
    end
    for name, value in pairs(options) do
        if not OPTIONS[name] then
            error(format("relay has no option '%s': settings = {…} takes those "
                .. "of the configuration", tostring(name)), 4)
        elseif type(value) ~= OPTIONS[name]
            and not (name == "log" and value == false) then
            error(format("relay: %s must be a %s, not a %s", name,
                OPTIONS[name], type(value)), 4)
        end
    end
end

-- --- settings -----------------------------------------------------------------

local function set(conf, name, value)
    if type(value) == "number" and value == math.floor(value)
        and math.abs(value) < 2 ^ 53 then
        value = format("%d", value)
    end
    name, value = tostring(name), tostring(value)
    if name:find("%z") or value:find("%z") then -- C would cut it short there
        return nil, format("%s: there is a NUL in it", (name:gsub("%z", "\\0"))),
            "CONF"
    end
    return core.conf_set(conf, name, value)
end

-- A configuration: file, then environment, then settings; or nil and what is wrong.
local function make_conf(options)
    local conf = core.conf_new()
    if not conf then
        return nil, "out of memory", "NOMEM"
    end
    local done, message, code = true, nil, nil
    if options.config and options.config:find("%z") then
        return nil, "config: there is a NUL in the name of the file", "CONF"
    elseif options.config then
        done, message, code = core.conf_load_file(conf, options.config)
    end
    if done and options.environment then
        done, message, code = core.conf_load_env(conf)
    end
    local named = {
        ["store.url"] = options.store, ["sink.url"] = options.sink,
        ["store.outbox"] = options.outbox,
        ["relay.subscription"] = options.subscription,
    }
    for _, settings in ipairs {options.settings or {}, named} do
        for name, value in pairs(settings) do
            if done then
                done, message, code = set(conf, name, value)
            end
        end
    end
    if not done then
        return nil, message, code
    end
    return conf
end

-- A relay, or nil, a message and a name; it connects later.
local function new(options)
    check_options(options)
    local conf, message, code = make_conf(options)
    if not conf then
        return nil, message, code
    end
    -- Where the store is told elsewhere, what is missing is said when it is opened.
    if not options.store or options.store:find("^sqlite:") then
        local done
        done, message, code = sqlite.choose(core)
        if not done and options.store then
            return nil, message, code
        end
    end
    local handle
    handle, message, code = core.relay_open(conf)
    if not handle then
        return nil, message, code
    end
    if options.until_empty then
        core.relay_until_empty(handle)
    end
    if options.signals and not core.relay_signals(handle) then
        core.relay_close(handle)
        error("another relay of this process has the signals", 3)
    end
    local log = options.log
    if log == nil then
        log = log_to_stderr
    end
    return setmetatable({_handle = handle, _log = log, _renewed = os.time()}, Relay)
end

-- --- running ------------------------------------------------------------------

local function open(self)
    return self._handle or error("this relay is closed", 3)
end

local function drain_log(self)
    local level, facility, text = core.relay_log_next(self._handle)
    while level do
        if self._log then
            self._log(LEVELS[level], facility, text)
        end
        if not self._handle then -- log has closed it
            return
        end
        level, facility, text = core.relay_log_next(self._handle)
    end
end

-- true: it goes on; false: it has stopped; nil, message, code: it cannot go on.
local function step(self, ms)
    self._renewed = os.time()
    local going, message, code, state = core.relay_step(self._handle, ms)
    drain_log(self)
    if going == nil then
        self._done = true
        return nil, message, code, state
    end
    self._done = going == 0 or not self._handle
    return not self._done
end

-- Do what is due, waiting up to so many seconds (nil: 0) for something to do.
function Relay:step(seconds)
    open(self)
    if seconds ~= nil and type(seconds) ~= "number" then
        error("step takes seconds, not a " .. type(seconds), 2)
    end
    return step(self, math.max(0, math.floor((seconds or 0) * 1000)))
end

-- Until it has stopped: true, or nil, a message and a name.
function Relay:run()
    open(self)
    local going, message, code, state
    repeat
        going, message, code, state = step(self, SLICE_MS)
    until not going
    if going == nil then
        return nil, message, code, state
    end
    return true
end

-- Ask for a clean stop: what is under way is delivered, the cursor written, the
-- lease released. run, step and batches say when it is done.
function Relay:stop()
    core.relay_stop(open(self))
end

-- A descriptor that is readable when step() has something to do; never read it.
function Relay:fileno()
    return core.relay_fd(open(self))
end

-- How long a loop may wait for it, in seconds; nil: for ever.
function Relay:timeout()
    local ms = core.relay_timeout_ms(open(self))
    return ms >= 0 and ms / 1000 or nil
end

-- With timeout() what cqueues asks of an object that it polls.
Relay.pollfd = Relay.fileno

function Relay:events()
    open(self)
    return "r"
end

function Relay:done()
    return self._done or false
end

local NUMBERS = {
    "delivered", "failed", "dead", "reads", "writes", "pruned", "position",
    "last_seq", "fence", "window", "in_flight", "gaps", "held", "rtt_avg_us",
    "rtt_p99_us", "throttle_avg_ms", "throttle_max_ms", "queued_events",
    "queued_bytes", "stall", "stall_detail",
}

-- Its numbers, as a table.
function Relay:stats()
    local raw = core.relay_numbers(open(self))
    local stats = {}
    for _, name in ipairs(NUMBERS) do
        stats[name] = raw[name]
    end
    return stats
end

-- Free it at once. What is under way is abandoned and will be delivered again,
-- unless stop was run to its end.
function Relay:close()
    if self._handle then
        drain_log(self)
        core.relay_close(self._handle)
        self._handle = nil
    end
end

Relay.__close = Relay.close

function Relay:__tostring()
    return format("<outtray.relay %s>", self._handle and "open" or "closed")
end

-- --- the script sink ------------------------------------------------------------

-- The lease is renewed in steps; a slow program must not lose it between two events.
function Relay:_renew()
    if self._handle and not self._done and os.time() ~= self._renewed then
        local going, message, code = step(self, 0)
        if going == nil then
            self._problem = {message, code}
        end
    end
end

local LIMITS = {max_events = true, max_bytes = true, linger_ms = true}

-- One batch if there is one now, else nil; or nil, a message and a name. Close it.
function Relay:take(limits)
    local handle = open(self)
    for name, value in pairs(limits or {}) do
        if not LIMITS[name] or type(value) ~= "number" then
            error("a batch has the limits max_events, max_bytes, linger_ms, "
                .. "numbers all", 2)
        end
    end
    limits = limits or {}
    local taken, message, code = core.relay_take(
        handle, limits.max_events or 0, limits.max_bytes or 0,
        limits.linger_ms or 0)
    if not taken then
        return nil, message, code
    end
    return batches.new(self, taken)
end

local function next_batch(self, limits)
    while not self._problem do
        local batch, message, code = self:take(limits)
        if batch then
            return batch
        elseif message then
            self._problem = {message, code}
        elseif self._done then
            return nil
        else
            local going
            going, message, code = step(self, SLICE_MS)
            if going == nil then
                self._problem = {message, code}
            end
        end
    end
    error(format("%s: %s", self._problem[2], self._problem[1]), 0)
end

-- for batch in relay:batches() do … end runs the relay until it has stopped. A
-- batch is closed when the next one is asked for. What the relay cannot get over
-- is raised: a loop has no place for it.
function Relay:batches(limits)
    open(self)
    local state = setmetatable({}, {__close = function(state)
        if state.batch then
            state.batch:close()
        end
    end})
    return function()
        if state.batch then
            state.batch:close()
        end
        state.batch = next_batch(self, limits)
        return state.batch
    end, nil, nil, state
end

return {new = new, Relay = Relay}
