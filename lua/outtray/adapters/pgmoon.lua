-- pgmoon.lua - pgmoon, on cosockets of nginx, luasocket or cqueues.
--
-- It drops the SQLSTATE of an error and the state of the transaction, which the
-- server tells at the end of each answer; both are read on their way.
local errors = require "outtray.adapters.errors"

local pgmoon = {dialect = "POSTGRESQL"}

-- In one message with the INSERT: it costs no round trip.
local GUARD = "SAVEPOINT outtray; RELEASE outtray; "

-- The SQLSTATE in an error or a notice.
local function state_of(message)
    return ("\0" .. message):match("%zC(%w+)%z")
end

-- Calls pg:simple_query; returns what pcall does, and what was read on the way.
function pgmoon.query(pg, sql)
    local own = rawget(pg, "receive_message")
    local receive = pg.receive_message
    local seen = {}

    pg.receive_message = function(self)
        local kind, message = receive(self)
        if kind == "Z" then
            seen.transaction = message
        elseif kind == "E" and message then
            seen.state = state_of(message)
        elseif kind == "N" and message then
            seen.notice = state_of(message)
        elseif kind == "C" then
            seen.command = message
        end
        return kind, message
    end
    local fine, result, message = pcall(pg.simple_query, pg, sql)
    pg.receive_message = own
    return fine, result, message, seen
end

local function broken(message)
    if message:find("closed", 1, true)
        or message:find("not connected", 1, true) then
        return errors.closed()
    end
    return nil, message .. ": what became of the event is not known, "
        .. "disconnect and begin anew", "STORE_UNAVAILABLE"
end

-- What an error of the server is.
function pgmoon.refused(seen, message)
    return errors.of_state(seen.state, tostring(message))
end

function pgmoon.execute(pg, sql, required)
    local fine, result, message, seen =
        pgmoon.query(pg, required and GUARD .. sql or sql)
    if not fine then
        -- It raises what its caller did wrong: another coroutine is in a call.
        return nil, tostring(result), "MISUSE"
    elseif seen.state then
        return pgmoon.refused(seen, message)
    elseif not result then
        return broken(tostring(message))
    elseif required and seen.transaction ~= "T" then
        return errors.not_in_transaction()
    end
    return true, tonumber((seen.command or ""):match("^INSERT %d+ (%d+)"))
end

return pgmoon
