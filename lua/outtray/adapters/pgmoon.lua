-- pgmoon.lua - pgmoon, on cosockets of nginx, luasocket or cqueues.
--
-- It drops the SQLSTATE of an error and the state of the transaction, which the
-- server tells at the end of each answer; both are read on their way.
local errors = require "outtray.adapters.errors"

local pgmoon = {dialect = "POSTGRESQL"}

-- In one message with the INSERT: it costs no round trip, but the server and nginx
-- some work. Where the state of the transaction is known it is not sent.
local GUARD = "SAVEPOINT outtray; RELEASE outtray; "

-- The SQLSTATE in an error or a notice.
local function state_of(message)
    return ("\0" .. message):match("%zC(%w+)%z")
end

-- Stands before receive_message of a connection, and keeps what comes by: a table
-- that can be called, because one is made for each request.
local Listener = {}
Listener.__index = Listener

function Listener:__call(pg)
    local kind, message = self.receive(pg)
    if kind == "Z" then
        self.transaction = message
    elseif kind == "C" then
        self.command = message
    elseif kind == "E" and message then
        self.state = state_of(message)
    elseif kind == "N" and message then
        self.notice = state_of(message)
    end
    return kind, message
end

function Listener:stop(pg)
    pg.receive_message = self.own or nil
end

-- The one that hears everything: nobody has put another function before it since.
local function listener_of(pg)
    local first = rawget(pg, "receive_message")
    return getmetatable(first) == Listener and first
end

-- Reads along from now on, until listener:stop(pg).
function pgmoon.listen(pg)
    local listener = setmetatable({
        own = rawget(pg, "receive_message") or false, receive = pg.receive_message,
        transaction = false, command = false, state = false, notice = false,
    }, Listener)
    pg.receive_message = listener
    return listener
end

-- Calls pg:simple_query; returns what pcall does, and what was read on the way: the
-- state of the transaction, the command, and SQLSTATE of an error and of a notice.
function pgmoon.query(pg, sql)
    local known = listener_of(pg)
    local seen = known or pgmoon.listen(pg)

    seen.transaction, seen.command, seen.state, seen.notice =
        false, false, false, false
    local fine, result, message = pcall(pg.simple_query, pg, sql)
    if not known then
        seen:stop(pg)
    end
    if not fine and not tostring(result):find("busy", 1, true) then
        -- A socket of cqueues raises what happened to it.
        return true, nil, tostring(result), seen
    end
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
    local listener = listener_of(pg)
    local open = listener and listener.transaction == "T"
    local fine, result, message, seen =
        pgmoon.query(pg, required and not open and GUARD .. sql or sql)
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
