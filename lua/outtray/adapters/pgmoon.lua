-- pgmoon.lua - pgmoon, on cosockets of nginx, luasocket or cqueues.
--
-- It drops the SQLSTATE of an error and the state of the transaction, which the
-- server tells at the end of each answer; both are read on their way.
local errors = require "outtray.adapters.errors"

local pgmoon = {dialect = "POSTGRESQL"}

-- In one message with the INSERT: it costs no round trip, but the server and nginx
-- some work. Where the state of the transaction is known it is not sent.
local GUARD = "SAVEPOINT outtray; RELEASE outtray; "

-- Stands before receive_message of a connection, and keeps the last message of each
-- kind by its letter in the protocol: Z has the state of the transaction, C the
-- command that is complete, E an error, N a notice. It hears every message of a
-- request, most of them in the interpreter: so it looks at none. A table that can be
-- called, because one is made for each request.
local Listener = {}
Listener.__index = Listener

function Listener:__call(pg)
    local kind, message = self.receive(pg)
    if kind then
        self[kind] = message or false
    end
    return kind, message
end

-- The SQLSTATE of the error ("E") or the notice ("N"), if there is one.
function Listener:state_of(kind)
    local message = self[kind]
    return message and ("\0" .. message):match("%zC(%w+)%z")
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
        Z = false, C = false, E = false, N = false,
    }, Listener)
    pg.receive_message = listener
    return listener
end

-- Calls pg:simple_query; returns what pcall does, and the listener with what was read
-- on the way.
function pgmoon.query(pg, sql)
    local known = listener_of(pg)
    local seen = known or pgmoon.listen(pg)

    seen.Z, seen.C, seen.E, seen.N = false, false, false, false
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
    return errors.of_state(seen:state_of("E") or "", tostring(message))
end

-- Of the command that is complete.
local function rows_of(command)
    if command == "INSERT 0 1\0" then
        return 1
    end
    return tonumber((command or ""):match("^INSERT %d+ (%d+)"))
end

function pgmoon.execute(pg, sql, required)
    local listener = listener_of(pg)
    local open = listener and listener.Z == "T"
    local fine, result, message, seen =
        pgmoon.query(pg, required and not open and GUARD .. sql or sql)
    if not fine then
        -- It raises what its caller did wrong: another coroutine is in a call.
        return nil, tostring(result), "MISUSE"
    elseif seen.E then
        return pgmoon.refused(seen, message)
    elseif not result then
        return broken(tostring(message))
    elseif required and seen.Z ~= "T" then
        return errors.not_in_transaction()
    end
    return true, rows_of(seen.C)
end

return pgmoon
