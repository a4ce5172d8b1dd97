-- luasql.lua - LuaSQL: luasql.postgres and luasql.sqlite3.
local errors = require "outtray.adapters.errors"

-- In one message with the INSERT: it costs no round trip.
local GUARD = "SAVEPOINT outtray; RELEASE outtray; "

-- true and the number of rows, or nil and a message; a closed connection raises.
local function run(conn, sql)
    local fine, done, message = pcall(conn.execute, conn, sql)
    if not fine then
        return errors.closed()
    elseif not done then
        return nil, tostring(message)
    end
    return true, done
end

local postgres = {dialect = "POSTGRESQL"}

function postgres.execute(conn, sql, required)
    local done, message, code = run(conn, required and GUARD .. sql or sql)
    if done then
        return true, message
    elseif code then
        return nil, message, code
    end
    return errors.of_postgres(message)
end

return {
    postgres = postgres,
    sqlite3 = errors.sqlite_adapter(function(conn, sql)
        local done, message, code = run(conn, sql)
        if done or code then
            return done, message, code
        end
        return nil, (message:gsub("^LuaSQL: ", ""))
    end),
}
