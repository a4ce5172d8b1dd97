-- batch.lua - events that the program itself delivers, and what became of them.
local core = require "outtray.core"
local headers = require "outtray.pure.headers"

-- --- one event ---------------------------------------------------------------

local Event = {}

-- headers is a table, made when it is asked for.
function Event.__index(event, name)
    if name == "headers" then
        local json = rawget(event, "_headers")
        local made = json and headers.decode(json) or {}
        rawset(event, "headers", made)
        return made
    end
    return Event[name]
end

local function settle(event, outcome, retry_ms, why)
    local batch = event._batch
    if not batch._taken then
        error("the batch of this event is closed", 3)
    elseif why ~= nil and type(why) ~= "string" then
        error("the reason must be a string, not a " .. type(why), 3)
    elseif type(retry_ms) ~= "number" then
        error("the pause must be milliseconds, not a " .. type(retry_ms), 3)
    elseif retry_ms ~= retry_ms or math.abs(retry_ms) >= 2 ^ 53 then
        error("the pause must be milliseconds, not " .. retry_ms, 3)
    end
    return core.batch_settle(batch._taken, event._index, 1, outcome,
        math.floor(retry_ms), why or "") == 1
end

-- All return whether it was counted: false where it was settled before, or where
-- the lease is gone; then it is delivered again.

-- Delivered.
function Event:ok()
    return settle(self, core.OUTCOME_OK, 0)
end

-- Not now: a try of its own, counted; again after ms or the relay's own pause.
function Event:retry(ms, why)
    return settle(self, core.OUTCOME_RETRY, ms or 0, why)
end

-- Never: relay.on_reject decides what becomes of it.
function Event:reject(why)
    return settle(self, core.OUTCOME_REJECTED, 0, why)
end

-- Its topic cannot be delivered: the topic's events wait, no try is counted.
function Event:misconfigured(why)
    return settle(self, core.OUTCOME_MISCONFIGURED, 0, why)
end

-- Nothing can be delivered now: the breaker opens, no try is counted.
function Event:unavailable(ms, why)
    return settle(self, core.OUTCOME_UNAVAILABLE, ms or 0, why)
end

-- --- the batch ---------------------------------------------------------------

local Batch = {}
Batch.__index = Batch

local function new(relay, taken)
    local batch = setmetatable({
        _relay = relay, _taken = taken, size = core.batch_size(taken),
    }, Batch)
    return batch
end

local function next_event(batch)
    if not batch._taken then
        return nil
    end
    batch._relay:_renew()
    local index = core.batch_next(batch._taken)
    if index < 0 then
        return nil
    end
    return batch._events[index + 1]
end

-- The events to deliver, in order. One whose key has failed earlier in this batch
-- is left out: it would come before its predecessor.
function Batch:events()
    if not self._events and self._taken then
        self._events = core.batch_events(self._taken)
        for i, event in ipairs(self._events) do
            event._batch, event._index = self, i - 1
            event._headers, event.headers = event.headers, nil
            setmetatable(event, Event)
        end
    end
    return next_event, self
end

-- All that are not settled yet are delivered. Returns how many were counted.
function Batch:ok()
    if not self._taken then
        error("this batch is closed", 2)
    end
    return core.batch_settle(self._taken, 0, self.size, core.OUTCOME_OK, 0, "")
end

-- How many are not settled.
function Batch:open()
    return self._taken and core.batch_open(self._taken) or 0
end

-- What is not settled is given back and delivered again.
function Batch:close()
    if self._taken then
        core.batch_close(self._taken)
        self._taken = nil
    end
end

Batch.__close = Batch.close

return {new = new, Batch = Batch, Event = Event}
