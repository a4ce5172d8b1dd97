-- transaction.lua - BEGIN, the caller's work, COMMIT or ROLLBACK, on pgmoon.
local pgmoon = require "outtray.adapters.pgmoon"

local transaction = {}

-- What the work is given.
local Tx = {}
Tx.__index = Tx

function Tx:query(...)
    return self.pg:query(...)
end

function Tx:enqueue(event)
    return self.outbox:enqueue(self.pg, event)
end

function Tx:enqueue_many(events)
    return self.outbox:enqueue_many(self.pg, events)
end

-- A connection whose state is not known, or which is in a transaction still, must
-- not go back to the pool.
local function give_back(pg, seen, keepalive)
    if seen and seen.Z == "I" and keepalive then
        return keepalive(pg)
    elseif not (seen and seen.Z == "I") then
        pcall(pg.disconnect, pg)
    end
end

local function begin(pg)
    local fine, result, message, seen = pgmoon.query(pg, "BEGIN")
    if not fine then
        return nil, result, "MISUSE" -- another coroutine is in a call
    elseif seen:state_of("N") == "25001" then
        pcall(pg.disconnect, pg)
        return nil, "a transaction was open already on this connection, which "
            .. "is closed now", "IN_TRANSACTION"
    elseif seen.Z ~= "T" then
        pcall(pg.disconnect, pg)
        return nil, tostring(message or "BEGIN was not answered"),
            "STORE_UNAVAILABLE"
    end
    return true
end

local function commit(pg)
    local fine, result, message, seen = pgmoon.query(pg, "COMMIT")
    if fine and seen.E then
        return seen, pgmoon.refused(seen, message)
    elseif fine and seen.C and seen.C:find("^COMMIT") then
        return seen, true
    elseif fine and seen.C then
        -- That is how PostgreSQL answers COMMIT after a statement that failed.
        return seen, nil, "a statement has failed the transaction, so it was "
            .. "rolled back", "TRANSACTION_FAILED"
    end
    return seen, nil, "COMMIT was not answered (" .. tostring(fine and message
        or result) .. "): whether it is committed is not known",
        "COMMIT_UNKNOWN"
end

local function finish(pg, listener, keepalive, worked, ...)
    if worked and (...) then
        local seen, done, message, code, state = commit(pg)
        listener:stop(pg)
        give_back(pg, seen, keepalive)
        if not done then
            return nil, message, code, state
        end
        return ...
    end
    local fine, _, _, seen = pgmoon.query(pg, "ROLLBACK")
    listener:stop(pg)
    give_back(pg, fine and seen, keepalive)
    if not worked then
        error((...), 0)
    end
    return ...
end

-- What work(tx) returns, once that is committed. If its first value is nil or false,
-- or it raises, everything is rolled back and that is passed on. What the server says
-- of the transaction is heard all the while.
function transaction.run(outbox, pg, work, keepalive)
    local listener = pgmoon.listen(pg)
    local open, why, name = begin(pg)
    if not open then
        listener:stop(pg)
        if name == "MISUSE" then
            error(why, 0)
        end
        return nil, why, name
    end
    local tx = setmetatable({pg = pg, outbox = outbox}, Tx)
    return finish(pg, listener, keepalive, pcall(work, tx))
end

return transaction
