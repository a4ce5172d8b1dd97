-- errors.lua - what a driver said becomes one of the errors of outtray.
local errors = {}

local NOT_OPEN = "no transaction is open on this connection: the event would "
    .. "not be atomic with your data. Begin one first, or make the outbox with "
    .. "require_transaction = false"
local FAILED = "an earlier statement has failed the transaction: only a "
    .. "rollback helps"
local CLOSED = "the connection is closed: nothing can be written on it"
local NO_OUTBOX = ": create the outbox with `outtray init`"

function errors.not_in_transaction(state)
    return nil, NOT_OPEN, "NOT_IN_TRANSACTION", state
end

function errors.closed()
    return nil, CLOSED, "CONNECTION_CLOSED"
end

local BY_STATE = {
    ["3F000"] = "STORE_NO_SCHEMA", ["42P01"] = "STORE_NO_SCHEMA",
    ["42501"] = "STORE_PERMISSION", ["25006"] = "STORE_STANDBY",
    ["53100"] = "STORE_FULL",
}

-- For PostgreSQL's SQLSTATE.
function errors.of_state(state, message)
    if state == "25P01" then
        return errors.not_in_transaction(state)
    elseif state == "25P02" then
        return nil, FAILED, "TRANSACTION_FAILED", state
    elseif state:find("^57P") or state:find("^08") then
        return nil, message, "STORE_UNAVAILABLE", state
    end
    local code = BY_STATE[state] or "STORE"
    if code == "STORE_NO_SCHEMA" then
        message = message .. NO_OUTBOX
    end
    return nil, message, code, state
end

-- For a driver that passes PostgreSQL's words only. Those of a server that speaks
-- another language than English are a plain STORE, but for the savepoint: its
-- name stays.
function errors.of_postgres(message)
    message = message:gsub("^LuaSQL: error executing statement%. PostgreSQL: ", "")
        :gsub("^Error %a+ statement[%a ]*: ", ""):gsub("%s+$", "")
    local line = message:match("^[^\n]*")
    if line:find("SAVEPOINT", 1, true) then
        return errors.not_in_transaction()
    elseif line:find("current transaction is aborted", 1, true) then
        return nil, FAILED, "TRANSACTION_FAILED"
    elseif line:find("server closed the connection", 1, true)
        or line:find("terminating connection", 1, true)
        or line:find("no connection to the server", 1, true) then
        return nil, line, "STORE_UNAVAILABLE"
    elseif line:find('relation "[%w_]+%.%l+" does not exist') then
        return nil, line .. NO_OUTBOX, "STORE_NO_SCHEMA"
    elseif line:find("permission denied", 1, true) then
        return nil, line, "STORE_PERMISSION"
    end
    return nil, message, "STORE"
end

-- What SQLite says when it has a transaction already.
function errors.is_nested(message)
    return message:find("within a transaction", 1, true) ~= nil
end

function errors.of_sqlite(message)
    if message:find("no such table", 1, true) then
        return nil, message .. NO_OUTBOX, "STORE_NO_SCHEMA"
    elseif message:find("is locked", 1, true) then
        return nil, message .. ": set a busy time-out on the connection",
            "STORE_BUSY"
    elseif message:find("is full", 1, true) then
        return nil, message, "STORE_FULL"
    elseif message:find("readonly", 1, true) then
        return nil, message, "STORE_PERMISSION"
    end
    return nil, message, "STORE"
end

-- An adapter for SQLite from run(conn, sql): true and the number of rows, or nil and a
-- message; or the three values of errors.closed.
function errors.sqlite_adapter(run)
    local function is_open(conn)
        local done, message, code = run(conn, "BEGIN")
        if done then
            run(conn, "ROLLBACK")
            return errors.not_in_transaction()
        elseif code then
            return nil, message, code
        elseif errors.is_nested(message) then
            return true
        end
        return errors.of_sqlite(message)
    end

    return {
        dialect = "SQLITE",
        execute = function(conn, sql, required)
            if required then
                local open, message, code = is_open(conn)
                if not open then
                    return nil, message, code
                end
            end
            local done, message, code = run(conn, sql)
            if done then
                return true, message
            elseif code then
                return nil, message, code
            end
            return errors.of_sqlite(message)
        end,
    }
end

return errors
